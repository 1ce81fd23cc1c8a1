"""What a driver waits for, told whenever nothing has come back for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from moevae.utils.progress import seconds_in_words

FIRST = 600.0
"""Seconds of silence before the first message; each next one comes after twice as long."""

_log = logging.getLogger(__name__)


class Silence:
    """The time since an epoch or a task ended."""

    def __init__(self) -> None:
        """Start the clock."""
        self.end()

    def end(self) -> None:
        """Start the clock again: something came back."""
        self._since, self._due = time.monotonic(), FIRST

    def tell(self, waiting: Iterable[str]) -> None:
        """Log the tasks that are waited for, if the silence is long."""
        lasted = time.monotonic() - self._since
        if lasted >= self._due:
            self._due *= 2
            _log.warning(
                "no epoch has ended for %s; waiting for: %s", seconds_in_words(lasted), "; ".join(waiting)
            )
