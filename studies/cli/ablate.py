"""`ablate`: run a study and write its report."""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from moevae.config.parsing import remedy
from moevae.config.schema import RunConfig
from studies.cli import report
from studies.cli.listing import size_in_words
from studies.cli.options import Ablate, execution_config
from studies.design import baselines
from studies.design import design as designs
from studies.design.design import Design
from studies.execution.plan import Plan, make_plan
from studies.execution.tasks import on_worker_lost, train
from studies.execution.tasks import preflight as check
from studies.records.origins import Origins, user_data_identities
from studies.report import manifest
from studies.utils.formatting import count
from studies.utils.signals import INTERRUPTED, Terminated

if TYPE_CHECKING:
    from studies.execution.ablation import StudySummary
    from studies.execution.config import ExecutionConfig
    from studies.records.weights import Keep


def ablate(options: Ablate, *, resume_command: str) -> int:
    """Run a study and write its report.

    Args:
        options: options of the command.
        resume_command: the command that resumes the study, for messages.
    """
    design = designs.load_design(options.profile, seeds=options.seeds, changes=options.set, name=options.name)
    chosen = baselines.choose(options.baselines, design.data, options.data_root)
    design = design.with_baselines(chosen)
    folder = options.results / design.name
    if options.dry_run:
        plan = make_plan(design, folder, retry_failed=options.retry_failed)
        Origins(files=user_data_identities(design.data)).begin(folder, plan.records)
        _print_cells(plan, folder, options.json)
        return 0

    from studies.cli.progress import show_progress
    from studies.execution.ablation import run_study  # imports Optuna, which takes a second
    from studies.execution.executors.factory import worker_pool
    from studies.storage import connection as storage

    keep = options.keep_weights
    execution = replace(execution_config(options, folder, design.data), keep_weights=keep is not None)
    console = Console(stderr=True)

    def preflight(configs: Sequence[RunConfig]) -> None:
        for line in (_opening(design, folder), *design.baselines.left_out):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if left := _left(design, len(configs)):
            console.print(left, markup=False, highlight=False, soft_wrap=True)
        manifest.read(folder).check(dict.fromkeys((manifest.PAGE, manifest.TABLE)))
        check(configs, execution=execution)

    try:
        with (
            show_progress(console) as callbacks,
            worker_pool(options.workers, options.dask, options.device) as pool,
        ):
            summary = run_study(
                design,
                folder,
                functools.partial(train, execution=execution),
                worker_pool=pool,
                callbacks=callbacks,
                storage_url=storage.given(options.storage),
                retry_failed=options.retry_failed,
                preflight=preflight,
                on_worker_lost=functools.partial(on_worker_lost, execution=execution),
                origins=execution.origins,
                keep=keep,
            )
    except (KeyboardInterrupt, Terminated) as stop:
        left = make_plan(design, folder)
        state = f"{left.asked - left.pending} of {left.asked} runs are done"
        print(f"stopped: {state}; continue with: {resume_command}", file=sys.stderr)
        if isinstance(stop, KeyboardInterrupt):
            return INTERRUPTED
        raise
    if execution.snapshots and Path(execution.snapshots).is_dir():
        from moevae.training import snapshot_files

        done = {cell.name(seed) for cell in design.cells for seed in design.seeds}
        snapshot_files.remove(Path(execution.snapshots), done)
    _print_failures(summary)
    _print_missing_baselines(summary, folder)
    if keep:
        _train_for_weights(design, folder, keep, execution, console)
    with console.status("writing the report"):  # shown on a terminal only
        page = report.write_page(folder)
    plan = summary.before
    already = plan.asked - plan.pending
    if options.json:
        tree = {
            "study": design.name,
            "folder": str(folder),
            "runs": plan.asked,
            "already": already,
            "trained": len(summary.trained),
            "failed": len(summary.failures),
            "report": str(page),
        }
        print(json.dumps(tree, indent=1))
    elif summary.trained:
        trained = count(len(summary.trained), "run")
        print(f"{design.name}: {trained} trained, {already} already recorded. Report: {page}")
    else:
        print(f"{design.name}: all {already} runs have records, nothing to train. Report: {page}")
    return 1 if len(summary.failures) == plan.asked else 0


