"""Mixtures with a fixed gate: random, or given by the true labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from moevae.config.overrides import override
from moevae.config.schema import RunConfig
from moevae.evaluation.evaluate import Evaluation, Split, evaluate
from moevae.training.fit import fit as train
from moevae.utils.rng import generator
from studies.execution.baseline_fit import BaselineContext, BaselineResult, NotFittedError, one_hot


def random_gate(given: BaselineContext) -> BaselineResult:
    """Train the mixture with a fixed random assignment of images to experts."""

    def drawn(split: Split) -> Tensor:
        stream = generator(given.config.seed, f"random gate of {split}")
        count = len(getattr(given.images, split))
        return torch.randint(given.config.model.num_experts, (1, count), generator=stream)

    return _trained(given, given.config, drawn)


def oracle_experts(given: BaselineContext) -> BaselineResult:
    """Train one expert per class, on the images of the class; test images use the expert of their class.

    Bounds and load are those of this gate. Assignments are those of the responsibilities, which use no label:
    they show how well experts of single classes separate the classes.
    """
    labels = given.labels
    if labels is None:
        raise NotFittedError(f"{given.images.name} has no labels to train experts on")
    config = override(given.config, {"model.num_experts": len(labels.classes), "model.expert_prior": ()})

    def true(split: Split) -> Tensor:
        return torch.from_numpy(getattr(labels, split))[None]

    fitted = _trained(given, config, true)

    def measure(split: Split) -> Evaluation:
        found = fitted.measure(split)
        probs = one_hot(found.responsible, len(found.load)).T
        return replace(found, assignments=found.responsible, gate_probs=probs)

    return replace(fitted, measure=measure)


def _trained(
    given: BaselineContext, config: RunConfig, assignments: Callable[[Split], Tensor]
) -> BaselineResult:
    config = override(config, {"objective.expert_weights": "gate"})  # the posterior would ignore this gate
    trained = train(
        [config],
        given.images,
        device=given.device,
        on_epoch=given.note,
        assignments=assignments("train"),
    )
    if failure := trained.failures[0]:
        raise NotFittedError(failure.reason, failure.epoch, failure.step)

    def measure(split: Split) -> Evaluation:
        (found,) = evaluate(
            trained.model,
            [config],
            given.images,
            split,
            memory=given.memory,
            assignments=assignments(split),
        )
        return found

    return BaselineResult(
        measure=measure,
        seconds=trained.seconds,
        looks=round(trained.images_per_second * trained.seconds),
        num_experts=config.model.num_experts,
        device=given.device,
        precision=config.train.precision,
        derived={"num_experts": config.model.num_experts},
    )
