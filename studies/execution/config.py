"""Where a study's runs take place, and what a driver has done there. Imports torch when work begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moevae.config import parsing
from moevae.config.schema import DataConfig, RunConfig
from moevae.errors import ConfigError
from studies.records.origins import Origins, code, own_files

if TYPE_CHECKING:
    from studies.cli.options import Ablate, Search
    from studies.execution.executors.base import OnEpoch
    from studies.records.schema import Method, Outcome


@dataclass(frozen=True)
class Site:
    """Where runs take place; it decides no number but the speed."""

    device: str = "auto"
    data_root: str | None = None
    threads: int | None = None
    population_chunk: int | None = None
    """Runs of a cell trained side by side; None chooses by device and size."""
    memory: int | None = None
    """Bytes that a look of evaluation may take; None sets no limit."""
    snapshots: str | None = None
    """Folder for populations in the middle of training; None keeps none."""
    snapshot_seconds: float = 10.0
    """Training shorter than this is done again rather than kept."""
    origins: Origins | None = None
    """The driver's data and code, with which a worker compares its own; None compares nothing."""


def of_options(options: Ablate | Search, folder: Path, sets: Iterable[DataConfig]) -> Site:
    """Return where runs of the study in that folder take place, as was typed.

    Populations in training are kept, but not on a cluster's own disks.

    Args:
        options: what was typed.
        folder: the study's own.
        sets: data sets of the study.

    Raises:
        ConfigError: a number of runs side by side, or a size of memory, that is none.
        DataError: a file of a person's own that is there and broken.
    """
    return Site(
        device=options.device,
        data_root=str(options.data_root.resolve()) if options.data_root else None,
        threads=1,  # as in workers, so that it matters to no bit who trains a run
        population_chunk=_population_chunk(options.population_chunk),
        memory=parsing.parse_memory(options.memory),
        snapshots=None if options.dask else str((folder / "checkpoints").resolve()),
        origins=Origins(code(), options.allow_mixed_code, own_files(data.name for data in sets)),
    )


def _population_chunk(typed: str) -> int | None:
    if typed == "auto":
        return None
    if typed.isdecimal() and int(typed) > 0:
        return int(typed)
    raise ConfigError(f"--population-chunk {typed!r}: give a number from 1, or auto")


def train(
    configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None, site: Site, method: Method | None = None
) -> list[Outcome]:
    """Train runs of one cell together, or fit a baseline to each: one outcome each, in order."""
    if site.origins:
        site.origins.check_code()
    if method is not None:
        from studies.execution.baseline_fit import fit

        return [fit(method, config, site, on_epoch) for config in configs]
    from studies.execution.run import run_population

    return run_population(configs, site, on_epoch)


def check(configs: Sequence[RunConfig], *, site: Site) -> None:
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


def lost(
    configs: Sequence[RunConfig], reason: str, *, site: Site, method: Method | None = None
) -> list[Outcome]:
    """Return what is left of runs whose workers died: failed records that say why."""
    from studies.execution.run import without_numbers
    from studies.records.schema import Failure

    return without_numbers(configs, site, Failure(reason=reason), method)
