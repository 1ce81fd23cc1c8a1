"""Which images go to which expert where only chosen experts are computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dispatch:
    """The pairs of image and chosen expert, S choices an image, sorted by run and expert: T = R S B rows."""

    order: Tensor
    """Place of each sorted row among the choices [R, S, B], [T]."""
    ends: tuple[int, ...]
    """Where the rows of each run's experts end, R K numbers."""
    shape: torch.Size
    """R, S, B."""

    @classmethod
    def of(cls, chosen: Tensor, num_experts: int) -> Dispatch:
        """Sort the choices, [R, S, B] int64."""
        runs = torch.arange(len(chosen), device=chosen.device)[:, None, None]
        keys, order = (chosen + num_experts * runs).flatten().sort(stable=True)
        ends = torch.searchsorted(
            keys, torch.arange(num_experts * len(chosen), device=keys.device), right=True
        )
        return cls(order, tuple(ends.tolist()), chosen.shape)

    def images(self, x: Tensor) -> Tensor:
        """Return the image of each row, [T, D]; x [R, B, D]."""
        _, choices, batch = self.shape
        run = self.order.div(choices * batch, rounding_mode="floor")
        return x.flatten(0, 1)[run * batch + self.order % batch]

    def rows(self, values: Tensor) -> Tensor:
        """Return values [R, S, B, ...] sorted, [T, ...]."""
        return values.flatten(0, 2)[self.order]

    def choices(self, values: Tensor) -> Tensor:
        """Return values of rows, [T], in the order of the choices, [R, S, B]."""
        return values[self.order.argsort()].view(self.shape)


def draw_experts(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Return experts drawn by their probabilities, with replacement, [R, S, B].

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: draws on [0, 1), [R, S, B].
    """
    upper = log_probs.exp().cumsum(1)  # [R, K, B]
    places = uniform.transpose(1, 2).contiguous() * upper[:, -1:].transpose(1, 2)  # [R, B, S]
    found = torch.searchsorted(upper.transpose(1, 2).contiguous(), places, right=True)
    return found.clamp_max(log_probs.shape[1] - 1).transpose(1, 2)
