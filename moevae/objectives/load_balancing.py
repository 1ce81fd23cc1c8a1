"""Load balancing losses, which are zero if the batch is distributed over experts according to the prior pi.

A new balancing loss is a function of log q(k|x), [R, K, B], and log pi, [R, K], that returns one number per
run, [R], registered in BALANCINGS. Balancing without a loss is a function of the same arguments that returns
the direction in which each expert's bias in the gate moves, [R, K], registered in BIAS_UPDATES.

The losses share a scale. If the importance is pi_k (1 + d_k) with small d, `kl` and `importance-cv2` equal
sum_k pi_k d_k^2 / 2. The gradient of both with respect to q_bar_k is d_k, as is that of `switch` for a
certain gate. `sinkhorn` has this value if the gate has the same output for all images, and a larger one if
the gate is certain. For a uniform pi, sum_k pi_k d_k^2 is CV^2, the squared coefficient of variation. Only
`variance-of-sum` has a different scale.

All losses depend on the minibatch only. For a batch of B images, a balanced and certain gate has an expected
loss of about (K - 1) / (2 B): small batches favor gates that distribute each image over all experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from moevae.config.registry import BALANCINGS, BIAS_UPDATES
from moevae.config.schema import RunConfig
from moevae.distributions import kl_categorical

SINKHORN_STEPS = 10
"""Number of iterations of the Sinkhorn-Knopp algorithm."""
BIAS_STEP = 1e-3
"""Change of a bias per training step at `balance_weight` 1, as in the paper."""


def log_importance(log_probs: Tensor) -> Tensor:
    """Return log q_bar, the mean probability of each expert over the batch, [R, K].

    Args:
        log_probs: log q(k|x), [R, K, B].
    """
    return log_probs.logsumexp(-1) - math.log(log_probs.shape[-1])


def log_priors(configs: Sequence[RunConfig], experts: int | None = None) -> Tensor:
    """Return log pi, the prior over experts of each run, [R, K], in float64.

    Args:
        configs: one configuration per run.
        experts: number of experts before pruning; None uses the configured number.
    """
    uniform = (1.0,) * (experts or configs[0].model.num_experts)
    priors = [config.model.expert_prior or uniform for config in configs]
    return torch.tensor(priors, dtype=torch.float64).log().log_softmax(-1)


@BALANCINGS.register("kl")
def kl_to_prior(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return KL(q_bar || pi) in nats, [R], between 0 and -ln min pi, which is ln K for a uniform pi.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].
    """
    return kl_categorical(log_importance(log_probs), log_prior)


@BALANCINGS.register("importance-cv2")
def importance_cv2(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return CV^2 / 2, with the coefficient of variation of the importance relative to the prior, [R].

    It is between 0 and (1 / min pi - 1) / 2, which is (K - 1) / 2 for a uniform pi. The reference has no
    factor 1/2.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].

    References:
        Shazeer et al. (2017), the sparsely-gated mixture-of-experts layer.
    """
    relative = (log_importance(log_probs) - log_prior).exp()  # [R, K]
    return (log_prior.exp() * (relative - 1).square()).sum(-1) / 2


@BALANCINGS.register("variance-of-sum")
def variance_of_sum(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return the biased variance over k of the sum of q(k|x) over the batch, [R], as in the 2019 article.

    It equals (B / K)^2 CV^2, so its strength depends on the batch size B.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].

    References:
        Zeldes (2019), mixture of variational autoencoders - a fusion between MoE and VAE.
    """
    even = log_probs.shape[-1] / log_probs.shape[1]
    return 2 * even**2 * importance_cv2(log_probs, log_prior)


@BALANCINGS.register("switch")
def switch(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return sum_k load_k q_bar_k / pi_k - 1, [R], without a gradient of the load.

    For a uniform pi this is K sum_k f_k P_k - 1 in the notation of the references. The load of an expert is
    the share of images for which it is the most probable expert. If the load equals the importance, the value
    is CV^2, twice that of the other losses, with the same gradient. The value is negative if the importance
    favors experts with a small load.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].

    References:
        Fedus, Zoph, Shazeer (2021), Switch Transformers; Lepikhin et al. (2020), GShard.
    """
    load = expert_load(log_probs)
    return (load * (log_importance(log_probs) - log_prior).exp()).sum(-1) - 1


def expert_load(log_probs: Tensor) -> Tensor:
    """Return the share of images for which each expert is the most probable, [R, K], without a gradient.

    Args:
        log_probs: log q(k|x), [R, K, B].
    """
    chosen = log_probs.detach().argmax(1, keepdim=True)  # [R, 1, B]
    return torch.zeros_like(log_probs).scatter(1, chosen, 1.0).mean(-1)


@BALANCINGS.register("sinkhorn")
def sinkhorn(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return E_x KL(s(k|x) || q(k|x)) in nats, [R], where s is the nearest assignment balanced as pi.

    The Sinkhorn-Knopp algorithm scales the probabilities of the gate, [K, B], by expert and by image in turn,
    until experts sum to B pi and images to one. Its limit minimizes this divergence under these constraints.
    The loss is therefore the minimum cost of balance and at least KL(pi || q_bar), and its gradient with
    fixed s is the gradient of the minimum. The references sharpen the probabilities first, and compare two
    views or route by s. Here the probabilities are not sharpened, so a balanced gate has zero loss.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].

    References:
        Caron et al. (2020), SwAV; Lewis et al. (2021), BASE layers; Clark et al. (2022), S-BASE.
    """
    target = log_probs.detach()
    least = torch.finfo(target.dtype).min
    for _ in range(SINKHORN_STEPS):
        missing = log_prior - log_importance(target).clamp_min(least)  # [R, K]
        target = (target + missing.unsqueeze(-1)).log_softmax(1)
    return kl_categorical(target.transpose(1, 2), log_probs.transpose(1, 2)).mean(-1)


@BALANCINGS.register("none")
def none(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return zero, [R]: no load balancing loss.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].
    """
    return log_probs.new_zeros(log_probs.shape[0])


@BIAS_UPDATES.register("loss-free")
def toward_missing_load(log_probs: Tensor, log_prior: Tensor) -> Tensor:
    """Return the direction of each bias, sign(pi - load), or 0 within half an image, [R, K].

    The method adds no gradient. `balance_weight` is the speed, in units of BIAS_STEP logits per step. The
    paper uses the bias to choose experts but not to weight their outputs. Here the choice is the weight, so
    the bias is part of the output of the gate. Evaluation uses the bias at the end of training, as in the
    paper.

    Args:
        log_probs: log q(k|x), [R, K, B].
        log_prior: log pi, [R, K].

    References:
        Wang et al. (2024), auxiliary-loss-free load balancing.
    """
    missing = log_prior.exp() - expert_load(log_probs)
    return (missing * log_probs.shape[-1]).round().sign()
