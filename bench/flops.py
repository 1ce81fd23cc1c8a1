"""Exact floating-point operations of a step's products; what is done element by element is not counted."""

from __future__ import annotations

import itertools

from sizes import Sizes


def _products(widths: list[int], backward_to_input: bool) -> int:
    """Multiply-adds, two operations each, of a perceptron's training step for one image.

    Forward and weights' gradient cost one product each; so does the inputs' gradient, which the first layer
    needs only where its input has one: images have none, codes do.
    """
    layers = [inputs * outputs for inputs, outputs in itertools.pairwise(widths)]
    return 2 * (3 * sum(layers) - (0 if backward_to_input else layers[0]))


def training(sizes: Sizes, chosen: int | None = None) -> int:
    """Operations of a training step for one image; `chosen` experts of all are computed, None for all."""
    pixels = sizes.side**2
    encoder = _products([pixels, sizes.hidden, 2 * sizes.latent], backward_to_input=False)
    decoder = _products([sizes.latent, sizes.hidden, pixels], backward_to_input=True)
    gate = _products([pixels, sizes.gate, sizes.experts], backward_to_input=False)
    return (sizes.experts if chosen is None else chosen) * (encoder + decoder) + gate


def evaluation(sizes: Sizes) -> int:
    """Operations of one look at one image, all experts computed."""
    pixels = sizes.side**2
    encoder = pixels * sizes.hidden + sizes.hidden * 2 * sizes.latent
    decoder = sizes.latent * sizes.hidden + sizes.hidden * pixels
    return 2 * (sizes.experts * (encoder + decoder) + pixels * sizes.gate + sizes.gate * sizes.experts)
