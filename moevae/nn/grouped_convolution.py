"""Convolutions of rows that are sorted by group: each group (run, expert) is one convolution of torch.

With the `groups` of torch, one convolution would compute all of them, but the rounding of its gradients would
depend on their number. A feature map is stored as a row with the channels last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_ROWS = 16  # torch compiles a convolution for each new number of images


def grouped_convolution(
    x: Tensor,
    size: tuple[int, int],
    kernels: Sequence[Tensor],
    biases: Sequence[Tensor],
    ends: Sequence[int],
    padding: tuple[int, int, int, int],
    dilation: int = 1,
) -> Tensor:
    """Return the convolved feature maps of sorted rows, with stride 1.

    Args:
        x: feature maps, [T, H W I].
        size: H and W.
        kernels: kernel of each group, [O, I, height, width].
        biases: biases of each group, [O].
        ends: row at which each group ends.
        padding: zeros to the left, to the right, above and below.
        dilation: distance of two taps.

    Returns:
        Feature maps, [T, h w O].
    """
    x = x.to(kernels[0].dtype)
    counts = [end - start for start, end in itertools.pairwise([0, *ends])]
    # Split: autograd would fill a full gradient for each slice.
    rows = x.split(counts) if len(counts) > 1 else (x,)
    parts = [
        _convolution(each, size, kernel, bias, padding, dilation)
        for each, kernel, bias in zip(rows, kernels, biases, strict=True)
        if len(each)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _convolution(
    x: Tensor,
    size: tuple[int, int],
    kernel: Tensor,
    bias: Tensor,
    padding: tuple[int, int, int, int],
    dilation: int,
) -> Tensor:
    """Return one convolution, [N, h w O]; x [N, H W I]."""
    missing = -len(x) % _ROWS
    filled = functional.pad(x, (0, 0, 0, missing)) if missing else x
    maps = filled.view(-1, *size, kernel.shape[1]).permute(0, 3, 1, 2)
    padded = functional.pad(maps, padding) if any(padding) else maps
    found = functional.conv2d(padded, kernel, bias, dilation=dilation).permute(0, 2, 3, 1).flatten(1)
    return found[: len(x)] if missing else found
