"""`report`: write the report of one study, or of all."""

from __future__ import annotations

import sys
from pathlib import Path

from moevae.errors import RecordError
from studies.cli import listing
from studies.cli.listing import folder_of
from studies.cli.options import Report
from studies.report import cache, manifest


def report(options: Report) -> int:
    """Write the report of one study, or of all; errors of unreadable studies are printed at the end."""
    if options.study is None:
        folders = [Path(line.folder) for line in listing.studies(options.results)]
        if not folders:
            raise RecordError(f"{options.results}: no studies here; run one with: moevae ablate")
    else:
        folders = [folder_of(options.study, options.results)]
    broken = []
    for folder in folders:
        try:
            page = write_page(folder, overwrite=options.overwrite, fewer_runs=options.fewer_runs)
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


def write_page(folder: Path, *, overwrite: bool = False, fewer_runs: bool = False) -> Path:
    """Write the report of the study in a folder; return its page.

    A report whose records and code have not changed is left as it is, unless `overwrite` is given.
    """
    inputs = cache.inputs(folder)
    if not overwrite and cache.is_current(folder, inputs):
        return folder / manifest.PAGE
    from studies.report.build import write_report  # takes a second to import

    page = write_report(folder, overwrite=overwrite, fewer_runs=fewer_runs)
    cache.note_page(folder, inputs)
    return page


def _write_html(page: Path, *, overwrite: bool) -> Path:
    from studies.report.html import write_html

    return write_html(page, overwrite=overwrite)


def _write_index(results: Path, *, asked: bool) -> None:
    from studies.report.index import write_index

    write_index(results, asked=asked)
