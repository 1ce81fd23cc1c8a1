"""Layers whose weights are stacked over runs, and over experts: one batched product serves all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moevae.grouped import grouped_linear
from moevae.normalization import BatchNorm
from moevae.stacked import Stacked

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


class StackedLinear(Stacked):
    """Linear maps stacked over `batch`, which is (R,) or (R, K): x [*batch, B, I] -> [*batch, B, O].

    Weights start Glorot-uniform and biases zero; `fan_out` is the width of one map where the output
    holds several side by side.
    """

    def __init__(self, batch: Sequence[int], inputs: int, outputs: int, fan_out: int | None = None) -> None:
        super().__init__(weight=(*batch, inputs, outputs), bias=(*batch, outputs))
        self.batch, self.inputs, self.outputs = tuple(batch), inputs, outputs
        self.bound = math.sqrt(6 / (inputs + (fan_out or outputs)))

    @property
    def weight(self) -> Tensor:
        """The weights, [*batch, I, O]."""
        return self.stored("weight")

    @property
    def bias(self) -> Tensor:
        """The biases, [*batch, O]."""
        return self.stored("bias")

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Draw each run's weights from its own generator."""
        for run, generator in zip(self.weight, generators, strict=True):
            run.uniform_(-self.bound, self.bound, generator=generator)
        self.bias.zero_()

    def forward(self, x: Tensor, normalize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return x @ weight + bias; `normalize` is applied to the product, before the bias."""
        bias = self.bias.reshape(-1, 1, self.outputs)
        weight = self.weight.flatten(0, -3)
        flat = x.flatten(0, -3).to(weight.dtype)
        product = normalize(flat @ weight) + bias if normalize else torch.baddbmm(bias, flat, weight)
        return product.view(*self.batch, x.shape[-2], self.outputs)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the output of rows sorted by run and expert, [T, O]; x [T, I], see `grouped_linear`."""
        return grouped_linear(x, self.weight, self.bias, ends)


class StackedMLP(nn.Module):
    """Multi-layer perceptrons stacked over `batch`: x [*batch, B, sizes[0]] -> [*batch, B, sizes[-1]].

    Where `normalized`, the batch is (R,) and hidden layers are batch-normalized before their activation.
    """

    def __init__(
        self, batch: Sequence[int], sizes: Sequence[int], activation: str, normalized: bool = False
    ) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(StackedLinear(batch, inputs, outputs) for inputs, outputs in pairs)
        hidden = sizes[1:-1] if normalized else ()
        self.normalizations = nn.ModuleList(BatchNorm(math.prod(batch), width) for width in hidden)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output, without an activation on it."""
        for index, (layer, normalize) in enumerate(itertools.zip_longest(self.layers, self.normalizations)):
            x = layer(self.activation(x) if index else x, normalize)
        return x

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the last layer's output of rows sorted by run and expert, [T, O]; x [T, I]."""
        for index, layer in enumerate(self.layers):
            x = layer.sparse(self.activation(x) if index else x, ends)  # type: ignore[operator]
        return x


class SharedInputMLP(nn.Module):
    """K perceptrons a run over one input: x [R, B, sizes[0]] -> [R, K, B, sizes[-1]].

    The first layer of all experts is one product, because they read the same images.
    """

    def __init__(self, runs: int, experts: int, sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        self.experts, self.width = experts, sizes[1]
        self.first = StackedLinear((runs,), sizes[0], experts * sizes[1], fan_out=sizes[1])
        self.rest = StackedMLP((runs, experts), sizes[1:], activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output, without an activation on it."""
        hidden = self.first(x).unflatten(-1, (self.experts, self.width)).transpose(1, 2)  # [R, K, B, H]
        return self.rest(self.rest.activation(hidden)) if self.rest.layers else hidden

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the last layer's output of rows sorted by run and expert, [T, O]; x [T, I]."""
        by_expert = (self.experts, self.width)
        weight = self.first.weight.unflatten(-1, by_expert).transpose(1, 2)  # [R, K, I, H]
        hidden = grouped_linear(x, weight, self.first.bias.unflatten(-1, by_expert), ends)
        return self.rest.sparse(self.rest.activation(hidden), ends) if self.rest.layers else hidden
