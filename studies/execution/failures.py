"""Handling of runs that raise: each is recorded as failed, unless many in a row fail in the same way."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moevae.errors import CORRECTABLE, ConfigError, MoevaeError
from studies.execution.events import OnEvent

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig
    from studies.execution.pruning import Stopped
    from studies.records.schema import Outcome

LIMIT = 10
"""Number of consecutive failures of one kind that stops a study: the cause is then not in the runs."""


class FailuresError(MoevaeError):
    """Raised when many consecutive runs failed in the same way."""


@dataclass(frozen=True)
class RaisedException:
    """An exception of a run, as a value: unlike exceptions, it can always be pickled."""

    kind: str
    """Name of the class of the exception."""
    reason: str
    """The message in one line, with the position in the code."""

    @classmethod
    def of(cls, error: Exception) -> RaisedException:
        """Return the description of an exception."""
        kind = type(error).__name__
        lines = str(error).strip().splitlines()
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        return cls(kind, (f"{kind}: {lines[0]}" if lines else kind) + place)


@dataclass(frozen=True)
class GuardedRun:
    """A run function that returns exceptions as values.

    Errors that the run did not cause are raised: missing data, missing devices, and disks that cannot be
    written to. A `ConfigError` belongs to the run.
    """

    run: Callable[..., list[Outcome] | Stopped]
    worker_errors: tuple[type[Exception], ...] = ()
    """Exceptions that mean that a worker died; they are raised."""

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_event: OnEvent | None
    ) -> list[Outcome] | Stopped | RaisedException:
        """Train the runs and return the outcomes, or the description of an exception."""
        try:
            return self.run(configs, on_event=on_event)
        except self.worker_errors:
            raise
        except Exception as error:
            if isinstance(error, MoevaeError) and not isinstance(error, ConfigError):
                raise
            if isinstance(error, OSError) and error.errno in CORRECTABLE:
                raise
            return RaisedException.of(error)


class FailureStreak:
    """A counter of consecutive failures of one kind."""

    def __init__(self) -> None:
        """Start with no failures."""
        self._kind, self._length = "", 0

    def end(self) -> None:
        """Reset the counter after a run has succeeded."""
        self._kind, self._length = "", 0

    def note(self, kind: str, reason: str) -> None:
        """Count a failure.

        Args:
            kind: kind of the failure; failures of one kind are counted together.
            reason: description for the message.

        Raises:
            FailuresError: the last `LIMIT` failures had this kind.
        """
        self._length = self._length + 1 if kind == self._kind else 1
        self._kind = kind
        if self._length >= LIMIT:
            self.end()
            raise FailuresError(
                f"{LIMIT} runs in a row failed in the same way ({reason}): they are recorded as failed; the "
                "same command continues with the other runs, and --retry-failed trains failed runs again"
            )
