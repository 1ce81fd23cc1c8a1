"""Stopping of runs after an epoch, when their driver has pruned their trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.execution.events import EpochReport, Event, OnEvent

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig
    from studies.records.schema import Outcome


@dataclass(frozen=True)
class Stopped:
    """The result of a run that was stopped: it has no outcomes."""


@dataclass(frozen=True)
class Stoppable:
    """A run function that stops after an epoch if a file exists.

    It works in other processes of this machine. On another machine the file never exists, and a pruned
    trial runs to its end.
    """

    run: Any
    """A `studies.execution.experiment.RunFunction`."""
    flag: str

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_event: OnEvent | None
    ) -> list[Outcome] | Stopped:
        """Train the runs and return one outcome per run, or `Stopped`."""

        def stop_if_pruned(event: Event) -> None:
            if on_event:
                on_event(event)
            if isinstance(event, EpochReport) and Path(self.flag).exists():
                raise _StoppedError

        try:
            outcomes: list[Outcome] = self.run(configs, on_event=stop_if_pruned)
        except _StoppedError:
            return Stopped()
        return outcomes


class _StoppedError(Exception):
    """Raised in a run of a pruned trial."""
