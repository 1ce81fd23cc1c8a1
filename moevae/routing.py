"""How the gate's probabilities become the weights of the experts in the objective.

A new routing is a function of log q(k|x), [R, K, B], that returns weights, [R, K, B], and a line in ROUTINGS.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def soft(log_probs: Tensor) -> Tensor:
    """Weigh every expert by its probability."""
    return log_probs.exp()


def hard(log_probs: Tensor) -> Tensor:
    """Straight-through: one-hot at the likeliest expert going forward, the soft gradient going back.

    Bengio, Leonard, Courville (2013), estimating gradients through stochastic neurons.
    """
    probs = log_probs.exp()
    # Laid out in memory as the probabilities are: another order of summing would round by the number of runs.
    chosen = torch.zeros_like(probs).scatter(1, log_probs.argmax(1, keepdim=True), 1.0)  # [R, K, B]
    # The difference is exactly zero in value, so that unchosen experts weigh exactly nothing.
    return chosen + (probs - probs.detach())


ROUTINGS: dict[str, Callable[[Tensor], Tensor]] = {"soft": soft, "hard": hard}
