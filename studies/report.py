"""A study's page, tables and figures: a pure function of `study.json` and the records beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from studies import findings, published, records, sections, summary, tables
from studies.analysis import Analysis, analyze
from studies.collector import uncollected
from studies.index import write_index
from studies.loading import load
from studies.page import Page, csv
from studies.study import DATA, Study
from studies.webpage import write_html

__all__ = ["write_html", "write_index", "write_report"]


@uncollected()
def write_report(folder: Path) -> Path:
    """Write `report.md`, `table.csv`, `tables/` and `figures/` into a study's folder; return the page's path.

    The same records give the same bytes. Neither torch nor optuna is needed.

    Raises:
        RecordError: there is no study in the folder, or its description is torn.
    """
    study = load(folder)
    analyses = {name: analyze(part) for name, part in study.by_data().items()}
    page = Page()
    sections.head(study, page)
    page.head("Summary")
    said = False
    for name, analysis in analyses.items():
        found = summary.sentences(analysis)
        said = said or bool(found)
        page.add(f"On {name}:" if len(analyses) > 1 else "")
        page.add("\n".join(f"- {sentence}" for sentence in found) or "Nothing that an interval would carry.")
    page.add(summary.caution(study) if said else "")
    sections.provenance(study, page)
    for name, analysis in analyses.items():
        if len(analyses) == 1:
            _add(analysis, page)
        else:
            with page.part(name):
                _add(analysis, page)
    published.section(study, page)
    sections.reading(study, page)
    sections.losses(study, page)
    sections.remaking(study, page)
    link = page.keep("runs", tables.run_table(study))
    page.add(f"Every cell and every measure: [table.csv](table.csv). Every run: {link}.")
    page.files["table.csv"] = csv(_all_cells(study, analyses))
    _write(folder, page)
    return folder / "report.md"


def _add(analysis: Analysis, page: Page) -> None:
    for section in findings.SECTIONS:
        section(analysis, page)


def _all_cells(study: Study, analyses: Mapping[str, Analysis]) -> pd.DataFrame:
    parts = [analysis.table for analysis in analyses.values()]
    if DATA in study.axes:
        parts = [analysis.table.assign(**{DATA: name}) for name, analysis in analyses.items()]
    return pd.concat(parts, ignore_index=True)


def _write(folder: Path, page: Page) -> None:
    """Write the files, the page last, and remove those that an earlier page showed and this one does not."""
    for name, content in page.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        records.write_atomically(folder / name, content)
    for stale in (*folder.glob("figures/*.png"), *folder.glob("tables/*.csv")):
        if str(stale.relative_to(folder)) not in page.files:
            stale.unlink()
    records.write_atomically(folder / "report.md", page.text().encode())
