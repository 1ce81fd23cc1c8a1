"""A study's page: `report.md`, `table.csv` and figures, a pure function of `study.json` and the records."""

from __future__ import annotations

from pathlib import Path

from studies import measures, records, sections, tables
from studies.study import load


def write_report(folder: Path) -> Path:
    """Write the page of the study in `folder` and return its path; the same records give the same bytes.

    Raises:
        RecordError: there is no study in the folder, or its description is torn.
    """
    study = load(folder)
    page = sections.Page()
    sections.head(study, page)
    sections.provenance(study, page)
    sections.results(study, page)
    sections.heat_maps(study, page)
    sections.chosen_run(study, page)
    sections.losses(study, page)
    sections.remaking(study, page)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for name, content in page.figures.items():
        records.write_atomically(figures / name, content)
    for stale in figures.glob("*.png"):
        if stale.name not in page.figures:
            stale.unlink()
    frame = tables.cell_table(study, tables.measured(study, (*measures.LEADING, *measures.DIAGNOSTICS)))
    records.write_atomically(folder / "table.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    report = folder / "report.md"
    records.write_atomically(report, page.text().encode())
    return report
