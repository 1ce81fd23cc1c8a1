"""Runs that raise: each is a failed run with a reason, until many in a row fail in the same way."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moevae.cli.process import MENDABLE
from moevae.errors import ConfigError, MoevaeError
from studies.execution.executors.base import OnEpoch

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig
    from studies.records.schema import Method, Outcome

LIMIT = 10
"""Failures of one kind in a row, after which a study stops: the fault is then not in the runs."""


class FailuresError(MoevaeError):
    """Many runs in a row that failed in the same way."""


@dataclass(frozen=True)
class Raised:
    """What a run raised, as a value: unlike exceptions, it always travels between processes."""

    kind: str
    """Name of the exception's class."""
    reason: str
    """In one line, with the place in the code."""

    @classmethod
    def of(cls, error: Exception) -> Raised:
        """Return what is to be recorded of an exception."""
        kind = type(error).__name__
        lines = str(error).strip().splitlines()
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        return cls(kind, (f"{kind}: {lines[0]}" if lines else kind) + place)


@dataclass(frozen=True)
class Guarded:
    """A run function that returns what it raised.

    Errors that no run can be blamed for are raised: missing data or devices, and disks that cannot be
    written to. A `ConfigError` is the run's own.
    """

    run: Callable[..., list[Outcome]]
    worker_errors: tuple[type[Exception], ...] = ()
    """Raised too: the worker died, not the run."""

    def __call__(
        self, configs: Sequence[RunConfig], /, *, on_epoch: OnEpoch | None, method: Method | None = None
    ) -> list[Outcome] | Raised:
        """Train, and return the outcomes or what was raised."""
        options = {} if method is None else {"method": method}
        try:
            return self.run(configs, on_epoch=on_epoch, **options)
        except self.worker_errors:
            raise
        except Exception as error:
            if isinstance(error, MoevaeError) and not isinstance(error, ConfigError):
                raise
            if isinstance(error, OSError) and error.errno in MENDABLE:
                raise
            return Raised.of(error)


class Streak:
    """Counts failures of one kind in a row."""

    def __init__(self) -> None:
        """Begin at none."""
        self._kind, self._length = "", 0

    def end(self) -> None:
        """Forget what failed: a run has succeeded."""
        self._kind, self._length = "", 0

    def note(self, kind: str, reason: str) -> None:
        """Count a failure.

        Raises:
            FailuresError: the last `LIMIT` failures were of this kind.
        """
        self._length = self._length + 1 if kind == self._kind else 1
        self._kind = kind
        if self._length >= LIMIT:
            self.end()
            raise FailuresError(
                f"{LIMIT} runs in a row failed in the same way ({reason}): they are recorded as failed; the "
                "same command continues with the other runs, and --retry-failed trains failed runs again"
            )
