"""Sequences of layers, stacked over runs and experts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from moevae.config.registry import ACTIVATIONS
from moevae.distributions import sigmoid_alone
from moevae.nn.batch_norm import BatchNorm
from moevae.nn.layer_specs import LayerSpecs

ACTIVATIONS.register("relu")(torch.relu)
ACTIVATIONS.register("sigmoid")(torch.sigmoid)
ACTIVATIONS.register("tanh")(torch.tanh)
ACTIVATIONS.register("leaky-relu")(functional.leaky_relu)


@ACTIVATIONS.register("gelu")
def gelu(x: Tensor) -> Tensor:
    """Return x Phi(x), with the normal distribution function Phi (Hendrycks, Gimpel, 2016).

    Args:
        x: activations, of any shape.
    """
    # Contiguous: torch rounds strided tensors differently, and strides depend on the number of runs.
    return functional.gelu(x.contiguous())


@ACTIVATIONS.register("silu")
def silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x) (Elfwing, Uchibe, Doya, 2018).

    Args:
        x: activations, of any shape.
    """
    if x.device.type == "cpu" and torch.get_num_threads() > 1:
        return cast(Tensor, _Silu.apply(x))
    missing = -x.numel() % _WHOLE
    if not missing:
        return functional.silu(x.contiguous())
    return functional.silu(functional.pad(x.flatten(), (0, missing)))[: x.numel()].view_as(x)


_WHOLE = 64
"""Elements that a core computes together. Torch's silu rounds those in another way that are left at the end
of a thread's part; with one thread, a tensor of a multiple of this size has none."""


class _Silu(torch.autograd.Function):
    """Compute x sigmoid(x) by exp, whose rounding does not depend on the parts of threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        sigmoid = x.neg().exp_().add_(1).reciprocal_()
        ctx.save_for_backward(x, sigmoid)
        return x * sigmoid

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, sigmoid = ctx.saved_tensors
        slope = (1 - sigmoid).mul_(x).add_(1).mul_(sigmoid)
        return slope.mul_(gradient)


@contextmanager
def sigmoids_alone(model: nn.Module) -> Iterator[None]:
    """Make the rounding of activations independent of the position in a tensor, within the context.

    Args:
        model: a model that contains stacked networks.
    """
    stacked = (each for each in model.modules() if isinstance(each, StackedNetwork))
    networks = [each for each in stacked if each.activation is torch.sigmoid]
    for network in networks:
        network.activation = sigmoid_alone
    try:
        yield
    finally:
        for network in networks:
            network.activation = torch.sigmoid


class StackedNetwork(nn.Module):
    """A feedforward network stacked over runs and experts: [*batch, B, I] -> [*batch, B, O].

    Args:
        batch: axes of the stack, (R,) or (R, K).
        plan: specifications of the layers.
        activation: key of `ACTIVATIONS`, applied between two layers.
        normalized: whether hidden layers are batch-normalized before the activation; requires batch (R,).
    """

    def __init__(
        self, batch: Sequence[int], plan: LayerSpecs, activation: str, normalized: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(each.layer(batch) for each in plan)
        hidden = plan[:-1] if normalized else ()
        self.normalizations = nn.ModuleList(BatchNorm(batch[0], each.outputs) for each in hidden)
        self.activation = ACTIVATIONS[activation]

    def extra_repr(self) -> str:
        """Return the activation, which `print` shows."""
        return f"activation={self.activation.__name__}" if len(self.layers) else ""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer, without an activation.

        Args:
            x: inputs, [*batch, B, I].

        Returns:
            Outputs, [*batch, B, O].
        """
        for index, (layer, normalize) in enumerate(itertools.zip_longest(self.layers, self.normalizations)):
            x = layer(self.activation(x) if index else x, normalize)
        return x

    def sparse(self, x: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the output of the last layer for rows that are sorted by run and expert.

        Args:
            x: rows, [T, I].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Rows, [T, O].
        """
        for index, layer in enumerate(self.layers):
            x = layer.sparse(self.activation(x) if index else x, ends)  # type: ignore[operator]
        return x


class BranchingNetwork(nn.Module):
    """K networks per run that read the same input: [R, B, I] -> [R, K, B, O].

    The experts of a run share the first `num_shared` layers. The next layer of all experts is computed by one
    product, because the experts read the same values. The remaining layers are stacked over the experts.

    Args:
        runs: R.
        experts: K.
        plan: specifications of the layers.
        activation: key of `ACTIVATIONS`, applied between two layers.
        num_shared: number of shared layers.
    """

    def __init__(
        self, runs: int, experts: int, plan: LayerSpecs, activation: str, num_shared: int = 0
    ) -> None:
        super().__init__()
        self.experts, self.width = experts, plan[num_shared].outputs
        self.trunk = StackedNetwork((runs,), plan[:num_shared], activation)
        self.first = plan[num_shared].layer((runs,), copies=experts)
        self.first.concatenated_experts = experts
        self.rest = StackedNetwork((runs, experts), plan[num_shared + 1 :], activation)

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        return f"experts={self.experts}, shared_layers={len(self.trunk.layers)}"

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer, without an activation.

        Args:
            x: inputs, [R, B, I].

        Returns:
            Outputs, [R, K, B, O].
        """
        # The outputs of the experts are concatenated, separately for each position of a feature map.
        together = self.first(self.shared(x)).unflatten(-1, (-1, self.experts, self.width))
        hidden = together.permute(0, 3, 1, 2, 4).flatten(-2)  # [R, K, B, H]
        return self.rest(self.rest.activation(hidden)) if self.rest.layers else hidden

    def shared(self, x: Tensor) -> Tensor:
        """Return the output of the shared layers, which all experts read.

        Args:
            x: inputs, [R, B, I].

        Returns:
            Hidden units, or the inputs if no layer is shared, [R, B, H].
        """
        return self.trunk.activation(self.trunk(x)) if self.trunk.layers else x

    def sparse(self, shared: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the output of the last layer for rows that are sorted by run and expert.

        Args:
            shared: output of the shared layers for each row, [T, H].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Rows, [T, O].
        """
        hidden = self.first.sparse(shared, ends, self.experts)  # type: ignore[call-arg]
        return self.rest.sparse(self.rest.activation(hidden), ends) if self.rest.layers else hidden