def _train_for_weights(
    design: Design, folder: Path, keep: Keep, execution: ExecutionConfig, console: Console
) -> None:
    """Train recorded runs without weights again, and keep their weights."""
    from studies.records import weights
    from studies.verify import keeping

    missing = keeping.missing_weights(make_plan(design, folder), folder, keep)
    if not missing:
        return
    runs = count(len(missing), "recorded run")
    console.print(f"training {runs} again to keep the weights", highlight=False, soft_wrap=True)
    kept = 0
    for run in keeping.restore_weights(missing, folder, keep, execution):
        kept += not run.refused
        if run.refused:
            print(f"weights of {run.fingerprint} not kept: {run.refused}", file=sys.stderr)
    where = folder / weights.FOLDER
    console.print(f"weights of {count(kept, 'run')} in {where}", highlight=False, soft_wrap=True)


def _print_missing_baselines(summary: StudySummary, folder: Path) -> None:
    """Tell how to fit baselines that the study has for other seeds."""
    whole, asked = summary.before.full_design, summary.before.design
    if not {*whole.baselines.keys} - {*asked.baselines.keys}:
        return
    missing = sum(len(task.configs) for task in make_plan(whole, folder).tasks if task.cell.method)
    if missing:
        keys = ",".join(whole.baselines.keys)
        print(f"{count(missing, 'run')} of baselines missing; --baselines {keys} fits them", file=sys.stderr)


def _print_failures(summary: StudySummary) -> None:
    for refused in summary.before.refused:
        print(f"not counted: {refused}", file=sys.stderr)
    for record in summary.failures:
        reason = record.failure.reason if record.failure else "no reason recorded"
        print(f"failed: {record.fingerprint}, seed {record.config['seed']}: {reason}", file=sys.stderr)
    diverged = [each for each in summary.failures if each.failure and " became " in each.failure.reason]
    for rate in sorted({each.config["train"]["learning_rate"] for each in diverged}):
        print(remedy(rate), file=sys.stderr)
    if summary.failures:
        failed = count(len(summary.failures), "run")
        print(f"{failed} failed; --retry-failed repeats failed runs", file=sys.stderr)


def _opening(design: Design, folder: Path) -> str:
    cells, seeds = len(design.cells), len(design.seeds)
    size = f"{size_in_words(cells, seeds)} = {count(cells * seeds, 'run')}"
    if design.baseline_cells:
        fitted = count(design.num_runs - cells * seeds, "run")
        size += f", and {count(len(design.baseline_cells), 'baseline')} = {fitted}"
    expected = ""
    if design.expected:
        own = design.seeds == design.profile_seeds and not design.baseline_cells
        whose = (
            "expect" if own else f"for {count(len(design.profile_seeds), 'seed')} without baselines expect"
        )
        expected = f"; {whose} {design.expected.time} on {design.expected.machine}"
    return f"{design.name}: {design.title}\n{size} in {folder}{expected}"


def _left(design: Design, pending: int) -> str:
    """Return how many runs are recorded and how many are left; empty at the first start."""
    asked = design.num_runs
    if pending >= asked:
        return ""
    return f"{count(asked - pending, 'run')} already recorded, {pending:,} left"


def _print_cells(plan: Plan, folder: Path, as_json: bool) -> None:
    design = plan.design
    missing = Counter(task.cell.key for task in plan.tasks for _ in task.configs)
    if as_json:
        cells = [
            {
                "values": dict(cell.values),
                "runs": [{"seed": seed, "fingerprint": cell.name(seed)} for seed in design.seeds_of(cell)],
                "missing": missing[cell.key],
            }
            for cell in (*design.cells, *design.baseline_cells)
        ]
        print(json.dumps({"study": design.name, "folder": str(folder), "cells": cells}, indent=1))
        return
    print(_opening(design, folder))
    for number, cell in enumerate((*design.cells, *design.baseline_cells), start=1):
        asked = plan.asked_of(cell)
        print(f"{number:4d}  {cell.label}: {asked - missing[cell.key]} of {asked} runs recorded")
    print(f"dry run: {count(plan.pending, 'run')} to train, nothing was written")
