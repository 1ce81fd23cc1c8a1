"""One task of a study: training its runs, checking them first, and what is left where workers die."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moevae.config.schema import RunConfig
from studies.execution.config import ExecutionConfig

if TYPE_CHECKING:
    from studies.execution.executors.base import OnEpoch
    from studies.records.schema import Method, Outcome


def train(
    configs: Sequence[RunConfig],
    /,
    *,
    on_epoch: OnEpoch | None,
    site: ExecutionConfig,
    method: Method | None = None,
) -> list[Outcome]:
    """Train runs of one cell together, or fit a baseline to each: one outcome each, in order."""
    if site.origins:
        site.origins.check_code()
    if method is not None:
        from studies.execution.baseline_fit import fit

        return [fit(method, config, site, on_epoch) for config in configs]
    from studies.execution.run import run_population

    return run_population(configs, site, on_epoch)


def preflight(configs: Sequence[RunConfig], *, site: ExecutionConfig) -> None:
    """Find what a person can mend before a study is begun.

    Raises:
        MoevaeError: no such device, data that is missing or broken, or too little memory.
    """
    from moevae.data.datasets import load_images
    from moevae.evaluation import memory as budget
    from moevae.utils.devices import resolve

    resolve(site.device)
    root = Path(site.data_root) if site.data_root else None
    found = {data: load_images(data, root) for data in dict.fromkeys(config.data for config in configs)}
    if site.memory is not None:
        for config in configs:
            budget.images(site.memory, config, found[config.data].size)


def on_worker_lost(
    configs: Sequence[RunConfig], reason: str, *, site: ExecutionConfig, method: Method | None = None
) -> list[Outcome]:
    """Return what is left of runs whose workers died: failed records that say why."""
    from studies.execution.run import failed_outcomes
    from studies.records.schema import Failure

    return failed_outcomes(configs, site, Failure(reason=reason), method)
