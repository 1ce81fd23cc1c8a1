"""Base class of stacked layers: the first axis of their parameters is the run.

`moevae.models.mixture` has the legend of shapes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# Fused Adam rounds the vectorized body and the tail of a tensor differently. The parameters of a run must
# fill whole vectors; otherwise the rounding of its updates would depend on the other runs of the population.
VECTOR = 16


class Stacked(nn.Module, ABC):
    """A layer whose parameters have the shape [R, ...]; each is stored flat and padded to whole vectors.

    Args:
        shapes: shape of each parameter by name, the run axis first.
    """

    expert_parameters: Collection[str] = ()
    """Names of the parameters whose second axis is the expert."""
    concatenated_experts: int | None = None
    """Number of experts concatenated along the last axis of each parameter; None if there is no such axis."""

    def __init__(self, **shapes: Sequence[int]) -> None:
        super().__init__()
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        for name, (runs, *shape) in self.shapes.items():
            size = math.ceil(math.prod(shape) / VECTOR) * VECTOR
            self.register_parameter(f"_{name}", nn.Parameter(torch.zeros(runs, size)))

    def stored(self, name: str) -> nn.Parameter:
        """Return a parameter as it is stored, [R, padded size].

        Args:
            name: name of the parameter.
        """
        return cast(nn.Parameter, getattr(self, f"_{name}"))

    def unpadded(self, name: str) -> Tensor:
        """Return a parameter in its shape, [R, ...], without padding.

        Args:
            name: name of the parameter.
        """
        runs, *shape = self.shapes[name]
        kept, size = self.stored(name), math.prod(shape)
        # A slice, even of the whole tensor, would cost a copy in the backward pass.
        return (kept if kept.shape[1] == size else kept[:, :size]).reshape(runs, *shape)

    def selected(self, name: str, values: Tensor, kept: Tensor) -> Tensor:
        """Select the values of some experts, in the padded layout of a parameter.

        Args:
            name: the parameter.
            values: padded values of all experts, [R, padded size].
            kept: indices of the experts of each run, [R, C] int64.

        Returns:
            Padded values of the kept experts; all values if the experts share the parameter.
        """
        runs, *shape = self.shapes[name]
        whole = values[:, : math.prod(shape)].view(runs, *shape)
        each = torch.arange(runs, device=values.device).unsqueeze(1)
        if self.concatenated_experts is not None:
            apart = whole.unflatten(-1, (self.concatenated_experts, -1)).movedim(-2, 1)  # [R, K, ...]
            whole = apart[each, kept].movedim(1, -2).flatten(-2)
        elif name in self.expert_parameters:
            whole = whole[each, kept]
        else:
            return values
        flat = whole.flatten(1)
        return functional.pad(flat, (0, -flat.shape[1] % VECTOR))

    def of_experts(self, name: str, marked: Tensor) -> Tensor | None:
        """Return which values of a parameter belong to marked experts, in its padded layout.

        Args:
            name: the parameter.
            marked: the marked experts of each run, [R, K] bool.

        Returns:
            [R, padded size] bool; None if the experts share the parameter.
        """
        runs, *shape = self.shapes[name]
        if self.concatenated_experts is not None:
            whole = marked.repeat_interleave(shape[-1] // self.concatenated_experts, 1)
            whole = whole.view(runs, *(1 for _ in shape[1:]), shape[-1]).expand(runs, *shape)
        elif name in self.expert_parameters:
            whole = marked.view(runs, shape[0], *(1 for _ in shape[1:])).expand(runs, *shape)
        else:
            return None
        flat = whole.flatten(1)
        return functional.pad(flat, (0, -flat.shape[1] % VECTOR))

    @abstractmethod
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Initialize the parameters.

        Args:
            generators: one per run.
        """

    def extra_repr(self) -> str:
        """Return the shapes of the parameters, which `print` shows."""
        return ", ".join(f"{name}={list(shape)}" for name, shape in self.shapes.items())


def reset(module: nn.Module, generators: Sequence[torch.Generator]) -> None:
    """Initialize all stacked layers of a module.

    Args:
        module: the module.
        generators: one per run.
    """
    for layer in _layers(module):
        layer.reset(generators)


def count_parameters(module: nn.Module) -> int:
    """Return the number of learned parameters of one run in a module, without padding.

    Args:
        module: networks of all runs.
    """
    return sum(math.prod(shape[1:]) for layer in _layers(module) for shape in layer.shapes.values())


def _layers(module: nn.Module) -> list[Stacked]:
    return [layer for layer in module.modules() if isinstance(layer, Stacked)]
