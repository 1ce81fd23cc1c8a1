"""`consensus`: what several runs of a cell agree on, from their kept weights."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from moevae.errors import ConfigError
from studies.cli.options import Consensus
from studies.execution.config import ExecutionConfig
from studies.execution.consensus import consensus_of_study
from studies.records import consensus as records
from studies.records import store
from studies.utils.formatting import show

SCORES = ("acc", "nmi", "ari")


def consensus(options: Consensus, folder: Path) -> int:
    """Write `consensus.json` and print the scores of each group next to those of its members.

    Args:
        options: options of the command.
        folder: folder of the study.

    Raises:
        ConfigError: `--runs` is less than 2.
    """
    if options.runs < 2:
        raise ConfigError(f"--runs {options.runs}: expected at least 2")
    execution = ExecutionConfig(
        device="cpu", data_root=str(options.data_root.resolve()) if options.data_root else None, threads=1
    )
    found = consensus_of_study(folder, options.runs, execution)
    path = records.write(folder, found)
    if options.json:
        print(found.model_dump_json(indent=1))
        return 0
    good, _ = store.read_all(folder)
    known = {each.fingerprint: each for each in good}
    rows = []
    for group in found.groups:
        members = [known[name].metrics["test"] for name in group.members]
        rows.append(
            {
                "cell": ", ".join(f"{key} = {show(value)}" for key, value in group.cell.items()),
                "runs": len(members),
                **{
                    name: f"{group.metrics[name]:.4f} ({fmean(each[name] for each in members):.4f})"
                    for name in SCORES
                    if name in group.metrics
                },
                "minutes": f"{group.minutes:.1f}",
            }
        )
    print(tabulate(rows, headers="keys"))
    print("In brackets: the mean of the members. Minutes of one core, for all members.")
    print(f"Consensus: {path}. `report` shows it.")
    return 0
