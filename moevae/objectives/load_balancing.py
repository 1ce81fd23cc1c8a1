"""Losses that keep experts from dying: zero where the batch shares its images as the prior pi does.

A new balancing loss is a function of log q(k|x), [R, K, B], and log pi, [R, K], that returns one number a
run, [R], registered in BALANCINGS. One without a loss is a function of the same that returns which way each
expert's bias in the gate shall move, [R, K], registered in BIAS_MOVES.

One scale: where importance is pi_k (1 + d_k) with small d, `kl` and `importance-cv2` are
sum_k pi_k d_k^2 / 2, and the gradient of both, and of `switch` where the gate is certain, is d_k at q_bar_k.
`sinkhorn` has that value where all images get one answer, and more where the gate is sure of its answers.
Where pi is uniform, sum_k pi_k d_k^2 is CV^2, the squared coefficient of variation. `variance-of-sum` alone
has a scale of its own.

All look at the minibatch alone. Even a balanced gate that is certain costs about (K - 1) / (2 B) there, by
chance, for B images: small batches push the gate to share every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from moevae.config.registry import BALANCINGS, BIAS_MOVES
from moevae.config.schema import RunConfig
from moevae.distributions import kl_categorical

SINKHORN_STEPS = 10
BIAS_STEP = 1e-3
"""How far a bias moves in a training step at `balance_weight` 1: the paper's speed."""


def log_importance(log_probs: Tensor) -> Tensor:
    """Return log q_bar, the mean probability of each expert over the batch, [R, K]."""
    return log_probs.logsumexp(-1) - math.log(log_probs.shape[-1])


def log_priors(configs: Sequence[RunConfig], experts: int | None = None) -> Tensor:
    """Return log pi, the prior over experts of each run, [R, K], in float64.

    Args:
        configs: one a run.
        experts: how many there are, where extra ones are not pruned yet; None: as many as configured.
    """
    uniform = (1.0,) * (experts or configs[0].model.num_experts)
    priors = [config.objective.balance_prior or uniform for config in configs]
    return torch.tensor(priors, dtype=torch.float64).log().log_softmax(-1)


@BALANCINGS.register("kl")
def kl_to_prior(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return KL(q_bar || pi) in nats, between 0 and -ln min pi: ln K where pi is uniform."""
    return kl_categorical(log_importance(log_probs), log_prior)


@BALANCINGS.register("importance-cv2")
def importance_cv2(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return half the squared coefficient of variation of the importance relative to the prior, CV^2 / 2.

    Between 0 and (1 / min pi - 1) / 2: (K - 1) / 2 where pi is uniform. Shazeer et al. (2017), the sparsely
    gated mixture-of-experts layer, without its factor of a half.
    """
    relative = (log_importance(log_probs) - log_prior).exp()  # [R, K]
    return (log_prior.exp() * (relative - 1).square()).sum(-1) / 2


@BALANCINGS.register("variance-of-sum")
def variance_of_sum(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return Var_k(sum over the batch of q(k|x)), biased, as the 2019 article has it.

    It equals (B / K)^2 CV^2: its strength moves with the batch size B.
    """
    even = log_probs.shape[-1] / log_probs.shape[1]
    return 2 * even**2 * importance_cv2(log_probs, log_prior)


@BALANCINGS.register("switch")
def switch(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return sum_k load_k q_bar_k / pi_k - 1, the load without a gradient: K sum_k f_k P_k - 1.

    The load is the share of images whose likeliest expert it is. Where it equals the importance the value is
    CV^2, twice that of the other kinds, and the gradient theirs. Below zero where the importance favors
    experts of little load. Fedus, Zoph, Shazeer (2021), Switch Transformers; Lepikhin et al. (2020), GShard.
    """
    load = load_of(log_probs)
    return (load * (log_importance(log_probs) - log_prior).exp()).sum(-1) - 1


def load_of(log_probs: Tensor) -> Tensor:
    """Return the share of images whose likeliest expert each is, [R, K], without a gradient."""
    chosen = log_probs.detach().argmax(1, keepdim=True)  # [R, 1, B]
    return torch.zeros_like(log_probs).scatter(1, chosen, 1.0).mean(-1)


@BALANCINGS.register("sinkhorn")
def sinkhorn(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return E_x KL(s(k|x) || q(k|x)) in nats, s being the nearest answers that share the batch as pi does.

    The Sinkhorn-Knopp algorithm scales the gate's probabilities, [K, B], by expert and by image in turn,
    until experts sum to B pi and images to one. What it finds is least in this divergence among all that do:
    the loss is the least price of balance, at least KL(pi || q_bar), and its gradient, with s held fixed, is
    that of the least price. Assignments balanced so: Caron et al. (2020), SwAV; Clark et al. (2022), S-BASE;
    after BASE layers, Lewis et al. (2021). They sharpen the probabilities first, and compare two views or
    route by s; here the probabilities stay as they are, so that a balanced gate costs nothing.
    """
    target = log_probs.detach()
    least = torch.finfo(target.dtype).min
    for _ in range(SINKHORN_STEPS):
        missing = log_prior - log_importance(target).clamp_min(least)  # [R, K]
        target = (target + missing.unsqueeze(-1)).log_softmax(1)
    return kl_categorical(target.transpose(1, 2), log_probs.transpose(1, 2)).mean(-1)


@BALANCINGS.register("none")
def none(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return zero: nothing keeps the experts alive."""
    return log_probs.new_zeros(log_probs.shape[0])


@BIAS_MOVES.register("loss-free")
def toward_missing_load(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return which way each expert's bias moves, [R, K]: sign(pi - load), 0 within half an image.

    No gradient disturbs the experts' own. `balance_weight` is the speed, in units of BIAS_STEP logits a step.
    The paper adds the bias to choose experts and leaves it out where their outputs are weighed; here the
    choice is the weight, so the bias is part of the gate's answer. In evaluation it stays where training left
    it, as in the paper. Wang et al. (2024), auxiliary-loss-free load balancing.
    """
    missing = log_prior.exp() - load_of(log_probs)
    return (missing * log_probs.shape[-1]).round().sign()
