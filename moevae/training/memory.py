"""Lower bound on the memory of training, compared with the memory of the device."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.models import architecture
from moevae.models.latent_prior import PRIORS
from moevae.nn.deformation import latent_size
from moevae.nn.layer_specs import Size
from moevae.objectives.routing import num_chosen

_FLOAT = 4
"""Bytes of a float32 value."""


def training_bytes(config: RunConfig, size: Size, count: int) -> int:
    """Return a lower bound on the memory for training one run, in bytes.

    The bound counts the weights and their two moments, and for one batch the latents and the logits of the
    chosen experts.

    Args:
        config: the run.
        size: height and width of an image, in pixels.
        count: number of training images.
    """
    model, train, routing = config.model, config.train, config.routing
    encoder, shared = architecture.encoder(model, size), architecture.num_shared_layers(model)
    context, common = architecture.context(model, size), architecture.common_context(model)
    own = (*encoder[shared:], *architecture.decoder(model, size), *context[common:])
    once = (*encoder[:shared], *context[:common], *architecture.gate(model, size))
    experts = model.num_experts + train.extra_experts
    learned = PRIORS.get(model.latent_prior)
    prior = learned.num_weights(model, math.prod(size)) if learned else 0
    weights = experts * (sum(layer.weights for layer in own) + prior) + sum(layer.weights for layer in once)
    chosen = 1 if config.objective.expert_weights == "map" else num_chosen(routing) or experts
    rows = chosen * min(train.batch_size, count) * train.num_samples
    return _FLOAT * (3 * weights + rows * (latent_size(model) + math.prod(size)))


def check(configs: Sequence[RunConfig], size: Size, count: int, memory: int) -> None:
    """Check that a population can train in the memory of a device.

    Args:
        configs: one per run.
        size: height and width of an image, in pixels.
        count: number of training images.
        memory: memory of the device, in bytes.

    Raises:
        ConfigError: the lower bound exceeds the memory.
    """
    least = sum(training_bytes(config, size, count) for config in configs)
    if least > memory:
        model, train = configs[0].model, configs[0].train
        raise ConfigError(
            f"training needs at least {least / 2**30:,.1f} GiB of memory for {len(configs)} x"
            f" {model.num_experts:,} experts; the device has {memory / 2**30:,.1f} GiB. Reduce"
            f" model.num_experts (now {model.num_experts:,}), model.expert_hidden, train.batch_size"
            f" (now {train.batch_size:,}) or train.num_samples (now {train.num_samples:,})"
        )
