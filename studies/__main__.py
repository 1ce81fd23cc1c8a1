"""The command line of the studies: `python -m studies ablate | search | dashboard | list | report | ...`."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from moevae.cli.parser import exit_code
from moevae.config.parsing import remedy
from moevae.config.schema import RunConfig
from moevae.errors import RecordError
from moevae.utils.io import at_home
from studies.cli import listing
from studies.cli import options as arguments
from studies.cli.options import Ablate, Dashboard, List, Options, RebuildStorage, Report, Search, Verify
from studies.design import baselines
from studies.design import design as designs
from studies.design.design import Design
from studies.execution.config import check, lost, of_options, train
from studies.execution.plan import Ledger, survey
from studies.records import schema
from studies.records.origins import Origins, own_files
from studies.report import manifest
from studies.utils.formatting import count
from studies.utils.signals import Stopped, end_at_once, terminable

if TYPE_CHECKING:
    from studies.execution.driver import Summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 2 a mistake, 130 and 143 an interrupt, 141 a broken pipe."""
    typed = sys.argv[1:] if argv is None else argv
    return exit_code(lambda: _run(arguments.parse(typed), typed))


def _run(options: Options, typed: Sequence[str]) -> int:
    try:
        with terminable():
            match options:
                case Ablate():
                    return ablate(options, again=_command(typed))
                case Search():
                    from studies.cli.search import search

                    return search(options, again=_command(typed))
                case Dashboard():
                    from studies.cli.dashboard import choose, dashboard

                    named = options.study
                    chosen = _folder_of(named, options.results) if named else choose(options.results)
                    return dashboard(options, chosen)
                case List():
                    return list_all(options)
                case Report():
                    return report(options)
                case Verify():
                    from studies.cli.verify import verify

                    return verify(options, _folder_of(options.study, options.results))
                case RebuildStorage():
                    from studies.cli.verify import rebuild_storage

                    return rebuild_storage(options, _folder_of(options.study, options.results))
    except KeyboardInterrupt:  # the command has told already what stays
        return 130
    except Stopped:
        return 143


def ablate(options: Ablate, *, again: str) -> int:
    """Run a study and write its report; `again` is the command that resumes it."""
    design = designs.load(options.profile, seeds=options.seeds, changes=options.set, name=options.name)
    chosen = baselines.choose(options.baselines, design.data, options.data_root)
    design = design.with_baselines(chosen)
    folder = options.results / design.name
    if options.dry_run:
        ledger = survey(design, folder, retry_failed=options.retry_failed)
        Origins(files=own_files(data.name for data in design.data)).begin(folder, ledger.records)
        _print_cells(ledger, folder, options.json)
        return 0

    from studies.cli.progress import watching
    from studies.execution.driver import run_study  # Optuna takes a second to import: not before it is needed
    from studies.execution.executors.factory import workforce
    from studies.storage import open as storage

    site = of_options(options, folder, design.data)
    told = Console(stderr=True)

    def preflight(configs: Sequence[RunConfig]) -> None:
        for line in (_opening(design, folder), *design.baselines.left_out):
            told.print(line, markup=False, highlight=False, soft_wrap=True)
        manifest.read(folder).check(dict.fromkeys((manifest.PAGE, manifest.TABLE)))
        check(configs, site=site)

    try:
        with watching(told) as watch, workforce(options.workers, options.dask, options.device) as hired:
            summary = run_study(
                design,
                folder,
                functools.partial(train, site=site),
                workforce=hired,
                watch=watch,
                storage_url=storage.given(options.storage),
                retry_failed=options.retry_failed,
                preflight=preflight,
                lost=functools.partial(lost, site=site),
                origins=site.origins,
            )
    except (KeyboardInterrupt, Stopped):
        left = survey(design, folder)
        print(
            f"stopped: {left.asked - left.pending} of {left.asked} runs are done; go on with: {again}",
            file=sys.stderr,
        )
        raise
    if site.snapshots and Path(site.snapshots).is_dir():
        from moevae.training import snapshots

        done = {cell.name(seed) for cell in design.cells for seed in design.seeds}
        snapshots.remove(Path(site.snapshots), done)
    _tell_trouble(summary)
    page = _write_report(folder)
    ledger = summary.before
    already = ledger.asked - ledger.pending
    if options.json:
        tree = {
            "study": design.name,
            "folder": str(folder),
            "runs": ledger.asked,
            "already": already,
            "trained": len(summary.trained),
            "failed": len(summary.failures),
            "report": str(page),
        }
        print(json.dumps(tree, indent=1))
    elif summary.trained:
        trained = count(len(summary.trained), "run")
        print(f"{design.name}: {trained} trained, {already} were there. Report: {page}")
    else:
        print(f"{design.name}: all {already} runs were there, nothing to train. Report: {page}")
    return 1 if len(summary.failures) == ledger.asked else 0


