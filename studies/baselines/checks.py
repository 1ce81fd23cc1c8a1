"""Checks of the laws that every baseline must satisfy.

Call them on a baseline of your own, in a test, before you register it:

    def test_my_baseline():
        check_baseline(Baseline(Method(name="mine"), "my_package:fit"))

The check raises an AssertionError that names the broken law. Shapes: K experts or clusters, N images.
"""

from __future__ import annotations

import math
import pkgutil
from dataclasses import replace

import numpy as np
import torch

from moevae.config.overrides import override
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels, load_images, load_labels
from moevae.evaluation.results import Evaluation
from moevae.utils.laws import law
from studies.design.baselines import Baseline
from studies.execution.baseline_fit import BaselineContext, BaselineResult

SETTINGS = {
    "data.train_size": 200,
    "model.num_experts": 4,
    "model.latent_dim": 4,
    "model.expert_hidden": (16,),
    "model.gate_hidden": (16,),
    "train.epochs": 1,
    "train.batch_size": 64,
}
"""Settings of a small reference cell on the digits of scikit-learn."""


def check_baseline(baseline: Baseline) -> None:
    """Check that a baseline assigns images to clusters, reproducibly and without the test split.

    The same seed must give the same result, bit for bit. Neither the test images nor their labels may decide
    how other images are assigned; only a method that is declared an oracle gets labels.

    Args:
        baseline: the baseline, with its function.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    config = override(RunConfig(), SETTINGS)
    images, labels = load_images(config.data), load_labels(config.data)
    fitted = _fitted(baseline, config, images, labels)
    law(fitted.seconds > 0 and fitted.num_images > 0, "time and the number of training images are positive")
    test, validation = fitted.measure("test"), fitted.measure("validation")
    _check_clusters(test, fitted.num_experts, len(images.test))
    _check_clusters(validation, fitted.num_experts, len(images.validation))
    again = _fitted(baseline, config, images, labels).measure("test")
    law(_same(again, test), "the same seed gives the same result")
    noise = torch.rand(images.test.shape, generator=torch.Generator().manual_seed(0))
    blind = _fitted(baseline, config, replace(images, test=noise), labels).measure("validation")
    law(_same(blind, validation), "the test images do not decide how other images are assigned")
    if baseline.method.oracle and labels is not None:
        wrong = replace(labels, test=labels.test[::-1].copy())
        found = _fitted(baseline, config, images, wrong).measure("test")
        same = np.array_equal(found.assignments, test.assignments)
        law(same, "the labels of the test split do not decide how its images are assigned")


def _fitted(baseline: Baseline, config: RunConfig, images: Images, labels: Labels | None) -> BaselineResult:
    method = baseline.method
    seen = labels if method.oracle else None
    context = BaselineContext(config, images, seen, torch.device("cpu"), method.settings)
    result: BaselineResult = pkgutil.resolve_name(baseline.function)(context)
    return result


def _check_clusters(found: Evaluation, experts: int, count: int) -> None:
    probs, chosen = found.gate_probs, found.assignments
    law(probs.shape == (experts, count), f"the probabilities have shape [{experts}, {count}]")
    law(bool(np.isfinite(probs).all() and (probs >= 0).all()), "probabilities are finite and not negative")
    law(bool(np.allclose(probs.sum(0), 1, atol=1e-4)), "probabilities of an image sum to one")
    law(chosen.shape == (count,) and chosen.dtype.kind in "iu", "there is one integer assignment per image")
    law(bool((chosen >= 0).all() and (chosen < experts).all()), "assignments are clusters")
    law(math.isclose(float(found.load.sum()), 1, abs_tol=1e-6), "the load sums to one")
    law(all(math.isfinite(value) for value in found.metrics.values()), "metrics are finite")


def _same(found: Evaluation, expected: Evaluation) -> bool:
    """Return whether two evaluations are equal, bit for bit."""
    return (
        np.array_equal(found.gate_probs, expected.gate_probs)
        and np.array_equal(found.assignments, expected.assignments)
        and found.metrics == expected.metrics
    )
