"""Memory of a forward pass of evaluation, from the shapes of the networks."""

from __future__ import annotations

import math

from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.evaluation.log_weights import BLOCK, SAMPLE_CHUNK
from moevae.models import architecture
from moevae.models.latent_prior import PRIORS
from moevae.nn.deformation import latent_size
from moevae.nn.layer_specs import Size

_FLOAT = 4
"""Bytes of a float32 value."""

_PIXELS = 5
"""Values per pixel that a likelihood keeps: logits, image and intermediate results."""

_LATENTS = 8
"""Values per latent: mu, logvar, noise in two orders, z and intermediate results."""


def image_bytes(config: RunConfig, size: Size) -> int:
    """Return the peak memory per image of a forward pass of one run, in bytes.

    Weights and stored images are not included. The memory grows with K: it contains the logits and the widest
    layer of every expert. An importance sample of an image does not need more.

    Args:
        config: the run.
        size: height and width of an image, in pixels.
    """
    model, samples = config.model, min(config.evaluation.num_samples, SAMPLE_CHUNK)
    layers = (*architecture.encoder(model, size), *architecture.decoder(model, size))
    pixels = math.prod(size)
    values = pixels + max(_PIXELS * pixels, *(layer.values_in_memory for layer in layers))
    context = max((layer.values_in_memory for layer in architecture.context(model, size)), default=0)
    values += context * pixels if model.pixel_network == "window" else context
    drawn = (2 * samples + _LATENTS) * latent_size(model) + samples
    if learned := PRIORS.get(model.latent_prior):
        drawn += (samples + 1) * learned.values_in_memory(model)
    gate = max((layer.values_in_memory for layer in architecture.gate(model, size)), default=0)
    return _FLOAT * max(model.num_experts * (values + drawn), gate)


def images(memory: int, config: RunConfig, size: Size) -> int:
    """Return the number of images of one run that fit into a memory limit.

    Args:
        memory: the limit, in bytes.
        config: the run.
        size: height and width of an image, in pixels.

    Raises:
        ConfigError: one block of images does not fit.
    """
    each = image_bytes(config, size)
    if memory < BLOCK * each:
        least = math.ceil(BLOCK * each / 2**20)
        raise ConfigError(
            f"{memory:,} bytes of memory are not enough: evaluation processes {BLOCK} images at once,"
            f" which need {least}MiB with these networks"
        )
    return memory // each
