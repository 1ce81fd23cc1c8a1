"""Mixed precision: modules compute in bfloat16 while the trained weights stay in float32."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from moevae.models.mixture import Mixture

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Data types of `train.precision` and `evaluation.iwae_precision`."""

_Module = TypeVar("_Module", bound=nn.Module)


def in_precision(module: _Module, precision: str) -> _Module:
    """Return a float32 module itself, or a copy with weights of another data type.

    Args:
        module: the module.
        precision: key of `DTYPES`; `float32` makes no copy.

    Returns:
        The module that computes in the precision. A copy shares the buffers, such as running statistics,
        which stay in float32.
    """
    if precision == "float32":
        return module
    rounded = copy.deepcopy(module).to(DTYPES[precision])
    for name, statistic in module.named_buffers():
        owner, _, buffer = name.rpartition(".")
        setattr(rounded.get_submodule(owner), buffer, statistic)
    return rounded


class MasterWeights:
    """The float32 model that is trained, and the model that computes a step: itself, or a bfloat16 copy.

    Args:
        kept: the model with the master weights.
        precision: key of `DTYPES`.

    References:
        Micikevicius et al. (2018), mixed precision training.
    """

    def __init__(self, kept: Mixture, precision: str) -> None:
        self.kept = kept
        self.model = in_precision(kept, precision)
        self._pairs = list(zip(kept.parameters(), self.model.parameters(), strict=True))

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the master weights to the computing model."""
        if self.model is not self.kept:
            for kept, own in self._pairs:
                own.copy_(kept)

    @torch.no_grad()
    def transfer_gradients(self) -> None:
        """Move the gradients of the computing model to the master weights."""
        if self.model is not self.kept:
            for kept, own in self._pairs:
                kept.grad = None if own.grad is None else own.grad.to(kept.dtype)
                own.grad = None
