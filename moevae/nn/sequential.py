"""Layers one after another, stacked over runs, and over experts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moevae.config.registry import ACTIVATIONS
from moevae.nn.batch_norm import BatchNorm
from moevae.nn.layer_specs import Plan

ACTIVATIONS.register("relu")(torch.relu)
ACTIVATIONS.register("sigmoid")(torch.sigmoid)
ACTIVATIONS.register("tanh")(torch.tanh)


class StackedNetwork(nn.Module):
    """Networks stacked over `batch`: x [*batch, B, I] -> [*batch, B, O].

    Where `normalized`, the batch is (R,) and hidden layers are batch-normalized before their activation.
    """

    def __init__(self, batch: Sequence[int], plan: Plan, activation: str, normalized: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(each.layer(batch) for each in plan)
        hidden = plan[:-1] if normalized else ()
        self.normalizations = nn.ModuleList(BatchNorm(batch[0], each.outputs) for each in hidden)
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


class BranchingNetwork(nn.Module):
    """K networks a run over one input: x [R, B, I] -> [R, K, B, O].

    The first `common` layers are one network a run. The next one of all experts is one product, because they
    read the same numbers; from there on each expert goes its own way.
    """

    def __init__(self, runs: int, experts: int, plan: Plan, activation: str, common: int = 0) -> None:
        super().__init__()
        self.experts, self.width = experts, plan[common].outputs
        self.trunk = StackedNetwork((runs,), plan[:common], activation)
        self.first = plan[common].layer((runs,), copies=experts)
        self.first.experts_beside = experts
        self.rest = StackedNetwork((runs, experts), plan[common + 1 :], activation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output, without an activation on it."""
        # What the experts' layers give stands side by side, once for each place of a picture.
        together = self.first(self.shared(x)).unflatten(-1, (-1, self.experts, self.width))
        hidden = together.permute(0, 3, 1, 2, 4).flatten(-2)  # [R, K, B, H]
        return self.rest(self.rest.activation(hidden)) if self.rest.layers else hidden

    def shared(self, x: Tensor) -> Tensor:
        """Return what all experts of a run read, [R, B, H]; x [R, B, I]."""
        return self.trunk.activation(self.trunk(x)) if self.trunk.layers else x

    def sparse(self, shared: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the last layer's output of rows sorted by run and expert, [T, O]; `shared` [T, H]."""
        hidden = self.first.sparse(shared, ends, self.experts)  # type: ignore[call-arg]
        return self.rest.sparse(self.rest.activation(hidden), ends) if self.rest.layers else hidden
