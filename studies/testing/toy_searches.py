"""Toy searches, whose runs train nothing and which can stop after some trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from moevae.config import overrides
from moevae.config import schema as configs
from studies.execution.executors.base import in_process
from studies.records import schema
from studies.search.run import Budget, run_search
from studies.testing import toys

FAST = {"changes": ("train.epochs=10",)}


@dataclass(frozen=True)
class Climb:
    """Run function that trains nothing: its ELBO rises to that of the toy, and a file records each run."""

    run_log: Path
    failing: frozenset[int] = frozenset()
    """Seeds whose runs fail."""

    def __call__(self, configs: Sequence[Any], /, *, on_event: Any) -> list[schema.Outcome]:
        epochs = configs[0].train.epochs
        for epoch in range(1, epochs + 1):
            bound = fmean(toys.bound(config) for config in configs) - (epochs - epoch)
            on_event(toys.EpochReport(epoch, epochs, [-bound], {"mixture_elbo": bound}))
        for config in configs:
            with (self.run_log / configs_name(config)).open("a") as file:
                file.write("run\n")
        return [toys.outcome(config, failed=config.seed in self.failing) for config in configs]

    def counts(self) -> dict[str, int]:
        """Return how often each run was executed, by fingerprint."""
        return {path.name: len(path.read_text().splitlines()) for path in self.run_log.iterdir()}


def configs_name(config: configs.RunConfig) -> str:
    """Return the fingerprint of a configuration."""
    return overrides.fingerprint(config)


class Silent:
    """Callbacks without output that interrupt the search after a number of ended trials."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.ends: list[Any] = []
        self.stop_after = stop_after

    def begin(self, search, ended, budget) -> None:
        self.begun = (ended, budget)

    def epoch(self, attempt, report) -> None:
        if self.stop_after == len(self.ends) and report.epoch == 2:
            raise KeyboardInterrupt

    def evaluation(self, attempt, report) -> None:
        self.images = report.images

    def ended(self, trial, best) -> None:
        self.ends.append(trial)


def go(search, folder, run, *, trials=12, callbacks=None, worker_pool=None, **options):
    """Run a search in this process, unless executors are given."""
    with in_process() as here:
        return run_search(
            search,
            folder,
            run,
            budget=options.pop("budget", Budget(trials)),
            worker_pool=worker_pool or here,
            callbacks=callbacks or Silent(),
            **options,
        )
