"""Masked layers, stacked over runs and experts: a pixel depends on the pixels before it only.

A pixel precedes another if it lies above it, or to its left in the same row.

References:
    Germain, Gregor, Murray, Larochelle (2015), MADE: masked autoencoder for distribution estimation.
    van den Oord, Kalchbrenner, Kavukcuoglu (2016), pixel recurrent neural networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from moevae.nn.grouped_convolution import grouped_convolution
from moevae.nn.linear import Affine, StackedLinear


class MaskedLinear(StackedLinear):
    """Linear maps with masked weights: [*batch, B, I] -> [*batch, B, O].

    Args:
        batch: axes of the stack, (R,) or (R, K).
        mask: 1 for a weight and 0 for none, [I, O].
        copies: number of maps with this mask whose outputs are concatenated.
    """

    mask: Tensor

    def __init__(self, batch: Sequence[int], mask: Tensor, copies: int = 1) -> None:
        inputs, outputs = mask.shape
        super().__init__(batch, inputs, copies * outputs, fan_out=outputs)
        self.register_buffer("mask", mask.repeat(1, copies).float(), persistent=False)

    @property
    def weight(self) -> Tensor:
        """Weights, zero where masked, [*batch, I, O]."""
        stored = self.unpadded("weight")
        return stored * self.mask.to(stored.dtype)


def made_mask(inputs: int, outputs: int, pixels: int, first: bool, last: bool) -> Tensor:
    """Return the mask of a layer of MADE.

    A hidden unit of degree m depends on the first m pixels. The degrees are spread evenly.

    Args:
        inputs: I.
        outputs: O.
        pixels: D.
        first: whether the inputs are pixels.
        last: whether the outputs are pixels.

    Returns:
        1 for a weight and 0 for none, [I, O].
    """
    before, after = (
        torch.arange(1.0, pixels + 1) if whole else torch.linspace(1, pixels - 1, count).round()
        for count, whole in ((inputs, first), (outputs, last))
    )
    return (before.unsqueeze(1) < after if last else before.unsqueeze(1) <= after).float()


def preceding_taps(reach: int, itself: bool) -> int:
    """Return the number of taps of a masked kernel; see `MaskedConvolution`.

    Args:
        reach: largest distance of a tap from the center, in pixels.
        itself: whether the center is a tap.
    """
    return reach * (2 * reach + 1) + reach + itself


class MaskedConvolution(Affine):
    """Convolutions of the preceding positions: [*batch, B, H W I] -> [*batch, B, H W O].

    See `grouped_convolution`.

    Args:
        batch: axes of the stack, (R,) or (R, K).
        size: H and W.
        inputs: I, input channels.
        outputs: O, output channels.
        reach: taps to the left, to the right, and above; 0 is a linear map of each position.
        dilation: distance of two taps.
        itself: whether a position itself is a tap. It must be False for the first layer of a network.
        residual: whether the input is added to the output.
        fan_out: output channels for the initialization; None means `outputs`.
    """

    def __init__(
        self,
        batch: Sequence[int],
        size: tuple[int, int],
        inputs: int,
        outputs: int,
        *,
        reach: int,
        dilation: int = 1,
        itself: bool = True,
        residual: bool = False,
        fan_out: int | None = None,
    ) -> None:
        taps = preceding_taps(reach, itself)
        super().__init__(batch, (taps * inputs, outputs), outputs, taps * inputs + (fan_out or outputs))
        self.size, self.inputs, self.outputs = size, inputs, outputs
        self.reach, self.dilation, self.residual = reach, dilation, residual
        self.omitted = (reach + 1) * (2 * reach + 1) - taps
        self.offsets = list(itertools.product(range(-reach, 1), range(-reach, reach + 1)))[:taps]

    def forward(self, x: Tensor, normalize: None = None) -> Tensor:
        """Return the convolved feature maps.

        Args:
            x: feature maps, [*batch, B, H W I].
            normalize: not supported; None.

        Returns:
            Feature maps, [*batch, B, H W O].
        """
        rows, count = x.shape[-2], math.prod(self.batch)
        ends = [rows * group for group in range(1, 1 + count)]
        return self._convolved(x.flatten(0, -2), ends, None).view(*self.batch, rows, -1)

    def sparse(self, x: Tensor, ends: Sequence[int], experts: int | None = None) -> Tensor:
        """Return the convolved feature maps of rows that are sorted by run and expert.

        Args:
            x: feature maps, [T, H W I].
            ends: row at which each group (run, expert) ends, R K numbers.
            experts: number of experts concatenated in the output; None if `batch` has an expert axis.

        Returns:
            Feature maps, [T, H W O].
        """
        return self._convolved(x, ends, experts)

    def at(self, maps: Tensor, place: int, ends: Sequence[int], experts: int | None = None) -> Tensor:
        """Return the convolution at one position.

        Args:
            maps: feature maps, of which the positions before `place` and, if it is a tap, `place` are read,
                [T, H W, I].
            place: the position, less than H W.
            ends: row at which each group (run, expert) ends.
            experts: as in `sparse`.

        Returns:
            The channels of the position, [T, O].
        """
        height, width = self.size
        row, column = divmod(place, width)
        seen = maps.new_zeros(len(maps), len(self.offsets), self.inputs)
        for tap, (down, right) in enumerate(self.offsets):
            there = row + down * self.dilation, column + right * self.dilation
            if 0 <= there[0] < height and 0 <= there[1] < width:
                seen[:, tap] = maps[:, there[0] * width + there[1]]
        found = torch.cat(
            [
                seen[rows].flatten(1) @ weight + bias
                for rows, weight, bias in zip(_slices(ends), *self._maps(experts), strict=True)
            ]
        )
        return found + maps[:, place] if self.residual else found

    def _convolved(self, x: Tensor, ends: Sequence[int], experts: int | None) -> Tensor:
        """Return the convolutions of groups of rows, [T, H W O]; x [T, H W I]."""
        weights, biases = self._maps(experts)
        rows, columns, reach = self.reach + 1, 2 * self.reach + 1, self.reach * self.dilation
        kernels = [
            functional.pad(each, (0, 0, 0, self.omitted * self.inputs))
            .view(rows, columns, self.inputs, -1)
            .permute(3, 2, 0, 1)
            for each in weights
        ]
        around = reach, reach, reach, 0
        found = grouped_convolution(x, self.size, kernels, biases, ends, around, self.dilation)
        if self.residual:
            found += x
        return found

    def _maps(self, experts: int | None) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return the weights and the biases of each group."""
        weight, bias = self.weight, self.bias
        if experts is not None:
            weight = weight.unflatten(-1, (experts, -1)).transpose(1, 2)  # [R, K, I, O]
            bias = bias.unflatten(-1, (experts, -1))
        # Unbound: autograd would allocate a full gradient per indexed weight.
        return weight.flatten(0, -3).unbind(), bias.flatten(0, -2).unbind()

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        return f"{super().extra_repr()}, reach={self.reach}, dilation={self.dilation}"


def _slices(ends: Sequence[int]) -> list[slice]:
    """Return the rows of each group."""
    return [slice(*pair) for pair in itertools.pairwise([0, *ends])]
