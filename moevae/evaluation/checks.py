"""Checks of the laws that every metric must satisfy.

Call them on a function of your own, in a test, before you register it:

    def test_my_metric():
        check_metric(my_metric, ends=(0, 1))

Each check raises an AssertionError that names the broken law. Shapes: K experts, N images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from moevae.evaluation.results import Evaluation, evaluation_of
from moevae.utils.laws import law

EXPERTS, IMAGES, CLASSES = 5, 24, 4
ORDER = [3, 0, 4, 1, 2]
"""A permutation of the experts."""
DEAD = -1e4
"""Logit of an expert that gets no image."""
TOLERANCE = 1e-5
"""Largest difference, absolute and relative, that rounding explains: statistics of gates are in float32."""


def check_metric(
    compute: Callable[[Evaluation], float], ends: tuple[float, float] = (-math.inf, math.inf)
) -> None:
    """Check that a metric of an evaluation is a finite number within its limits, however the gate assigns.

    The gates are uncertain, certain, uniform, without images for an expert, with all images on one expert,
    and of a single image. The value must not depend on the order of the experts or of the images.

    Args:
        compute: the metric, `Metric.compute`.
        ends: lower and upper limit of its values, `Metric.ends`.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for log_probs in _gates():
        count = log_probs.shape[1]
        value = compute(_evaluation(log_probs, range(EXPERTS), range(count)))
        _check_value(value, ends)
        renamed = compute(_evaluation(log_probs, ORDER, range(count)))
        _close(renamed, value, "the value is invariant to permutations of the experts")
        moved = compute(_evaluation(log_probs, range(EXPERTS), range(count)[::-1]))
        _close(moved, value, "the value is invariant to permutations of the images")


def check_label_metric(
    score: Callable[[np.ndarray, np.ndarray], float],
    ends: tuple[float, float] = (0.0, 1.0),
    better: int = 1,
) -> None:
    """Check that a score of assignments against labels is finite and invariant to names, and knows the best.

    The clusterings include those with one cluster, with one image per cluster, of one class, and of one
    image. No clustering may score better than the classes themselves.

    Args:
        score: from clusters, [N] int64, and labels, [N] int64, to a number.
        ends: lower and upper limit of its values.
        better: 1 if higher is better, -1 if lower is better.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    order = np.array(ORDER)
    for assignments, labels in _clusterings():
        value = score(assignments, labels)
        _check_value(value, ends)
        names = order if assignments.max() < EXPERTS else np.arange(IMAGES)[::-1]
        _close(
            score(names[assignments], labels), value, "the value is invariant to the names of the clusters"
        )
        renamed = score(assignments, CLASSES - 1 - labels)
        _close(renamed, value, "the value is invariant to the names of the classes")
        moved = score(assignments[::-1].copy(), labels[::-1].copy())
        _close(moved, value, "the value is invariant to permutations of the images")
        best = score(labels, labels)
        _check_value(best, ends)
        law(better * value <= better * best + TOLERANCE, "the classes themselves have the best value")


def _gates() -> Iterator[Tensor]:
    """Yield log q(k|x), [K, N]."""
    draws = torch.randn(EXPERTS, IMAGES, generator=torch.Generator().manual_seed(0))
    dead, collapsed = draws.clone(), draws.clone()
    dead[0], collapsed[1:] = DEAD, DEAD
    for logits in (draws, 30 * draws, 0 * draws, dead, collapsed, draws[:, :1]):
        yield logits.log_softmax(0)


def _evaluation(log_probs: Tensor, experts: range | list[int], images: range) -> Evaluation:
    """Return the evaluation of a run whose experts and images are in another order."""
    ordered = log_probs[list(experts)][:, list(images)]
    log_prior = (torch.arange(1.0, EXPERTS + 1) / sum(range(1, EXPERTS + 1))).log()[list(experts)]
    posterior = (ordered + log_prior.unsqueeze(1)).argmax(0).numpy()
    share = ordered.double().exp().mean(1).numpy()
    terms = {"recon_log_prob": -80.0 * share, "kl_z": 5.0 * share}
    bounds = {"mixture_elbo": -90.0, "recon_log_prob": -80.0, "kl_z": 5.0, "map_elbo": -91.0, "kl_gate": 1.0}
    bounds |= {"marginal_elbo": -89.0, "gate_gap": 1.0, "marginal_samples": 32.0, "temperature": 1.0}
    return evaluation_of(ordered, log_prior, posterior, bounds, terms)


def _clusterings() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield clusters and labels, [N] each."""
    labels = np.arange(IMAGES) % CLASSES
    one, alone = np.zeros(IMAGES, dtype=np.int64), np.arange(IMAGES)
    random = np.random.default_rng(0).integers(0, EXPERTS, IMAGES)
    for clusters in (labels, random, one, alone):
        yield clusters, labels
        yield clusters, one
    yield one[:1], one[:1]


def _check_value(value: float, ends: tuple[float, float]) -> None:
    law(np.ndim(value) == 0 and not isinstance(value, str), "the value is a number")
    law(math.isfinite(value), "the value is finite")
    law(ends[0] - TOLERANCE <= value <= ends[1] + TOLERANCE, f"the value is from {ends[0]:g} to {ends[1]:g}")


def _close(found: float, expected: float, text: str) -> None:
    law(math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE), text)
