"""Continuation of a trained run: more epochs from its weights.

A continued run is a separate run: `train.start` identifies the weights that it starts from, so that its
configuration still determines its numbers. Only the weights are taken over. The optimizer starts
without moments, and the random streams of its seed start from their beginning, as in any other run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

from moevae.config.overrides import keys, lookup
from moevae.config.schema import RoutingConfig, RunConfig, TrainConfig
from moevae.errors import ConfigError
from moevae.models.mixture import Mixture


def weights_digest(model: Mixture) -> str:
    """Return 16 hexadecimal digits that identify the weights of a population of one run.

    Args:
        model: a population of one run.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def continued(config: RunConfig, start: Mixture, epochs: int) -> RunConfig:
    """Return the configuration of a run that continues another one.

    Schedules do not run again: temperature and learning rates are constant at their final values, and the
    divergence of z has its full weight. The gate learns no clustering, no expert is pruned, and all
    deformations are active.

    Args:
        config: configuration of the trained run.
        start: its weights, as a population of one run.
        epochs: number of additional epochs.

    Raises:
        ConfigError: the number of epochs is not positive.
    """
    if epochs < 1:
        raise ConfigError(f"{epochs} more epochs; expected at least 1")
    routing, train, plain = config.routing, config.train, TrainConfig()
    if routing.temperature_schedule not in ("constant", "learned"):
        end = routing.final_temperature
        routing = replace(
            routing,
            temperature_schedule="constant",
            temperature=end,
            final_temperature=RoutingConfig().final_temperature,
        )
    if train.learning_rate_schedule != "constant":
        train = replace(
            train,
            learning_rate_schedule="constant",
            learning_rate=train.final_learning_rate,
            template_learning_rate=train.template_learning_rate
            * train.final_learning_rate
            / train.learning_rate,
            final_learning_rate=plain.final_learning_rate,
        )
    train = replace(
        train,
        start=weights_digest(start),
        epochs=epochs,
        extra_experts=plain.extra_experts,
        pruning_start=plain.pruning_start,
        pruning_end=plain.pruning_end,
        deformation_starts=plain.deformation_starts,
        kl_warmup=plain.kl_warmup,
        gate_start=plain.gate_start,
        gate_start_end=plain.gate_start_end,
        min_steps=math.ceil(train.min_steps * epochs / train.epochs),
        revival=plain.revival,
        revival_end=plain.revival_end,
    )
    return replace(config, routing=routing, train=train)


def with_start(configs: Sequence[RunConfig], start: Mixture) -> list[RunConfig]:
    """Return configurations whose `train.start` names the weights that they start from.

    Args:
        configs: one per run.
        start: a population of one run, with the weights.
    """
    digest = weights_digest(start)
    return [replace(config, train=replace(config.train, start=digest)) for config in configs]


def check_start(config: RunConfig, size: tuple[int, int], start: Mixture | None) -> None:
    """Check that a run can start from the given weights, and that `train.start` identifies them.

    Args:
        config: the run.
        size: height and width of its images, in pixels.
        start: the weights, as a population of one run; None for a run with initialized weights.

    Raises:
        ConfigError: the weights are missing, are others, or belong to another architecture or image size.
    """
    named = config.train.start
    if start is None:
        if named:
            raise ConfigError(
                f"train.start = {named}: expected the run with these weights (--from, or start=)"
            )
        return
    if len(start.seeds) != 1:
        raise ConfigError(f"start has {len(start.seeds)} runs; expected one (see Mixture.select_run)")
    if start.size != size:
        one, other = (f"{height} x {width}" for height, width in (start.size, size))
        raise ConfigError(f"the run to continue has images of {one} pixels, and these have {other}")
    if start.config != config.model:
        raise ConfigError(f"the run to continue has another architecture: {_unlike(start, config)}")
    if config.train.extra_experts:
        raise ConfigError("a continued run prunes no experts; expected train.extra_experts = 0")
    if named != (found := weights_digest(start)):
        raise ConfigError(f"train.start = {named or 'empty'}, and the weights of start are {found}")


def _unlike(start: Mixture, config: RunConfig) -> str:
    """Return the settings of two models that differ, as text."""
    then = replace(config, model=start.config)
    pairs = {key: (lookup(then, key), lookup(config, key)) for key in keys() if key.startswith("model.")}
    return ", ".join(f"{key} = {one}, not {other}" for key, (one, other) in pairs.items() if one != other)
