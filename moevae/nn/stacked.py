"""What all stacked layers share: parameters whose first axis is the run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Fused Adam rounds the vector body and the tail of a tensor differently: a run's share of a tensor must fill
# whole vectors, or a run in company is updated with other rounding than alone.
VECTOR = 16


class Stacked(nn.Module, ABC):
    """A layer of parameters [R, ...], by name; each is kept as [R, N], filled up to whole vectors."""

    over_experts: Collection[str] = ()
    """Parameters whose second axis is the expert."""
    experts_beside: int | None = None
    """How many experts stand side by side along the last axis of each parameter; None: they do not."""

    def __init__(self, **shapes: Sequence[int]) -> None:
        super().__init__()
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        for name, (runs, *shape) in self.shapes.items():
            size = math.ceil(math.prod(shape) / VECTOR) * VECTOR
            self.register_parameter(f"_{name}", nn.Parameter(torch.zeros(runs, size)))

    def stored(self, name: str) -> Tensor:
        """Return a parameter in its shape, [R, ...]."""
        runs, *shape = self.shapes[name]
        kept, size = getattr(self, f"_{name}"), math.prod(shape)
        # A slice of everything would still cost a copy in the backward pass.
        return (kept if kept.shape[1] == size else kept[:, :size]).reshape(runs, *shape)

    def selected(self, name: str, values: Tensor, kept: Tensor) -> Tensor:
        """Return values laid out as a parameter is, [R, N], for some experts, [R, C]; all of it if shared."""
        runs, *shape = self.shapes[name]
        whole = values[:, : math.prod(shape)].view(runs, *shape)
        each = torch.arange(runs, device=values.device).unsqueeze(1)
        if self.experts_beside is not None:
            apart = whole.unflatten(-1, (self.experts_beside, -1)).movedim(-2, 1)  # [R, K, ...]
            whole = apart[each, kept].movedim(1, -2).flatten(-2)
        elif name in self.over_experts:
            whole = whole[each, kept]
        else:
            return values
        flat = whole.flatten(1)
        return functional.pad(flat, (0, -flat.shape[1] % VECTOR))

    @abstractmethod
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Start anew, each run from its own generator."""


def reset(module: nn.Module, generators: Sequence[torch.Generator]) -> None:
    """Initialize all stacked layers of a module, each run from its own generator."""
    for layer in _layers(module):
        layer.reset(generators)


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers one run learns in a module, padding left out."""
    return sum(math.prod(shape[1:]) for layer in _layers(module) for shape in layer.shapes.values())


def _layers(module: nn.Module) -> list[Stacked]:
    return [layer for layer in module.modules() if isinstance(layer, Stacked)]
