"""Layers whose weights are stacked over runs, and over experts: one batched product serves all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moevae.grouped import grouped_linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

# Fused Adam rounds the vector body and the tail of a tensor differently: a run's share of a tensor must fill
# whole vectors, or a run in company is updated with other rounding than alone.
_VECTOR = 16


class StackedLinear(nn.Module):
    """Linear maps stacked over `batch`, which is (R,) or (R, K): x [*batch, B, I] -> [*batch, B, O].

    Weights start Glorot-uniform and biases zero; `fan_out` is the width of one map where the output
    holds several side by side.
    """

    def __init__(self, batch: Sequence[int], inputs: int, outputs: int, fan_out: int | None = None) -> None:
        super().__init__()
        self.batch, self.inputs, self.outputs = tuple(batch), inputs, outputs
        self.bound = math.sqrt(6 / (inputs + (fan_out or outputs)))
        self._weight = _per_run(*self.batch, inputs, outputs)
        self._bias = _per_run(*self.batch, outputs)

    @property
    def weight(self) -> Tensor:
        """The weights, [*batch, I, O]."""
        return _view(self._weight, *self.batch, self.inputs, self.outputs)

    @property
    def bias(self) -> Tensor:
        """The biases, [*batch, O]."""
        return _view(self._bias, *self.batch, self.outputs)

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Draw each run's weights from its own generator."""
        for run, generator in zip(self.weight, generators, strict=True):
            run.uniform_(-self.bound, self.bound, generator=generator)
        self._bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight + bias."""
        bias = self.bias.reshape(-1, 1, self.outputs)
        weight = self.weight.flatten(0, -3)
        product = torch.baddbmm(bias, x.flatten(0, -3).to(weight.dtype), weight)
        return product.view(*self.batch, x.shape[-2], self.outputs)

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the output of rows sorted by run and expert, [T, O]; x [T, I], see `grouped_linear`."""
        return grouped_linear(x, self.weight, self.bias, ends)


class StackedMLP(nn.Module):
    """Multi-layer perceptrons stacked over `batch`: x [*batch, B, sizes[0]] -> [*batch, B, sizes[-1]]."""

    def __init__(self, batch: Sequence[int], sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(StackedLinear(batch, inputs, outputs) for inputs, outputs in pairs)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output, without an activation on it."""
        for index, layer in enumerate(self.layers):
            x = layer(self.activation(x) if index else x)
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


def reset(module: nn.Module, generators: Sequence[torch.Generator]) -> None:
    """Initialize all stacked layers of a module, each run from its own generator."""
    for layer in module.modules():
        if isinstance(layer, StackedLinear):
            layer.reset(generators)


def count_parameters(module: nn.Module) -> int:
    """Return the weights and biases of one run's stacked layers, padding left out."""
    layers = [layer for layer in module.modules() if isinstance(layer, StackedLinear)]
    return sum((layer.weight[0].numel() + layer.bias[0].numel()) for layer in layers)


def _per_run(runs: int, *shape: int) -> nn.Parameter:
    size = math.prod(shape)
    return nn.Parameter(torch.zeros(runs, -(-size // _VECTOR) * _VECTOR))


def _view(stored: Tensor, runs: int, *shape: int) -> Tensor:
    size = math.prod(shape)
    # A slice of everything would still cost a copy in the backward pass.
    return (stored if stored.shape[1] == size else stored[:, :size]).reshape(runs, *shape)