def list_all(options: List) -> int:
    """Print profiles and studies."""
    profiles, studies = listing.profiles(), listing.studies(options.results)
    if options.json:
        tree = {
            "profiles": [asdict(line) for line in profiles],
            "studies": [asdict(line) for line in studies],
        }
        print(json.dumps(tree, indent=1))
        return 0
    print("Profiles (run one with: python -m studies ablate --profile NAME)")
    for profile in profiles:
        time = f"; expect {profile.expected}" if profile.expected else ""
        print(_line(f"{profile.name}: {profile.title}", 2))
        print(_line(f"{_size(profile.cells, profile.seeds)}{time}", 4))
    print(f"\nStudies in {options.results}" + ("" if studies else ": none yet"))
    for study in studies:
        failed = f", {study.failed} failed" if study.failed else ""
        note = f" ({study.note})" if study.note else ""
        done = f"{study.complete} of {study.runs} runs{failed}"
        size = f" ({_size(study.cells, study.seeds, study.baselines)})" if study.runs else ""
        print(_line(f"{study.name}: {study.state}, {done}{size}{note}", 2))
    return 0


def report(options: Report) -> int:
    """Write the report of one study, or of all; a study of all that cannot be read is told at the end."""
    if options.study is None:
        folders = [Path(line.folder) for line in listing.studies(options.results)]
        if not folders:
            raise RecordError(f"{options.results}: no studies here; run one with: python -m studies ablate")
    else:
        folders = [_folder_of(options.study, options.results)]
    broken = []
    for folder in folders:
        try:
            page = _write_report(folder, overwrite=options.overwrite, fewer_runs=options.fewer_runs)
        except RecordError as error:
            if options.study is not None:
                raise
            broken.append(str(error))
            continue
        print(_write_html(page, overwrite=options.overwrite) if options.html else page)
    _write_index(folders[0].parent, asked=options.index)
    for line in broken:
        print(f"error: {' '.join(line.splitlines())}", file=sys.stderr)
    return 2 if broken else 0


def _size(cells: int, seeds: int, baselines: int = 0) -> str:
    beside = f" and {count(baselines, 'baseline')}" if baselines else ""
    return f"{count(cells, 'cell')}{beside} x {count(seeds, 'seed')}"


def _line(text: str, indent: int) -> str:
    """Return the text as wide as the terminal; what goes on below stands two columns further right."""
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text, width, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_on_hyphens=False
    )


def _command(typed: Sequence[str]) -> str:
    """Return what was typed, the way it was typed: with nox, the environment is nox's."""
    if "NOX_CURRENT_SESSION" in os.environ:
        session = "ablations" if typed[0] == "ablate" else typed[0]
        return f"nox -s {session} -- {shlex.join(typed[1:])}"
    return f"python -m studies {shlex.join(typed)}"


def _tell_trouble(summary: Summary) -> None:
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
        print(f"{failed} failed; to train again what failed, add --retry-failed", file=sys.stderr)


def _folder_of(study: str, results: Path) -> Path:
    for folder in (results / study, at_home(Path(study))):
        if schema.is_study(folder):
            return folder
    there = ", ".join(line.name for line in listing.studies(results)) or "none"
    raise RecordError(
        f"no study {study!r} in {results} (there: {there}), and no folder of that name with a study.json"
    )


def _write_report(folder: Path, *, overwrite: bool = False, fewer_runs: bool = False) -> Path:
    from studies.report.build import write_report

    return write_report(folder, overwrite=overwrite, fewer_runs=fewer_runs)


def _write_html(page: Path, *, overwrite: bool) -> Path:
    from studies.report.build import write_html

    return write_html(page, overwrite=overwrite)


def _write_index(results: Path, *, asked: bool) -> None:
    from studies.report.build import write_index

    write_index(results, asked=asked)


def _opening(design: Design, folder: Path) -> str:
    cells, seeds = len(design.cells), len(design.seeds)
    size = f"{_size(cells, seeds)} = {count(cells * seeds, 'run')}"
    if design.beside:
        size += f", and {count(len(design.beside), 'baseline')} x {count(seeds, 'seed')}"
    expected = ""
    if design.expected:
        own = design.seeds == design.profile_seeds and not design.beside
        whose = (
            "expect" if own else f"for {count(len(design.profile_seeds), 'seed')} without baselines expect"
        )
        expected = f"; {whose} {design.expected.time} on {design.expected.machine}"
    return f"{design.name}: {design.title}\n{size} in {folder}{expected}"


def _print_cells(ledger: Ledger, folder: Path, as_json: bool) -> None:
    design = ledger.design
    missing = Counter(task.cell.key for task in ledger.tasks for _ in task.configs)
    if as_json:
        cells = [
            {
                "values": dict(cell.values),
                "runs": [{"seed": seed, "fingerprint": cell.name(seed)} for seed in design.seeds],
                "missing": missing[cell.key],
            }
            for cell in (*design.cells, *design.beside)
        ]
        print(json.dumps({"study": design.name, "folder": str(folder), "cells": cells}, indent=1))
        return
    print(_opening(design, folder))
    for number, cell in enumerate((*design.cells, *design.beside), start=1):
        there = len(design.seeds) - missing[cell.key]
        print(f"{number:4d}  {cell.label}: {there} of {len(design.seeds)} runs recorded")
    print(f"dry run: {count(ledger.pending, 'run')} to train, nothing was written")


if __name__ == "__main__":
    code = main()
    end_at_once()
    sys.exit(code)
