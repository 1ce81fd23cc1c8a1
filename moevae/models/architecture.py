"""Layer specifications of the gate, the encoders and the decoders.

A plan lists the layers from first to last. The networks apply an activation between two layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from moevae.config.schema import ModelConfig
from moevae.nn.conv import halved
from moevae.nn.deformation import latent_size
from moevae.nn.gradients import FEATURES
from moevae.nn.layer_specs import Dense, Down, LayerSpecs, Masked, MaskedDense, Size, Up, Warp, perceptron
from moevae.nn.masked import preceding_taps

REACH = 3
"""Pixels that the context window extends to the left, to the right and above."""

NUM_PRECEDING = preceding_taps(REACH, itself=False)
"""Pixels in the context window that precede a pixel: the rows above it, and its own row to the left."""

DILATIONS = (1, 2, 4)
"""Dilations of the residual layers of a convolutional context network, which are repeated."""


def gate(config: ModelConfig, size: Size) -> LayerSpecs:
    """Return the layers of the gate, from its input to K logits; no layers if it is the posterior.

    Args:
        config: sizes and kinds of the networks.
        size: height and width of an image, in pixels.
    """
    if config.gate_network == "posterior":
        return []
    if config.gate_input == "gradients":
        return perceptron((FEATURES, *config.gate_hidden, config.num_experts))
    return _reader(config.gate_network, config.gate_hidden, size, config.num_experts)


def encoder(config: ModelConfig, size: Size) -> LayerSpecs:
    """Return the layers of an encoder, from D pixels to 2 Z outputs: mu, then logvar.

    Args:
        config: sizes and kinds of the networks.
        size: height and width of an image, in pixels.
    """
    return _reader(config.expert_network, config.expert_hidden, size, 2 * latent_size(config))


def num_shared_layers(config: ModelConfig) -> int:
    """Return the number of encoder layers that the experts of a run share.

    Args:
        config: sizes and kinds of the networks.
    """
    return len(config.expert_hidden) if config.encoder == "shared" else 0


def decoder(config: ModelConfig, size: Size) -> LayerSpecs:
    """Return the layers of a decoder, from Z latents to D pixels, the mirror image of the encoder.

    Args:
        config: sizes and kinds of the networks.
        size: height and width of an image, in pixels.
    """
    if config.decoder == "deformable":
        return [Warp(size, config)]
    hidden, latent = config.expert_hidden, config.latent_dim
    if config.expert_network == "mlp":
        return perceptron((latent, *reversed(hidden), math.prod(size)))
    sizes, channels = _pyramid(size, hidden)
    first = Dense(latent, math.prod(sizes[-1]) * channels[-1])
    ups = zip(reversed(sizes[:-1]), reversed(channels[1:]), reversed(channels[:-1]), strict=True)
    return [first, *(Up(*up) for up in ups)]


def upper_latents(config: ModelConfig) -> int:
    """Return the number of latents in the upper layer of a hierarchical prior: half of them, rounded down.

    Args:
        config: sizes and kinds of the networks.
    """
    return config.latent_dim // 2


def hierarchical_prior(config: ModelConfig) -> LayerSpecs:
    """Return the layers of a hierarchical prior, from the upper latents to m and log s^2 of the lower ones.

    Args:
        config: sizes and kinds of the networks.
    """
    upper = upper_latents(config)
    return perceptron((upper, *config.expert_hidden[-1:], 2 * (config.latent_dim - upper)))


def context(config: ModelConfig, size: Size) -> LayerSpecs:
    """Return the layers of a context network; no layers if the pixels are independent.

    The network of `window` reads one window per pixel, and the others read images.

    Args:
        config: sizes and kinds of the networks.
        size: height and width of an image, in pixels.
    """
    if config.likelihood != "autoregressive":
        return []
    width, depth, pixels = config.pixel_width, config.pixel_depth, math.prod(size)
    if config.pixel_network == "window":
        return perceptron((NUM_PRECEDING, *[width] * depth, 1))
    if config.pixel_network == "made":
        widths = itertools.pairwise((pixels, *[width] * depth, pixels))
        return [MaskedDense(*pair, pixels, place == 0, place == depth) for place, pair in enumerate(widths)]
    residual = (
        Masked(size, width, width, 1, dilation, itself=True, residual=True)
        for dilation in itertools.islice(itertools.cycle(DILATIONS), depth)
    )
    return [Masked(size, 1, width, REACH, itself=False), *residual, Masked(size, width, 1, 0)]


def common_context(config: ModelConfig) -> int:
    """Return the number of layers of a context network that the experts of a run share.

    Args:
        config: sizes and kinds of the networks.
    """
    if config.pixel_layers == "separate":
        return 0
    return config.pixel_depth + (config.pixel_network == "conv")


def _reader(network: str, hidden: Sequence[int], size: Size, outputs: int) -> LayerSpecs:
    """Return layers that read an image, perceptron or convolutional."""
    if network == "mlp":
        return perceptron((math.prod(size), *hidden, outputs))
    sizes, channels = _pyramid(size, hidden)
    downs = zip(sizes[:-1], channels[:-1], channels[1:], strict=True)
    return [*(Down(*down) for down in downs), Dense(math.prod(sizes[-1]) * channels[-1], outputs)]


def _pyramid(size: Size, hidden: Sequence[int]) -> tuple[list[Size], list[int]]:
    """Return the sizes and channels of the image and of the output of each convolution."""
    halves = itertools.accumulate(hidden, lambda larger, _: halved(larger), initial=size)
    return list(halves), [1, *hidden]
