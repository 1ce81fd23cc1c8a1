"""Linear maps stacked over runs, and over experts: one batched product serves all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moevae.nn.grouped_linear import grouped_linear
from moevae.nn.stacked import Stacked


class Affine(Stacked):
    """A layer of weights, which start Glorot-uniform, and of biases, which start at zero.

    Args:
        batch: (R,) or (R, K).
        shape: of one map's weights.
        biases: of one map.
        fans: numbers that one output is made from, and that one input goes into, together.
    """

    def __init__(self, batch: Sequence[int], shape: tuple[int, int], biases: int, fans: int) -> None:
        super().__init__(weight=(*batch, *shape), bias=(*batch, biases))
        self.over_experts = tuple(self.shapes) if len(batch) == 2 else ()
        self.batch, self.bound = tuple(batch), math.sqrt(6 / fans)

    @property
    def weight(self) -> Tensor:
        """The weights, [*batch, *shape]."""
        return self.stored("weight")

    @property
    def bias(self) -> Tensor:
        """The biases, [*batch, biases]."""
        return self.stored("bias")

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Draw each run's weights from its own generator."""
        for run, generator in zip(self.weight, generators, strict=True):
            run.uniform_(-self.bound, self.bound, generator=generator)
        self.bias.zero_()


class StackedLinear(Affine):
    """Linear maps stacked over `batch`, which is (R,) or (R, K): x [*batch, B, I] -> [*batch, B, O].

    Weights are [*batch, I, O]; `fan_out` is the width of one map where the output holds several side by side.
    """

    def __init__(self, batch: Sequence[int], inputs: int, outputs: int, fan_out: int | None = None) -> None:
        super().__init__(batch, (inputs, outputs), outputs, inputs + (fan_out or outputs))
        self.inputs, self.outputs = inputs, outputs

    def forward(self, x: Tensor, normalize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return x @ weight + bias; `normalize` is applied to the product, before the bias."""
        bias = self.bias.reshape(-1, 1, self.outputs)
        weight = self.weight.flatten(0, -3)
        flat = x.flatten(0, -3).to(weight.dtype)
        product = normalize(flat @ weight) + bias if normalize else torch.baddbmm(bias, flat, weight)
        return product.view(*self.batch, x.shape[-2], self.outputs)

    def sparse(self, x: Tensor, ends: Sequence[int], experts: int | None = None) -> Tensor:
        """Return the output of rows sorted by run and expert, [T, O].

        Args:
            x: [T, I].
            ends: where each expert's rows end, R K numbers.
            experts: how many stand side by side in the output; None where `batch` has them.
        """
        weight, bias = self.weight, self.bias
        if experts is not None:
            weight = weight.unflatten(-1, (experts, -1)).transpose(1, 2)  # [R, K, I, O]
            bias = bias.unflatten(-1, (experts, -1))
        return grouped_linear(x, weight, bias, ends)
