"""Processor time of a training that is scored from time to time, without the time of scoring."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


class BudgetSpentError(Exception):
    """The method has used its processor time."""


class Clock:
    """A stopwatch of processor time.

    Args:
        budget: processor time of the method, in seconds.
        score: returns metrics from the clusters of the test images.
        now: returns the processor time, in seconds.
    """

    def __init__(
        self,
        budget: float,
        score: Callable[[np.ndarray], dict[str, float]],
        now: Callable[[], float] = time.process_time,
    ) -> None:
        self.budget, self.score, self.now = budget, score, now
        self.curve: list[dict[str, Any]] = []
        self.restart(0.0)

    def restart(self, spent: float) -> None:
        """Start again, with the given number of seconds spent."""
        self.spent, self.began = spent, self.now()

    def epoch(self, assign: Callable[[], np.ndarray] | None) -> None:
        """Stop the clock, score the clusters if there are any, and start the clock again.

        Args:
            assign: returns the clusters of the test images.

        Raises:
            BudgetSpentError: the budget is spent.
        """
        self.spent += self.now() - self.began
        if assign is not None:
            self.curve.append({"seconds": round(self.spent, 2), **self.score(assign())})
        if self.spent >= self.budget:
            raise BudgetSpentError
        self.began = self.now()
