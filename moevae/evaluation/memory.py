"""How many images fit into a budget of memory: what a look at one takes, by the shapes of the networks."""

from __future__ import annotations

import math

from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.evaluation.iwae import BLOCK, TOGETHER
from moevae.models import architecture
from moevae.nn.deformation import latent_size
from moevae.nn.layer_specs import Size

_FLOAT = 4
"""Bytes of a number: evaluation is in float32."""

_PIXELS = 5
"""Numbers a pixel that a likelihood holds at once: logits, image, and what becomes of them."""

_LATENTS = 8
"""Numbers a latent of a draw: mu, logvar, noise as drawn and as sorted, z, and what becomes of them."""


def image_bytes(config: RunConfig, size: Size) -> int:
    """Return what a look at one image takes in one run at its peak; weights and stored images come to it.

    It grows with K: logits of every expert, and the widest of its layers. An importance sample of an image
    by all experts takes no more.
    """
    model, samples = config.model, min(config.evaluation.num_samples, TOGETHER)
    layers = (*architecture.encoder(model, size), *architecture.decoder(model, size))
    pixels = math.prod(size)
    looked = pixels + max(_PIXELS * pixels, *(layer.held for layer in layers))
    context = [layer.held for layer in architecture.context(model)]
    looked += pixels * max(context, default=0)
    drawn = (2 * samples + _LATENTS) * latent_size(model) + samples
    gate = max(layer.held for layer in architecture.gate(model, size))
    return _FLOAT * max(model.num_experts * (looked + drawn), gate)


def images(memory: int, config: RunConfig, size: Size) -> int:
    """Return how many images of one run fit into so many bytes.

    Raises:
        ConfigError: not even one block, whose noise is drawn together.
    """
    each = image_bytes(config, size)
    if memory < BLOCK * each:
        least = math.ceil(BLOCK * each / 2**20)
        raise ConfigError(
            f"{memory:,} bytes of memory are not enough: evaluation processes {BLOCK} images at once,"
            f" which need {least}MiB with these networks"
        )
    return memory // each
