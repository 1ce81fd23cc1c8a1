"""Routing: the weights of the experts in the objective, from the probabilities of the gate.

A new routing is a function, registered in ROUTINGS, of log q(k|x), [R, K, B], and of draws uniform on [0, 1),
[R, K, B]. It returns weights, [R, K, B]. `register` accepts these traits:

- `random`: whether the routing uses the draws; otherwise they are None.
- `settings`: a function from `routing` of a configuration to further keyword arguments.
- `num_chosen`: a function from `routing` of a configuration to the number of experts per image, C. Training
  then computes only the C experts with the largest weights.
- `sampled`: whether these experts are sampled from q instead, with `sampled_cost` as their cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moevae.config.registry import ROUTINGS
from moevae.config.schema import RoutingConfig


@ROUTINGS.register("soft")
def soft(log_probs: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Return the probability of each expert as its weight, [R, K, B].

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: unused.
    """
    return log_probs.exp()


@ROUTINGS.register("hard")
def hard(log_probs: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Return one-hot weights of the most probable expert, with the gradient of `soft`, [R, K, B].

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: unused.

    References:
        Bengio, Leonard, Courville (2013), estimating gradients through stochastic neurons.
    """
    probs = log_probs.exp()
    # Keep the memory layout: with another one, rounding would depend on the number of runs.
    chosen = torch.zeros_like(probs).scatter(1, log_probs.argmax(1, keepdim=True), 1.0)  # [R, K, B]
    # The difference is exactly zero, so the weights of other experts are exactly zero.
    return chosen + (probs - probs.detach())


@ROUTINGS.register("gumbel", random=True)
def gumbel(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Return one-hot weights of a random expert, with the gradient of a relaxed sample, [R, K, B].

    The maximum of softmax(log q + Gumbel noise) is a sample from q. The backward pass uses the gradient of
    the softmax, which is biased, unlike that of `sampled_cost`. The temperature of the relaxation is one; q
    includes the temperature of the gate.

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: draws uniform on [0, 1), [R, K, B].

    References:
        Jang, Gu, Poole (2017); Maddison, Mnih, Teh (2017).
    """
    noise = -(-uniform.clamp_min(torch.finfo(uniform.dtype).tiny).log()).log()
    return hard((log_probs + noise).log_softmax(1))


@ROUTINGS.register(
    "top-k",
    random=True,
    settings=lambda routing: {"k": routing.k, "noise": routing.noise},
    num_chosen=lambda routing: routing.k,
)
def top_k(log_probs: Tensor, uniform: Tensor, k: int = 2, noise: float = 0.0) -> Tensor:
    """Return the probabilities of the k most probable experts, divided by their sum, [R, K, B].

    The gradient reaches the gate through the weights of these experts. With k = 1 the weight is 1, and the
    experts do not train the gate.

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: draws uniform on [0, 1), which become the noise, [R, K, B].
        k: number of experts of an image.
        noise: standard deviation of Gaussian noise that is added to the logits before the choice.

    References:
        Shazeer et al. (2017), outrageously large neural networks: the sparsely-gated mixture-of-experts
        layer. The scale of their noise is learned for each expert and image.
    """
    if noise:
        log_probs = log_probs + noise * standard_normal(uniform)
    # Keep the memory layout: with another one, rounding would depend on the number of runs.
    chosen = torch.zeros_like(log_probs, dtype=torch.bool)
    chosen = chosen.scatter(1, log_probs.topk(k, dim=1).indices, True)
    # Not softmax: its rounding depends on the position of an image, and so on the number of runs.
    return log_probs.masked_fill(~chosen, -torch.inf).log_softmax(1).exp()


def standard_normal(uniform: Tensor) -> Tensor:
    """Return standard normal draws from draws uniform on [0, 1); the result is finite.

    Args:
        uniform: draws, of any shape.
    """
    margin = torch.finfo(uniform.dtype).eps
    return torch.special.ndtri(uniform.clamp(margin, 1 - margin))


@ROUTINGS.register("sampled", num_chosen=lambda routing: routing.num_sampled, sampled=True)
def sampled(log_probs: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Return the probability of each expert as its weight, [R, K, B].

    It is used only if assignments replace the gate; otherwise the cost of sampled experts is `sampled_cost`.

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: unused; the draws select the experts.
    """
    return log_probs.exp()


def num_chosen(routing: RoutingConfig) -> int | None:
    """Return the number of experts that sparse training computes for an image; None if it computes all.

    Args:
        routing: the routing configuration.
    """
    count = ROUTINGS.traits(routing.kind).get("num_chosen")
    return count(routing) if count else None


def sampled_cost(log_probs: Tensor, chosen: Tensor, expert_elbo: Tensor) -> Tensor:
    """Return the cost of images in nats, [R, B], with an unbiased estimate of the gradient of soft routing.

    The gradient of the experts is that of the sampled experts. The gradient of the gate is the score-function
    estimator (L_k - baseline) grad log q_k. The baseline is the mean cost of the other samples of the image
    or, with one sample per image, of the other images. It does not depend on the sample.

    Args:
        log_probs: log q(k|x), [R, K, B].
        chosen: the sampled experts, [R, C, B].
        expert_elbo: ELBOs of the sampled experts, [R, C, B].

    References:
        Williams (1992); Kool, van Hoof, Welling (2019).
    """
    cost, axis = -expert_elbo, 1 if chosen.shape[1] > 1 else 2
    known = cost.detach()
    others = max(1, known.shape[axis] - 1)
    baseline = (known.sum(axis, keepdim=True) - known) / others
    log_q = log_probs.gather(1, chosen)
    # Zero in value: the cost remains that of the sampled experts.
    score = (known - baseline) * (log_q - log_q.detach())
    return (cost + score).mean(1)
