"""The Adam optimizer, by the fused kernel of torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from moevae.nn.grouped_linear import LARGE, WeightUpdate
from moevae.nn.linear import Affine
from moevae.nn.stacked import VECTOR

_SETTINGS: dict[str, Any] = {
    "beta1": 0.9,
    "beta2": 0.999,
    "weight_decay": 0,
    "eps": 1e-8,
    "amsgrad": False,
    "maximize": False,
}


class Adam:
    """Adam with the same results as `torch.optim.Adam(parameters, fused=True)`, bit for bit.

    The class of torch loads the compiler of torch, which delays the first step of a process by seconds. The
    function that this class calls does not.

    Args:
        parameters: all trained parameters, on one device or several.
        faster: those among them that have their own learning rate.
        layers: layers of these parameters whose large weights are updated in the backward pass, one expert
            after the other, while the weights and their gradient are in the cache.

    References:
        Kingma, Ba (2015), Adam: a method for stochastic optimization.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        faster: Collection[nn.Parameter] = (),
        layers: Iterable[Affine] = (),
    ) -> None:
        self._parameters = list(parameters)
        places = {id(parameter): index for index, parameter in enumerate(self._parameters)}
        self._faster = {places[id(parameter)] for parameter in faster}
        chosen = filter(_can_update_in_parts, layers)
        self._layers = [(layer, places[id(layer.stored("weight"))]) for layer in chosen]
        self._moments: dict[int, dict[str, Tensor]] = {}

    def begin(self, learning_rate: float) -> None:
        """Begin a step: the backward pass updates the weights of `layers`. `step` ends it.

        Args:
            learning_rate: learning rate of these weights.
        """
        for layer, index in self._layers:
            groups = math.prod(layer.batch)
            layer.uses, layer.update = 0, partial(self._in_parts, index, learning_rate, groups)

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, faster: float = 0.0) -> None:
        """Update every parameter that has a gradient; the backward pass has updated the others since `begin`.

        Args:
            learning_rate: learning rate of the parameters that are not in `faster`.
            faster: learning rate of the parameters in `faster`.
        """
        moved = [index for index, parameter in enumerate(self._parameters) if parameter.grad is not None]
        self._step([index for index in moved if index not in self._faster], learning_rate)
        if self._faster:
            self._step([index for index in moved if index in self._faster], faster)
        for layer, _ in self._layers:
            layer.update = None

    def _step(self, moved: list[int], learning_rate: float) -> None:
        """Update the parameters with the given indices."""
        parameters: list[Tensor] = [self._parameters[index] for index in moved]
        moments = [self._moments_of(index) for index in moved]
        adam(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [own["exp_avg"] for own in moments],
            [own["exp_avg_sq"] for own in moments],
            [],
            [own["step"] for own in moments],
            fused=True,
            lr=learning_rate,
            **_SETTINGS,
        )

    def _in_parts(self, index: int, learning_rate: float, groups: int) -> WeightUpdate:
        """Return a function that updates the weights of each expert of each run once, as `_step` does."""
        own = self._moments_of(index)
        own["step"] += 1
        kept = (self._parameters[index].detach(), own["exp_avg"], own["exp_avg_sq"])
        parts = list(zip(*(each.view(groups, -1).unbind() for each in kept), strict=True))

        def update(group: int, gradient: Tensor) -> None:
            part, first, second = parts[group]
            # The function `adam` would take longer to start than to update an expert.
            torch._fused_adam_(
                [part],
                [gradient.view(-1)],
                [first],
                [second],
                [],
                [own["step"]],
                lr=learning_rate,
                **_SETTINGS,
            )

        return update

    def state(self) -> dict[str, Tensor]:
        """Return the moments; a key is the index of a parameter and the name of the moment in torch."""
        return {
            f"{index}.{name}": value for index, own in self._moments.items() for name, value in own.items()
        }

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether a state has valid names, shapes and data types for these parameters.

        Args:
            state: tensors by name.
        """
        groups: dict[str, dict[str, tuple[int, ...]]] = {}
        for key, value in state.items():
            index, _, name = key.partition(".")
            groups.setdefault(index, {})[name] = tuple(value.shape)
            if value.dtype != torch.float32:
                return False
        shapes = {str(index): tuple(parameter.shape) for index, parameter in enumerate(self._parameters)}
        return groups.keys() <= shapes.keys() and all(
            own == {"step": (), "exp_avg": shapes[index], "exp_avg_sq": shapes[index]}
            for index, own in groups.items()
        )

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Replace the moments by those of a `state`.

        Args:
            state: tensors by name; see `fits`.
        """
        self._moments = {}
        for key, value in state.items():
            index, _, name = key.partition(".")
            place = self._parameters[int(index)].device
            self._moments.setdefault(int(index), {})[name] = value.to(place, copy=True)

    def moments(self, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """Return the moments by their name in torch, then by the name of the parameter.

        Args:
            names: names of the parameters, in order.
        """
        found: dict[str, dict[str, Tensor]] = {}
        for index, own in self._moments.items():
            for kind, value in own.items():
                found.setdefault(kind, {})[names[index]] = value
        return found

    def set_moments(self, names: Sequence[str], moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Replace the moments.

        Args:
            names: names of the parameters, in order.
            moments: the moments, as `moments` returns them.
        """
        place = {name: index for index, name in enumerate(names)}
        self.restore(
            {f"{place[name]}.{kind}": value for kind, each in moments.items() for name, value in each.items()}
        )

    def _moments_of(self, index: int) -> dict[str, Tensor]:
        """Return the moments of a parameter; they are zero before its first update."""
        if index not in self._moments:
            parameter = self._parameters[index]
            self._moments[index] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self._moments[index]


def _can_update_in_parts(layer: Affine) -> bool:
    """Return whether the weights of an expert can be updated alone, and are large enough to gain by it."""
    count = math.prod(layer.shapes["weight"][2:]) if "weight" in layer.expert_parameters else 0
    return layer.stored("weight").device.type == "cpu" and count >= LARGE and count % VECTOR == 0
