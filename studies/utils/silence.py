"""Log messages of a driver that has received no result for a long time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from moevae.utils.progress import seconds_in_words

FIRST = 600.0
"""Seconds before the first message; the interval doubles after each message."""

_log = logging.getLogger(__name__)


class Silence:
    """The time since the last event of a task, or its end.

    Args:
        clock: function that returns the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.end()

    def end(self) -> None:
        """Restart the clock after a result."""
        self._since, self._due = self._clock(), FIRST

    def log(self, waiting: Iterable[str]) -> None:
        """Log the running tasks if no result has arrived for a long time.

        Args:
            waiting: descriptions of the running tasks.
        """
        lasted = self._clock() - self._since
        if lasted >= self._due:
            self._due *= 2
            _log.warning(
                "no progress for %s; waiting for: %s",
                seconds_in_words(lasted),
                "; ".join(waiting),
            )
