"""How the gate's probabilities become the weights of the experts in the objective.

A new routing is a function, registered in ROUTINGS, of log q(k|x), [R, K, B], and of draws uniform on [0, 1),
[R, K, B]: given where it is registered as `random=True`, else None. It returns weights, [R, K, B].
Sparse routing computes drawn experts alone, and has a cost of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moevae.config.registry import ROUTINGS


@ROUTINGS.register("soft")
def soft(log_probs: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Weigh every expert by its probability."""
    return log_probs.exp()


@ROUTINGS.register("hard")
def hard(log_probs: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Straight-through: one-hot at the likeliest expert going forward, the soft gradient going back.

    Bengio, Leonard, Courville (2013), estimating gradients through stochastic neurons.
    """
    probs = log_probs.exp()
    # Laid out in memory as the probabilities are: another order of summing would round by the number of runs.
    chosen = torch.zeros_like(probs).scatter(1, log_probs.argmax(1, keepdim=True), 1.0)  # [R, K, B]
    # The difference is exactly zero in value, so that unchosen experts weigh exactly nothing.
    return chosen + (probs - probs.detach())


@ROUTINGS.register("gumbel", random=True)
def gumbel(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Straight-through: one-hot at an expert drawn by its probability, a relaxed draw's gradient going back.

    The largest of softmax(log q + Gumbel noise) is a draw from q. The softmax stands in for the draw going
    back, which is biased, unlike `sampled_cost`. The relaxation's own temperature is one; the gate's
    temperature is in q. Jang, Gu, Poole (2017); Maddison, Mnih, Teh (2017).
    """
    noise = -(-uniform.clamp_min(torch.finfo(uniform.dtype).tiny).log()).log()
    return hard((log_probs + noise).log_softmax(1))


@ROUTINGS.register("top-k")
def given(log_probs: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Weigh every expert by its probability, where sparse routing computes all of them.

    It does so for given assignments alone; the cost of drawn experts is `sampled_cost`.
    """
    return log_probs.exp()


def sampled_cost(log_probs: Tensor, chosen: Tensor, expert_elbo: Tensor) -> Tensor:
    """Return the cost of images, [R, B], whose gradient is, on average over draws, that of soft routing.

    The experts' part is that of the drawn ones. The gate's part is the score-function estimator (Williams,
    1992), (L_k - baseline) grad log q_k. The baseline is the mean cost of the image's other draws (Kool, van
    Hoof, Welling, 2019) or, where there is one draw an image, of the other images: it does not depend on
    the draw.

    Args:
        log_probs: log q(k|x), [R, K, B].
        chosen: the drawn experts, [R, S, B].
        expert_elbo: their ELBOs, [R, S, B].
    """
    cost, axis = -expert_elbo, 1 if chosen.shape[1] > 1 else 2
    known = cost.detach()
    others = max(1, known.shape[axis] - 1)
    baseline = (known.sum(axis, keepdim=True) - known) / others
    log_q = log_probs.gather(1, chosen)
    # Zero in value: the cost stays what the drawn experts paid.
    score = (known - baseline) * (log_q - log_q.detach())
    return (cost + score).mean(1)
