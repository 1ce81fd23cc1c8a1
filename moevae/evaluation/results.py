"""The evaluation of a run: its metrics, and the statistics of its gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from moevae.objectives.load_balancing import kl_to_prior, log_importance
from moevae.objectives.objective import mutual_information

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
"""Names of the splits."""

DEAD = 0.1
"""An expert is dead if its load is below this fraction of an equal load, 1/K."""


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of one run on one split; `evaluate` returns one per run.

    Examples:
        >>> import moevae
        >>> config = moevae.override(moevae.preset("digits"), {"train.epochs": 1})
        >>> images = moevae.load_images(config.data)
        >>> fit = moevae.fit([config], images)
        >>> (evaluation,) = moevae.evaluate(fit.model, fit.configs, images)
        >>> evaluation.gate_probs.shape, evaluation.assignments.shape
        ((10, 359), (359,))
    """

    metrics: dict[str, float]
    """Metrics by name. In nats per image: mixture_elbo, map_elbo, recon_log_prob, kl_z, kl_gate,
    marginal_elbo, gate_gap, and iwae_bound if it is requested, with its value for a tenth and a hundredth of
    the samples, iwae_bound_tenth and iwae_bound_hundredth. In effective samples of z: iwae_ess, the mean over
    the images, and iwae_ess_tail, their quantile of 1 %. In nats: mutual_information and marginal_kl.
    In experts: effective_experts and dead_experts. In samples of z per image and expert: marginal_samples."""
    load: np.ndarray
    """Share of the images that each expert wins, [K]."""
    importance: np.ndarray
    """Mean gate probability of each expert, [K]."""
    gate_probs: np.ndarray
    """q(k|x), [K, N]."""
    assignments: np.ndarray
    """Most probable expert of each image under the gate, [N]."""
    posterior_assignments: np.ndarray
    """Most probable expert of each image under the posterior r, without the gate, [N]. r is estimated from
    `evaluation.num_samples` draws of z, one by default; their noise may decide between similar experts. The
    same array as `assignments` for a method without experts."""
    elbo_terms: dict[str, np.ndarray] = field(default_factory=dict)
    """Contribution of each expert to the mixture ELBO, in nats per image of the split, [K]. `recon_log_prob`
    and `kl_z` are weighted by the gate and sum to the metrics of the same names. The mixture_elbo equals
    recon_log_prob - kl_z - mutual_information - marginal_kl."""


def expert_usage(load: np.ndarray) -> dict[str, float]:
    """Return the number of effective experts, exp(H(load)), and the number of dead experts.

    Args:
        load: share of the images that each expert wins, [K].
    """
    won = load[load > 0]
    return {
        "effective_experts": float(np.exp(-(won * np.log(won)).sum())),
        "dead_experts": float((load < DEAD / len(load)).sum()),
    }


def evaluation_of(
    log_probs: Tensor,
    log_prior: Tensor,
    posterior_assignments: np.ndarray,
    metrics: dict[str, float],
    elbo_terms: dict[str, np.ndarray],
) -> Evaluation:
    """Return the evaluation of one run, with the statistics of its gate.

    Args:
        log_probs: log q(k|x), [K, N].
        log_prior: log pi, [K].
        posterior_assignments: most probable expert of each image under the posterior r, [N].
        metrics: the other metrics, by name.
        elbo_terms: contribution of each expert to the terms of the mixture ELBO, [K] each.
    """
    assignments = log_probs.argmax(0).cpu().numpy()
    load = np.bincount(assignments, minlength=len(log_probs)) / assignments.size
    gate = {
        "mutual_information": float(mutual_information(log_probs.unsqueeze(0))),
        "marginal_kl": float(kl_to_prior(log_probs.unsqueeze(0), log_prior.unsqueeze(0))),
        **expert_usage(load),
    }
    importance = log_importance(log_probs.unsqueeze(0))[0].exp().cpu().numpy()
    probs = log_probs.exp().cpu().numpy()
    return Evaluation(
        {**metrics, **gate}, load, importance, probs, assignments, posterior_assignments, elbo_terms
    )
