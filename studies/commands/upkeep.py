"""`verify` and `rebuild-storage`: whether a study agrees and its runs repeat, and its storage made anew."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track

from moevae.errors import ConfigError
from studies import again, records, upkeep
from studies.again import Repeat
from studies.arguments import RebuildStorage, Verify
from studies.site import Site


def verify(options: Verify, folder: Path) -> int:
    """Print what was found in a study's folder; return 1 if anything there cannot be trusted."""
    if options.again < 0:
        raise ConfigError(f"--again {options.again}: give a number of runs, from 0")
    verdict = upkeep.verify(folder, options.storage)
    repeats = _repeated(options, folder)
    wrong = bool(verdict.problems) or any(found.wrong for found in repeats)
    if options.json:
        tree = {"folder": str(folder), **asdict(verdict), "again": [asdict(found) for found in repeats]}
        print(json.dumps(tree, indent=1))
        return int(wrong)
    for problem in verdict.problems:
        print(problem)
    for found in repeats:
        print(f"{found.fingerprint} trained again: {_in_words(found)}")
    failed = f", {verdict.failed} failed" if verdict.failed else ""
    agree = f"{len(verdict.problems)} problems" if verdict.problems else "all records and the storage agree"
    other = sum(found.wrong for found in repeats)
    anew = f"; {other} of {len(repeats)} trained again came out otherwise" if other else ""
    if not other and any(found.differ for found in repeats):
        anew = "; on another machine, all trained again lie where one more seed would"
    print(f"{folder.name}: {verdict.complete} of {verdict.planned} runs complete{failed}; {agree}{anew}")
    return int(wrong)


def _in_words(found: Repeat) -> str:
    """Say what came of a run that was trained again."""
    if not found.differ:
        return "the same, bit for bit"
    if not found.moved:
        others = f" and {len(found.differ) - 1} more" if len(found.differ) > 1 else ""
        return f"{found.differ[0]}{others} came out otherwise"
    numbers = (
        f"{each.name} {each.then:.4g} then, {each.now:.4g} now"
        + ("" if each.spread is None else f" ({each.n} seeds: ± {each.spread:.2g}{', too far' * each.far})")
        for each in found.moved
    )
    return f"on another machine ({found.elsewhere}), {'; '.join(numbers)}"


def _repeated(options: Verify, folder: Path) -> list[Repeat]:
    """Train runs again, behind a bar on standard error."""
    if not options.again:
        return []
    good, _ = records.read_all(folder)
    picked = again.chosen(good, options.again)
    site = Site(device=options.device, data_root=str(options.data_root) if options.data_root else None)
    console = Console(stderr=True)
    shown = track(picked, "Training again", console=console, disable=not console.is_terminal)
    return [again.repeat(record, site, good) for record in shown]


def rebuild_storage(options: RebuildStorage, folder: Path) -> int:
    """Make the storage anew and say what it holds."""
    print(f"{folder.name}: {upkeep.rebuild(folder, options.storage)} trials, made from the records")
    return 0
