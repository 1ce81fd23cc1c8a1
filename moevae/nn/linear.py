"""Linear layers stacked over runs and experts, computed by one batched product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moevae.nn.grouped_linear import WeightUpdate, grouped_linear
from moevae.nn.stacked import Stacked


class Affine(Stacked):
    """A stacked layer with weights and biases.

    The weights are initialized Glorot-uniform and the biases with zero.

    Args:
        batch: axes of the stack, (R,) or (R, K).
        shape: shape of the weights of one map.
        biases: number of biases of one map.
        fans: sum of fan-in and fan-out.

    References:
        Glorot, Bengio (2010), understanding the difficulty of training deep feedforward neural networks.
    """

    update: Callable[[], WeightUpdate] | None = None
    """Returns what takes the gradients of the weights in the backward pass, if they are all of the gradient:
    if `uses`, the number of accesses to the weights since it was last set to zero, is one."""

    def __init__(self, batch: Sequence[int], shape: tuple[int, int], biases: int, fans: int) -> None:
        super().__init__(weight=(*batch, *shape), bias=(*batch, biases))
        self.expert_parameters = tuple(self.shapes) if len(batch) == 2 else ()
        self.batch, self.bound = tuple(batch), math.sqrt(6 / fans)
        self.uses = 0

    @property
    def weight(self) -> Tensor:
        """Weights, [*batch, *shape]."""
        self.uses += 1
        return self.unpadded("weight")

    @property
    def bias(self) -> Tensor:
        """Biases, [*batch, biases]."""
        return self.unpadded("bias")

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Initialize the weights of each run from its own generator.

        Args:
            generators: one per run, R.
        """
        for run, generator in zip(self.unpadded("weight"), generators, strict=True):
            run.uniform_(-self.bound, self.bound, generator=generator)
        self.bias.zero_()


class StackedLinear(Affine):
    """Linear maps: [*batch, B, I] -> [*batch, B, O], with weights [*batch, I, O].

    Args:
        batch: axes of the stack, (R,) or (R, K).
        inputs: I.
        outputs: O.
        fan_out: outputs of one map, if the output concatenates several; None means `outputs`.
    """

    def __init__(self, batch: Sequence[int], inputs: int, outputs: int, fan_out: int | None = None) -> None:
        super().__init__(batch, (inputs, outputs), outputs, inputs + (fan_out or outputs))
        self.inputs, self.outputs = inputs, outputs

    def forward(self, x: Tensor, normalize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return x @ weight + bias.

        Args:
            x: inputs, [*batch, B, I].
            normalize: applied to the product before the bias; None applies nothing.

        Returns:
            Outputs, [*batch, B, O].
        """
        bias = self.bias.reshape(-1, 1, self.outputs)
        weight = self.weight.flatten(0, -3)
        flat = x.flatten(0, -3).to(weight.dtype)
        product = normalize(flat @ weight) + bias if normalize else torch.baddbmm(bias, flat, weight)
        return product.view(*self.batch, x.shape[-2], self.outputs)

    def sparse(self, x: Tensor, ends: Sequence[int], experts: int | None = None) -> Tensor:
        """Return x @ weight + bias for rows that are sorted by run and expert.

        Args:
            x: rows, [T, I].
            ends: row at which each group (run, expert) ends, R K numbers.
            experts: number of experts concatenated in the output; None if `batch` has an expert axis.

        Returns:
            Rows, [T, outputs of one expert].
        """
        weight, bias = self.weight, self.bias
        if experts is not None:
            weight = weight.unflatten(-1, (experts, -1)).transpose(1, 2)  # [R, K, I, O]
            bias = bias.unflatten(-1, (experts, -1))
        return grouped_linear(x, weight, bias, ends, self._update_if_alone if self.update else None)

    def _update_if_alone(self) -> WeightUpdate | None:
        return self.update() if self.update and self.uses == 1 else None
