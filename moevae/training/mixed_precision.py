"""Training in a shorter type than the weights are kept in."""

from __future__ import annotations

import copy

import torch

from moevae.models.mixture import Mixture

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MasterWeights:
    """The model that does the work of a step: the kept one, or a copy of it in bfloat16.

    Running statistics are the kept ones, shared: they stay in float32.
    """

    def __init__(self, kept: Mixture, precision: str) -> None:
        self.kept = kept
        self.model = kept if precision == "float32" else copy.deepcopy(kept).to(DTYPES[precision])
        self._pairs = list(zip(kept.parameters(), self.model.parameters(), strict=True))
        for name, statistic in kept.named_buffers():
            module, _, buffer = name.rpartition(".")
            setattr(self.model.get_submodule(module), buffer, statistic)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the kept weights."""
        if self.model is not self.kept:
            for kept, own in self._pairs:
                own.copy_(kept)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the gradients to the kept weights, and forget them."""
        if self.model is not self.kept:
            for kept, own in self._pairs:
                kept.grad = None if own.grad is None else own.grad.to(kept.dtype)
                own.grad = None
