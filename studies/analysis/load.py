"""Loading of a study: reads `study.json` and assigns the records to cells."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special

from moevae.config import overrides
from moevae.errors import RecordError
from studies.analysis.metrics import RETIRED
from studies.analysis.runs import BaselineRuns, StudyRun
from studies.analysis.study import DATA, CellValues, Study
from studies.design.baselines import BASELINES
from studies.records import store, study_file
from studies.records.origins import with_other_data
from studies.records.schema import Method, Record
from studies.records.study_file import identity
from studies.utils.formatting import count
from studies.utils.gc_pause import paused_gc

if TYPE_CHECKING:
    import pandas as pd

CURVES = ("mixture_elbo", "nmi", "gate_loss")
"""Metrics by epoch that are kept, of the validation split."""


@paused_gc()
def load_study(folder: str | os.PathLike[str]) -> Study:
    """Load a study from `study.json` and its records.

    Args:
        folder: the folder of the study.

    Raises:
        RecordError: the folder has no study, or its description is invalid.

    Examples:
        >>> import studies
        >>> study = studies.load_study("results/objective")
        >>> len(study.cells) * len(study.planned_seeds) == len(study.runs)
        True
    """
    folder = Path(folder)
    plan = study_file.read(folder)
    axes = {key: tuple(values) for key, values in plan.axes.items()}
    planned = [tuple(cell[axis] for axis in axes) for cell in plan.cells]
    reference = identity(plan.baseline[axis] for axis in axes) if plan.baseline else None
    index = {identity(cell): number for number, cell in enumerate(planned)}
    runs, baselines, unread = _sorted(folder, axes, planned, index)
    return Study(
        folder=folder,
        name=plan.name,
        title=plan.title or plan.name,
        description=plan.description,
        command=plan.command,
        axes={
            axis: _levels(values, [cell[i] for cell in planned])
            for i, (axis, values) in enumerate(axes.items())
        },
        cells=tuple(planned),
        reference=index.get(reference) if reference is not None else None,
        planned_seeds=tuple(plan.seeds),
        planned_cells=len(plan.cells),
        runs=runs,
        baselines=baselines,
        planned_baselines={
            _method_name(BASELINES[key].method): len(BASELINES[key].seeds_of(plan.seeds))
            for key in plan.baselines
            if key in BASELINES
        },
        left_out=tuple(plan.left_out),
        unread=unread,
        oracle=plan.oracle,
        base=overrides.to_dict(plan.config),
        numbers=tuple(range(1, len(planned) + 1)),
    )


def load_records(study: str | os.PathLike[str] | Study) -> pd.DataFrame:
    """Return the runs of a study as a tidy table: one row per run, with baselines and failed runs.

    The columns are `study`, `method` (missing for the mixture), `oracle`, `status`, `failure`, `fingerprint`,
    `started`, `device` and `commit`; then the settings by dotted key, with the `seed`; then the metrics by
    `split.metric`, `load.*`, `throughput.*` and `seconds.*`, which failed runs lack. Torch and Optuna are not
    imported.

    Args:
        study: the folder of a study, or a study.

    Raises:
        RecordError: the folder has no study, or its description is invalid.

    Warns:
        UserWarning: some records were excluded.

    Examples:
        >>> import studies
        >>> runs = studies.load_records("results/objective")
        >>> runs.groupby("data.name")["test.nmi"].max().between(0, 1).all()
        np.True_
    """
    import pandas as pd  # slow to import, and often not needed

    loaded = study if isinstance(study, Study) else load_study(study)
    if loaded.unread:
        excluded = count(len(loaded.unread), "record")
        warnings.warn(f"{loaded.name}: {excluded} excluded, such as {loaded.unread[0]}", stacklevel=2)
    methods: list[tuple[str | None, StudyRun]] = [(None, run) for run in loaded.runs]
    methods += [(baseline.name, run) for baseline in loaded.baselines for run in baseline.runs]
    rows = [
        {
            "study": loaded.name,
            "method": method,
            "oracle": bool(run.record.method and run.record.method.oracle),
            "status": run.record.status,
            "failure": run.record.failure.reason if run.record.failure else None,
            "fingerprint": run.record.fingerprint,
            "started": run.record.started,
            "device": run.record.hardware.device,
            "commit": run.record.commit,
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in overrides.leaves(run.record.config)
            },
            **run.metrics,
        }
        for method, run in methods
    ]
    return pd.DataFrame(rows)


def _sorted(
    folder: Path, axes: Mapping[str, Any], cells: list[CellValues], index: dict[str, int]
) -> tuple[tuple[StudyRun, ...], tuple[BaselineRuns, ...], tuple[str, ...]]:
    """Assign records to cells and baselines; an unplanned cell is appended to `cells` and `index`."""
    found: dict[tuple[str, str, int], tuple[StudyRun, CellValues]] = {}
    unread: list[str] = []
    for item in store.iterate(folder):
        if isinstance(item, RecordError):
            unread.append(str(item).removeprefix(f"{folder}/"))
            continue
        config = item.run_config
        cell = tuple(overrides.lookup(config, axis) for axis in axes)
        where, name, place = identity(cell), "", -1
        if item.method is not None:
            name = _method_name(item.method)
        else:
            place = index.setdefault(where, len(cells))
            if place == len(cells):
                cells.append(cell)
        run = StudyRun(item.without_curve(), place, config.seed, _metrics(item), _curve(item))
        key = (name, where, config.seed)
        if key in found:
            old, run = sorted((found[key][0], run), key=_age)
            unread.append(
                f"records/{old.record.fingerprint}.json: another record has the same cell and seed "
                f"({run.record.fingerprint}, started later) and is used instead"
            )
        found[key] = (run, cell)
    foreign = {one.fingerprint: why for one, why in with_other_data(run.record for run, _ in found.values())}
    unread += [
        f"records/{name}.json: its data set differs from that of the other runs ({why})"
        for name, why in foreign.items()
    ]
    found = {key: pair for key, pair in found.items() if pair[0].record.fingerprint not in foreign}
    own = (run for (name, _, _), (run, _) in found.items() if not name)
    others = {key: pair for key, pair in found.items() if key[0]}
    runs = tuple(sorted(own, key=lambda run: (run.cell, run.seed)))
    return runs, _grouped(tuple(axes), others), tuple(sorted(unread))


def _method_name(method: Method) -> str:
    return f"{method.name} (oracle)" if method.oracle else method.name


def _grouped(
    axes: Sequence[str], found: Mapping[tuple[str, str, int], tuple[StudyRun, CellValues]]
) -> tuple[BaselineRuns, ...]:
    """Group runs by method; a method fitted with several settings becomes several baselines."""
    settings = [place for place, axis in enumerate(axes) if axis != DATA]
    groups: dict[str, dict[str, tuple[CellValues, list[StudyRun]]]] = {}
    for (name, _, _), (run, cell) in sorted(found.items()):
        variant = identity(cell[place] for place in settings)
        groups.setdefault(name, {}).setdefault(variant, (cell, []))[1].append(run)
    baselines = []
    for name, variants in groups.items():
        known = [cell for cell, _ in variants.values()]
        varied = [place for place in settings if len({identity([cell[place]]) for cell in known}) > 1]
        for cell, runs in variants.values():
            suffix = "".join(f", {axes[place]} {cell[place]}" for place in varied)
            baselines.append(BaselineRuns(name + suffix, tuple(sorted(runs, key=lambda run: run.seed))))
    return tuple(baselines)


def _age(run: StudyRun) -> tuple[str, str]:
    return run.record.started, run.record.fingerprint


def _metrics(record: Record) -> dict[str, float]:
    if record.status != "complete":
        return {}
    flat = {
        f"{split}.{name}": value
        for split, part in record.metrics.items()
        for name, value in part.items()
        if name not in RETIRED
    }
    if record.load:
        flat["load.largest"] = max(record.load)
        # Ten digits: the last digits of the logarithm differ between machines.
        flat["load.entropy"] = float(f"{scipy.special.entr(record.load).sum():.10g}")
    if record.throughput is not None:
        flat["throughput.train"] = record.throughput.train_images_per_second
        flat["throughput.evaluation"] = record.throughput.evaluation_images_per_second
    if record.seconds is not None:
        flat["seconds.train"] = record.seconds.train
        flat["seconds.evaluation"] = record.seconds.evaluation
    return flat


def _curve(record: Record) -> dict[str, np.ndarray]:
    curve = record.curve
    if not curve:
        return {}
    columns = {name: np.array(curve.metrics[name], dtype=float) for name in CURVES if name in curve.metrics}
    return columns | {"loss": np.array(curve.loss), "epoch": np.array(curve.epoch)}


def _levels(planned: Sequence[Any], found: Sequence[Any]) -> tuple[Any, ...]:
    """Return the planned values of an axis in order, then unplanned values, numbers first, ascending."""
    seen = {identity([value]): value for value in planned}
    distinct = {repr(value): value for value in found}.values()
    extra = {identity([value]): value for value in distinct if identity([value]) not in seen}
    return (*seen.values(), *(extra[key] for key in sorted(extra, key=lambda key: _order(extra[key]))))


def _order(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))
