"""`verify`: check the records of a study, and repeat some of its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from moevae.errors import ConfigError, IdentityError
from studies.cli.options import Verify
from studies.execution.config import ExecutionConfig
from studies.records import store
from studies.storage import connection as storage
from studies.utils.formatting import count
from studies.verify import check
from studies.verify.check import VerificationReport

if TYPE_CHECKING:
    from studies.verify.rerun import MetricShift, RerunResult


def verify(options: Verify, folder: Path) -> int:
    """Check a study and print the result.

    Args:
        options: options of the command.
        folder: folder of the study.

    Returns:
        The exit code: 1 if a check failed.

    Raises:
        ConfigError: `--rerun` is negative.
    """
    if options.rerun < 0:
        raise ConfigError(f"--rerun {options.rerun}: expected a number of runs, at least 0")
    url = storage.given(options.storage)
    if url:
        storage.check(url)
    report = check.verify(folder, url)
    repeats, unlike = _repeated(options, folder)
    report = replace(report, problems=tuple(dict.fromkeys((*report.problems, *unlike))))
    wrong = bool(report.problems) or any(found.wrong for found in repeats)
    if options.json:
        tree = {"folder": str(folder), **asdict(report), "rerun": [_as_tree(found) for found in repeats]}
        print(json.dumps(tree, indent=1))
        return int(wrong)
    for line in (*report.problems, *report.notes):
        print(line)
    for found in repeats:
        print(f"{found.fingerprint} repeated: {_in_words(found)}")
    failed = f", {report.failed} failed" if report.failed else ""
    problems = count(len(report.problems), "problem")
    baselines = (
        f" (of which baselines: {report.complete_baselines} of {report.baselines})"
        if report.baselines
        else ""
    )
    complete = f"{report.complete} of {report.planned} runs complete{failed}{baselines}"
    agree = problems if report.problems else _agreement(report)
    print(f"{folder.name}: {complete}; {agree}{_outcome(repeats)}")
    return int(wrong)


def _agreement(report: VerificationReport) -> str:
    """Return what was compared, as text."""
    return (
        "all records and the storage agree"
        if report.compared
        else "all records agree; no storage was compared"
    )


def _as_tree(found: RerunResult) -> dict[str, Any]:
    return asdict(found) | {"wrong": found.wrong, "judged": found.judged}


def _outcome(repeats: Sequence[RerunResult]) -> str:
    """Summarize the repeated runs; empty if all are bitwise equal to their records."""
    number = len(repeats)
    if wrong := sum(found.wrong for found in repeats):
        return f"; {wrong} of {number} repeated runs differ"
    moved = [found for found in repeats if found.differ]
    if not moved:
        return ""
    judged = sum(found.judged for found in moved)
    vague = f", {len(moved) - judged} cannot be assessed" if judged < len(moved) else ""
    return f"; rounding differs, {judged} of {number} repeated runs are within the spread over seeds{vague}"


def _in_words(found: RerunResult) -> str:
    """Describe the result of a repeated run."""
    if not found.differ:
        return "bitwise equal"
    if not found.moved:
        others = f" and {len(found.differ) - 1} more" if len(found.differ) > 1 else ""
        return f"{found.differ[0]}{others} differ"
    numbers = (
        f"{each.name} {each.then:.4g} recorded, {each.now:.4g} now"
        + ("" if each.spread is None else f" ({each.n} seeds: ± {each.spread:.2g}{_assessment(each)})")
        for each in found.moved
    )
    alone = (
        " (one seed: no spread to compare with)" if all(each.spread is None for each in found.moved) else ""
    )
    return f"rounding differs ({found.elsewhere}), {'; '.join(numbers)}{alone}"


def _assessment(moved: MetricShift) -> str:
    return ", too large" if moved.far else f", not assessed: {moved.vacuous}" if moved.vacuous else ""


def _repeated(options: Verify, folder: Path) -> tuple[list[RerunResult], list[str]]:
    """Repeat runs, with a progress bar; return the results, and errors of runs whose data have changed."""
    if not options.rerun:
        return [], []
    from studies.verify import rerun  # slow to import, and often not needed

    good, _ = store.read_all(folder)
    picked = rerun.chosen(good, options.rerun)
    execution = ExecutionConfig(
        device=options.device, data_root=str(options.data_root) if options.data_root else None
    )
    console = Console(stderr=True)
    shown = track(picked, "Repeating runs", console=console, disable=not console.is_terminal)
    repeats, unlike = [], []
    for record in shown:
        try:
            repeats.append(rerun.repeat(record, execution, good))
        except IdentityError as error:
            unlike.append(f"{record.fingerprint} cannot be repeated: {error}")
    return repeats, unlike
