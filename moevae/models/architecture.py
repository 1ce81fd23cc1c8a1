"""Which layers the gate, encoders and decoders are made of, first to last; activations stand between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from moevae.config.schema import ModelConfig
from moevae.nn.conv import halved
from moevae.nn.deformation import latent_size
from moevae.nn.layer_specs import Dense, Down, Plan, Size, Up, Warp, perceptron

REACH = 3
"""Pixels that a context sees to the left, to the right and above."""

TAPS_BEFORE = REACH * (2 * REACH + 1) + REACH
"""Pixels before a pixel that its context sees: whole rows above it, and the rest of its own."""

_CONTEXT = (32, 32)
"""Widths of a context's hidden layers."""


def gate(config: ModelConfig, size: Size) -> Plan:
    """Return the gate's layers, from pixels to an output an expert."""
    return _reader(config.gate_network, config.gate_hidden, size, config.num_experts)


def encoder(config: ModelConfig, size: Size) -> Plan:
    """Return an encoder's layers, from pixels to mu and logvar, side by side."""
    return _reader(config.expert_network, config.expert_hidden, size, 2 * latent_size(config))


def common(config: ModelConfig) -> int:
    """Return how many of an encoder's layers the experts of a run share."""
    return len(config.expert_hidden) if config.encoder == "shared" else 0


def decoder(config: ModelConfig, size: Size) -> Plan:
    """Return a decoder's layers, which mirror the encoder's."""
    if config.decoder == "deformable":
        return [Warp(size, config)]
    hidden, latent = config.expert_hidden, config.latent_dim
    if config.expert_network == "mlp":
        return perceptron((latent, *reversed(hidden), math.prod(size)))
    sizes, channels = _pyramid(size, hidden)
    first = Dense(latent, math.prod(sizes[-1]) * channels[-1])
    ups = zip(reversed(sizes[:-1]), reversed(channels[1:]), reversed(channels[:-1]), strict=True)
    return [first, *(Up(*up) for up in ups)]


def context(config: ModelConfig) -> Plan:
    """Return the layers that make logits of the pixels before a pixel; none where pixels are independent."""
    return perceptron((TAPS_BEFORE, *_CONTEXT, 1)) if config.likelihood == "autoregressive" else []


def _reader(network: str, hidden: Sequence[int], size: Size, outputs: int) -> Plan:
    if network == "mlp":
        return perceptron((math.prod(size), *hidden, outputs))
    sizes, channels = _pyramid(size, hidden)
    downs = zip(sizes[:-1], channels[:-1], channels[1:], strict=True)
    return [*(Down(*down) for down in downs), Dense(math.prod(sizes[-1]) * channels[-1], outputs)]


def _pyramid(size: Size, hidden: Sequence[int]) -> tuple[list[Size], list[int]]:
    """Return size and channels of the image, and of what each convolution makes of it."""
    halves = itertools.accumulate(hidden, lambda larger, _: halved(larger), initial=size)
    return list(halves), [1, *hidden]
