"""`report`: write the report of one study, or of all."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from moevae.errors import ConfigError, RecordError
from moevae.utils.suggest import closest_name
from studies.cli.folders import folder_of, study_folders
from studies.cli.options import Report
from studies.report import cache, manifest
from studies.utils.gc_pause import paused_gc


def report(options: Report) -> int:
    """Write the report of one study, or of all; errors of unreadable studies are printed at the end.

    Args:
        options: options of the command.

    Raises:
        RecordError: the folder has no studies.
    """
    formats = _formats(options.formats)
    if options.compare is not None:
        return _compare(options)
    if options.study is None:
        folders = study_folders(options.results)
        if not folders:
            raise RecordError(f"{options.results}: no studies here; run one with: moevae ablate")
    else:
        folders = [folder_of(options.study, options.results)]
    broken, console = [], Console(stderr=True)
    for folder in folders:
        try:
            with console.status(f"writing the report of {escape(folder.name)}"):  # shown on a terminal only
                page = write_page(
                    folder,
                    overwrite=options.overwrite,
                    fewer_runs=options.fewer_runs,
                    formats=formats,
                    with_latex=options.latex,
                )
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


@paused_gc()
def write_page(
    folder: Path,
    *,
    overwrite: bool = False,
    fewer_runs: bool = False,
    formats: Sequence[str] = (),
    with_latex: bool = False,
) -> Path:
    """Write the report of a study.

    A report whose records and code have not changed is left as it is, unless `overwrite`, `formats` or
    `with_latex` is given.

    Args:
        folder: folder of the study.
        overwrite: whether to write an unchanged report again, and to replace edited files.
        fewer_runs: whether to replace a page that covers more complete runs than the folder has now.
        formats: formats of figures in addition to PNG.
        with_latex: whether to write LaTeX tables, too.

    Returns:
        The path of the page.
    """
    inputs = cache.inputs(folder)
    more = bool(formats or with_latex)
    if not overwrite and not more and cache.is_current(folder, inputs):
        return folder / manifest.PAGE
    from studies.report.build import write_report  # takes a second to import

    page = write_report(
        folder, overwrite=overwrite, fewer_runs=fewer_runs, formats=formats, with_latex=with_latex
    )
    cache.note_page(folder, inputs)
    if manifest.HTML in manifest.read(folder).files:
        with suppress(RecordError):  # an edited copy stays as it is
            _write_html(page, overwrite=False)
    return page


def _formats(typed: str) -> list[str]:
    """Return the formats of a list such as `svg,pdf`."""
    names = [name.strip() for name in typed.split(",") if name.strip()]
    if not names:
        return []
    from moevae.visualization.style import VECTOR  # takes a second to import

    for name in names:
        closest_name("--formats", name, VECTOR)
    return names


def _compare(options: Report) -> int:
    """Print cells of studies side by side: each further one next to the first, by data set."""
    from studies.analysis.load import load_study
    from studies.report import comparison

    if options.study is not None or len(options.compare or ()) < 2:
        raise ConfigError("--compare: expected two or more studies, such as --compare quick:1 quick:2")
    found = []
    for typed in options.compare or ():
        name, colon, number = typed.rpartition(":")
        cell = int(number) if colon and number.isdecimal() else None
        study = load_study(folder_of(typed if cell is None else name, options.results))
        found.append(comparison.sides(study, cell))
    shared = [data for data in found[0] if all(data in each for each in found[1:])]
    if not shared:
        names = "; ".join(", ".join(each) for each in found)
        raise RecordError(f"--compare: the studies share no data set (theirs: {names})")
    for data in shared:
        compared = [each[data] for each in found]
        if len({each.name for each in compared}) < len(compared):
            compared = [replace(each, name=f"{place}: {each.name}") for place, each in enumerate(compared, 1)]
        for other in compared[1:]:
            print(f"{data}: {compared[0].name} and {other.name}\n")
            print(_text(comparison.metric_rows(compared[0], other)), end="\n\n")
        rows = comparison.setting_rows(compared)
        print(f"Settings that differ:\n\n{_text(rows)}" if rows else "No setting differs.", end="\n\n")
    return 0


def _text(rows: Sequence[Mapping[str, str]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def _write_html(page: Path, *, overwrite: bool) -> Path:
    from studies.report.html import write_html

    return write_html(page, overwrite=overwrite)


def _write_index(results: Path, *, asked: bool) -> None:
    from studies.report.index import write_index

    write_index(results, asked=asked)
