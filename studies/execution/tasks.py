"""The functions of a task: train its runs, check them in advance, and record lost runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moevae.config.schema import RunConfig
from studies.execution.config import ExecutionConfig

if TYPE_CHECKING:
    from studies.execution.events import OnEvent
    from studies.records.schema import Method, Outcome


def train(
    configs: Sequence[RunConfig],
    /,
    *,
    on_event: OnEvent | None,
    execution: ExecutionConfig,
    method: Method | None = None,
) -> list[Outcome]:
    """Train the runs of one cell together, or fit a baseline to each.

    Args:
        configs: one configuration per run.
        on_event: called after each epoch, and after each block of images of an evaluation.
        execution: where the runs take place.
        method: the baseline; None trains the model.

    Returns:
        One outcome per run, in order.

    Raises:
        IdentityError: the data or the code differ from the driver's, or a file of the code changed before
            it was imported.
    """
    if execution.origins:
        execution.origins.check_code()
    if method is not None:
        from studies.execution.baseline_fit import fit

        outcomes = [fit(method, config, execution, on_event) for config in configs]
    else:
        from studies.execution.run import run_population

        outcomes = run_population(configs, execution, on_event)
    if execution.origins:
        execution.origins.check_code()  # again, of modules that were imported meanwhile
    return outcomes


def preflight(configs: Sequence[RunConfig], *, execution: ExecutionConfig) -> None:
    """Check for errors that the user can correct before a study starts.

    Args:
        configs: configurations of the runs.
        execution: how runs are executed.

    Raises:
        MoevaeError: the device or the package of the map is not available, the data are missing or invalid,
            or the memory is too small.
    """
    from moevae.data.datasets import load_images
    from moevae.evaluation import memory as budget
    from moevae.utils.devices import resolve
    from moevae.visualization import maps

    maps.check(execution.map)
    resolve(execution.device)
    root = Path(execution.data_root) if execution.data_root else None
    found = {data: load_images(data, root) for data in dict.fromkeys(config.data for config in configs)}
    if execution.memory is not None:
        for config in configs:
            budget.images(execution.memory, config, found[config.data].size)


def on_worker_lost(
    configs: Sequence[RunConfig], reason: str, *, execution: ExecutionConfig, method: Method | None = None
) -> list[Outcome]:
    """Return failed outcomes of runs whose workers died.

    Args:
        configs: configurations of the runs.
        reason: reason of the failure.
        execution: how runs are executed.
        method: the baseline; None for a mixture of VAEs.
    """
    from studies.execution.record_fields import failed_outcomes
    from studies.records.schema import Failure

    return failed_outcomes(configs, execution, Failure(reason=reason), method)
