"""Building of a report: page, tables and figures as a pure function of `study.json` and the records."""

from __future__ import annotations

import csv as csv_files
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import pandas as pd

from moevae.errors import RecordError
from moevae.visualization import style
from studies.analysis.analyze import Analysis, analyze
from studies.analysis.load import load_study
from studies.analysis.study import DATA, Study
from studies.report import latex, literature, manifest, summary, tables
from studies.report.html import write_html
from studies.report.index import write_index
from studies.report.manifest import Manifest
from studies.report.markdown import encoded, escape
from studies.report.page import Page, csv
from studies.report.sections import order
from studies.report.sections.study import failures, interpretation, ranks, reproduce, setup

RUNS = "tables/runs.csv"

__all__ = ["write_html", "write_index", "write_report"]


def write_report(
    folder: Path,
    *,
    overwrite: bool = False,
    fewer_runs: bool = False,
    formats: Sequence[str] = (),
    with_latex: bool = False,
) -> Path:
    """Write `report.md`, `table.csv`, `tables/` and `figures/` into the folder of a study.

    The same records give the same bytes. The report requires neither torch nor Optuna.

    Args:
        folder: the folder of the study.
        overwrite: whether to replace files that were edited or that no report wrote.
        fewer_runs: whether to replace a page that covers more complete runs than the folder has now.
        formats: formats of figures in addition to PNG, see `moevae.visualization.style.VECTOR`.
        with_latex: whether to write tables in LaTeX, too.

    Returns:
        The path of the page.

    Raises:
        RecordError: the folder has no study, its description is invalid, or a file must not be replaced.
    """
    with style.also_as(formats):
        return _write_report(folder, overwrite, fewer_runs, with_latex)


def _write_report(folder: Path, overwrite: bool, fewer_runs: bool, with_latex: bool) -> Path:
    study = load_study(folder)
    written = manifest.read(folder)
    if not fewer_runs:
        _check_runs(written, study)
    analyses = {name: analyze(part) for name, part in study.by_data().items()}
    page = Page()
    setup.title(study, page)
    page.head("Summary")
    tested = False
    for name, analysis in analyses.items():
        alone = len(analysis.study.cells) == 1
        found = summary.single_cell(analysis) if alone else summary.sentences(analysis)
        tested = tested or (bool(found) and not alone)
        page.add(f"On {escape(name)}:" if len(analyses) > 1 else "")
        page.add("\n".join(f"- {sentence}" for sentence in found) or summary.silence(analysis))
    page.add(summary.caution(study) if tested else "")
    setup.setup(study, page)
    for name, analysis in analyses.items():
        with nullcontext() if len(analyses) == 1 else page.part(name):
            _add(analysis, page)
            if with_latex:
                latex.add(analysis, page, study.folder.resolve().name, name if len(analyses) > 1 else "")
    ranks.across_data_sets(analyses, page)
    literature.section(study, page)
    interpretation.interpretation(study, page)
    failures.failures(study, page)
    reproduce.reproduce(study, page)
    link = page.keep("runs", tables.run_table(study), exact=True)
    page.add(f"All cells and measures: [table.csv](table.csv). All runs: {link}.")
    page.files["table.csv"] = csv(_all_cells(study, analyses))
    content = {**page.files, manifest.PAGE: encoded(page.text())}
    written.check(content, overwrite=overwrite)
    written.replace(content)
    return folder / manifest.PAGE


def _add(analysis: Analysis, page: Page) -> None:
    for section in order.SECTIONS:
        section(analysis, page)


def _all_cells(study: Study, analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    parts = [analysis.table for analysis in analyses.values()]
    if DATA in study.axes:
        parts = [analysis.table.assign(**{DATA: name}) for name, analysis in analyses.items()]
    return pd.concat(parts, ignore_index=True)


def _check_runs(written: Manifest, study: Study) -> None:
    """Check that the existing page does not cover more complete runs than there are records."""
    path = written.folder / RUNS
    if RUNS not in written.files or not path.is_file():
        return
    before = 0
    with path.open(encoding="utf-8", errors="replace", newline="") as file, suppress(csv_files.Error):
        rows = csv_files.reader(file)
        columns = next(rows, [])
        place = columns.index("status") if "status" in columns else len(columns)
        before = sum(row[place : place + 1] == ["complete"] for row in rows)
    made = [*study.runs, *(run for baseline in study.baselines for run in baseline.runs)]
    now = sum(run.complete for run in made)
    if now < before:
        raise RecordError(
            f"{written.folder / manifest.PAGE}: covers {before} complete runs, but the folder now has {now}: "
            f"not replaced; `moevae report {written.folder.resolve().name} --fewer-runs` replaces it"
        )
