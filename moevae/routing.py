"""How the gate's probabilities become the weights of the experts in the objective.

A new routing is a function of log q(k|x), [R, K, B], that returns weights, [R, K, B], and a line in ROUTINGS.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional


def soft(log_probs: Tensor) -> Tensor:
    """Weigh every expert by its probability."""
    return log_probs.exp()


def hard(log_probs: Tensor) -> Tensor:
    """Straight-through: one-hot at the likeliest expert going forward, the soft gradient going back.

    Bengio, Leonard, Courville (2013), estimating gradients through stochastic neurons.
    """
    probs = log_probs.exp()
    chosen = functional.one_hot(log_probs.argmax(1), log_probs.shape[1])  # [R, B, K]
    # The difference is exactly zero in value, so that unchosen experts weigh exactly nothing.
    return chosen.to(probs.dtype).transpose(1, 2) + (probs - probs.detach())


ROUTINGS: dict[str, Callable[[Tensor], Tensor]] = {"soft": soft, "hard": hard}
