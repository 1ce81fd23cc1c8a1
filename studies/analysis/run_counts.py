"""Numbers of planned and recorded runs of a study, of cells and of baselines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from studies.design.baselines import BASELINES
from studies.records.schema import Record
from studies.records.study_file import StudyFile


@dataclass(frozen=True)
class RunCounts:
    """Runs of a study, planned and recorded."""

    cells: int
    seeds: int
    baselines: int
    """Number of baselines, counted once per data set."""
    planned_baselines: int
    """Planned runs of baselines."""
    complete: int
    failed: int
    complete_baselines: int
    """Runs of baselines in `complete`."""

    @property
    def planned(self) -> int:
        """Number of planned runs of cells and baselines."""
        return self.cells * self.seeds + self.planned_baselines


def count_runs(plan: StudyFile, records: Iterable[Record]) -> RunCounts:
    """Count the runs of a study.

    Args:
        plan: the description of the study.
        records: the valid records of the study.
    """
    data = {
        json.dumps([value for key, value in sorted(cell.items()) if key.startswith("data.")])
        for cell in plan.cells
    }
    fitted = [len(BASELINES[key].seeds_of(plan.seeds)) for key in plan.baselines if key in BASELINES]
    found = [(record.status == "complete", record.method is not None) for record in records]
    return RunCounts(
        cells=len(plan.cells),
        seeds=len(plan.seeds),
        baselines=len(fitted) * len(data),
        planned_baselines=sum(fitted) * len(data),
        complete=sum(complete for complete, _ in found),
        failed=sum(not complete for complete, _ in found),
        complete_baselines=sum(complete and baseline for complete, baseline in found),
    )
