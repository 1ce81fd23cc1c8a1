"""Mixtures with a fixed gate: random, or given by the true labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from moevae.config.overrides import override
from moevae.config.schema import RunConfig
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.results import Evaluation, Split
from moevae.training.fit import fit as train
from moevae.utils.rng import generator
from studies.execution.baseline_fit import BaselineContext, BaselineResult, NotFittedError, one_hot


def random_gate(context: BaselineContext) -> BaselineResult:
    """Train the mixture with a fixed random assignment of images to experts."""

    def drawn(split: Split) -> Tensor:
        stream = generator(context.config.seed, f"random gate of {split}")
        count = len(getattr(context.images, split))
        return torch.randint(context.config.model.num_experts, (1, count), generator=stream)

    return _trained(context, context.config, drawn)


def oracle_experts(context: BaselineContext) -> BaselineResult:
    """Train one expert per class, on the images of the class; test images use the expert of their class.

    Bounds and load are those of this gate. Assignments are those of the responsibilities, which use no label:
    they show how well experts of single classes separate the classes.

    Args:
        context: the run.

    Raises:
        NotFittedError: the data set has no labels.
    """
    labels = context.labels
    if labels is None:
        raise NotFittedError(f"{context.images.name} has no labels to train experts on")
    config = override(context.config, {"model.num_experts": len(labels.classes), "model.expert_prior": ()})

    def true(split: Split) -> Tensor:
        return torch.from_numpy(getattr(labels, split))[None]

    fitted = _trained(context, config, true)

    def measure(split: Split) -> Evaluation:
        found = fitted.measure(split)
        probs = one_hot(found.posterior_assignments, len(found.load)).T
        return replace(found, assignments=found.posterior_assignments, gate_probs=probs)

    return replace(fitted, measure=measure)


def _trained(
    context: BaselineContext, config: RunConfig, assignments: Callable[[Split], Tensor]
) -> BaselineResult:
    # Other weights would ignore the gate, and pruning would remove experts that it names.
    config = override(config, {"objective.expert_weights": "gate", "train.extra_experts": 0})
    trained = train(
        [config],
        context.images,
        device=context.device,
        on_epoch=context.note,
        assignments=assignments("train"),
    )
    if failure := trained.failures[0]:
        raise NotFittedError(failure.reason, failure.epoch, failure.step)

    def measure(split: Split) -> Evaluation:
        (found,) = evaluate(
            trained.model,
            [config],
            context.images,
            split,
            memory=context.memory,
            assignments=assignments(split),
        )
        return found

    return BaselineResult(
        measure=measure,
        seconds=trained.seconds,
        num_images=round(trained.images_per_second * trained.seconds),
        num_experts=config.model.num_experts,
        device=context.device,
        precision=config.train.precision,
        derived={"num_experts": config.model.num_experts},
    )
