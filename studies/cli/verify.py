"""`verify` and `rebuild-storage`: whether a study agrees and its runs repeat, and its storage made anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from moevae.errors import ConfigError, IdentityError
from studies.cli.options import Verify
from studies.execution.config import ExecutionConfig
from studies.records import store
from studies.storage import connection as storage
from studies.utils.formatting import count
from studies.verify import check, rerun
from studies.verify.check import VerificationReport
from studies.verify.rerun import MetricShift, RerunResult


def verify(options: Verify, folder: Path) -> int:
    """Print what was found in a study's folder; return 1 if anything there cannot be trusted."""
    if options.rerun < 0:
        raise ConfigError(f"--rerun {options.rerun}: give a number of runs, from 0")
    url = storage.given(options.storage)
    if url:
        storage.check(url)
    verdict = check.verify(folder, url)
    repeats, unlike = _repeated(options, folder)
    verdict = replace(verdict, problems=tuple(dict.fromkeys((*verdict.problems, *unlike))))
    wrong = bool(verdict.problems) or any(found.wrong for found in repeats)
    if options.json:
        tree = {"folder": str(folder), **asdict(verdict), "rerun": [_as_tree(found) for found in repeats]}
        print(json.dumps(tree, indent=1))
        return int(wrong)
    for line in (*verdict.problems, *verdict.notes):
        print(line)
    for found in repeats:
        print(f"{found.fingerprint} trained again: {_in_words(found)}")
    failed = f", {verdict.failed} failed" if verdict.failed else ""
    problems = count(len(verdict.problems), "problem")
    beside = (
        f" (of which baselines: {verdict.complete_baselines} of {verdict.baselines})"
        if verdict.baselines
        else ""
    )
    complete = f"{verdict.complete} of {verdict.planned} runs complete{failed}{beside}"
    agree = problems if verdict.problems else _agreement(verdict)
    print(f"{folder.name}: {complete}; {agree}{_outcome(repeats)}")
    return int(wrong)


def _agreement(verdict: VerificationReport) -> str:
    """Say what was compared and agrees."""
    return (
        "all records and the storage agree"
        if verdict.compared
        else "all records agree; no storage was compared"
    )


def _as_tree(found: RerunResult) -> dict[str, Any]:
    return asdict(found) | {"wrong": found.wrong, "judged": found.judged}


def _outcome(repeats: Sequence[RerunResult]) -> str:
    """Say what came of all that were trained again, where not all came out bit for bit."""
    number = len(repeats)
    if wrong := sum(found.wrong for found in repeats):
        return f"; {wrong} of {number} trained again came out otherwise"
    moved = [found for found in repeats if found.differ]
    if not moved:
        return ""
    judged = sum(found.judged for found in moved)
    vague = f", {len(moved) - judged} cannot be judged" if judged < len(moved) else ""
    return f"; with other rounding, {judged} of {number} trained again lie where one more seed would{vague}"


def _in_words(found: RerunResult) -> str:
    """Say what came of a run that was trained again."""
    if not found.differ:
        return "the same, bit for bit"
    if not found.moved:
        others = f" and {len(found.differ) - 1} more" if len(found.differ) > 1 else ""
        return f"{found.differ[0]}{others} came out otherwise"
    numbers = (
        f"{each.name} {each.then:.4g} then, {each.now:.4g} now"
        + ("" if each.spread is None else f" ({each.n} seeds: ± {each.spread:.2g}{_verdict(each)})")
        for each in found.moved
    )
    alone = " (one seed: nothing to judge by)" if all(each.spread is None for each in found.moved) else ""
    return f"with other rounding ({found.elsewhere}), {'; '.join(numbers)}{alone}"


def _verdict(moved: MetricShift) -> str:
    return ", too far" if moved.far else f", no judgment: {moved.vacuous}" if moved.vacuous else ""


def _repeated(options: Verify, folder: Path) -> tuple[list[RerunResult], list[str]]:
    """Train runs again, behind a bar on standard error; tell of those whose data are not there any more."""
    if not options.rerun:
        return [], []
    good, _ = store.read_all(folder)
    picked = rerun.chosen(good, options.rerun)
    site = ExecutionConfig(
        device=options.device, data_root=str(options.data_root) if options.data_root else None
    )
    console = Console(stderr=True)
    shown = track(picked, "Training again", console=console, disable=not console.is_terminal)
    repeats, unlike = [], []
    for record in shown:
        try:
            repeats.append(rerun.repeat(record, site, good))
        except IdentityError as error:
            unlike.append(f"{record.fingerprint} cannot be trained again: {error}")
    return repeats, unlike
