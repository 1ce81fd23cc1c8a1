"""Exact floating-point operations of the matrix products of a step, without element-wise operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sizes import Sizes

from moevae.models import architecture


def training(sizes: Sizes, chosen: int | None = None, changes: Mapping[str, Any] | None = None) -> int:
    """Operations of a training step for one image; `chosen` experts of all are computed, None for all.

    Forward and weights' gradient cost one product each; so does the inputs' gradient, which the first layer
    needs only where its input has one: images have none, codes do.
    """
    computed = sizes.experts if chosen is None else chosen
    return sum((2 if pixels else 3) * each for each, pixels in _layers(sizes, computed, changes))


def evaluation(sizes: Sizes) -> int:
    """Return the operations of evaluating one image with all experts."""
    return sum(each for each, _ in _layers(sizes, sizes.experts, None))


def importance(sizes: Sizes, samples: int) -> int:
    """Return the operations of the importance-weighted bound of one image, with all experts and no gate."""
    model, size = sizes.config().model, (sizes.side, sizes.side)
    encoded = sum(layer.products for layer in architecture.encoder(model, size))
    decoded = sum(layer.products for layer in architecture.decoder(model, size))
    return 2 * sizes.experts * (encoded + samples * decoded)


def _layers(sizes: Sizes, computed: int, changes: Mapping[str, Any] | None) -> Iterator[tuple[int, bool]]:
    """Yield each layer's operations for one image, and whether it reads pixels."""
    model, size = sizes.config(changes).model, (sizes.side, sizes.side)
    encoder = architecture.encoder(model, size)
    common = architecture.num_shared_layers(model)
    for index, layer in enumerate(architecture.gate(model, size)):
        yield 2 * layer.products, index == 0
    for index, layer in enumerate(encoder):
        yield 2 * layer.products * (1 if index < common else computed), index == 0
    for layer in architecture.decoder(model, size):
        yield 2 * layer.products * computed, False
    times = size[0] * size[1] if model.pixel_network == "window" else 1
    for index, layer in enumerate(architecture.context(model, size)):
        experts = 1 if index < architecture.common_context(model) else computed
        yield 2 * layer.products * experts * times, index == 0
