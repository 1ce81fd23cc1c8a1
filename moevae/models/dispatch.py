"""Dispatch of images to the experts that are chosen for them, for sparse computation.

Shapes as in `moevae.models.mixture`; T = R C B rows, one per pair of an image and a chosen expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moevae.utils.devices import to_device


@dataclass(frozen=True)
class Dispatch:
    """Pairs of an image and a chosen expert, sorted by run and expert."""

    order: Tensor
    """Index of each sorted row in the flattened choices [R, C, B], [T]."""
    ends: tuple[int, ...]
    """Row at which each group (run, expert) ends, R K numbers."""
    shape: torch.Size
    """R, C, B."""

    @classmethod
    def of(cls, chosen: Tensor, num_experts: int) -> Dispatch:
        """Sort choices by run and expert.

        Args:
            chosen: experts of each image, [R, C, B] int64.
            num_experts: K.
        """
        runs = torch.arange(len(chosen), device=chosen.device)[:, None, None]
        keys, order = (chosen + num_experts * runs).flatten().sort(stable=True)
        ends = torch.searchsorted(
            keys, torch.arange(num_experts * len(chosen), device=keys.device), right=True
        )
        return cls(order, tuple(ends.tolist()), chosen.shape)

    def images(self, x: Tensor) -> Tensor:
        """Return the image of each row.

        Args:
            x: images, [R, B, D].

        Returns:
            Images in the order of the rows, [T, D].
        """
        _, choices, batch = self.shape
        run = self.order.div(choices * batch, rounding_mode="floor")
        return x.flatten(0, 1)[run * batch + self.order % batch]

    def rows(self, values: Tensor) -> Tensor:
        """Return values in the order of the rows.

        Args:
            values: one value per choice, [R, C, B, ...].

        Returns:
            Values, [T, ...].
        """
        return values.flatten(0, 2)[self.order]

    def chosen(self, values: Tensor) -> Tensor:
        """Return the values of the chosen experts in the order of the rows.

        Args:
            values: values of all experts, [R, K, B, ...].

        Returns:
            Values, [T, ...].
        """
        batch = self.shape[-1]
        counts = to_device([0, *self.ends], self.order.device).diff()
        groups = torch.arange(len(counts), device=counts.device).repeat_interleave(
            counts, output_size=len(self.order)
        )
        return values.flatten(0, 2)[groups * batch + self.order % batch]

    def choices(self, values: Tensor) -> Tensor:
        """Return values in the order of the choices.

        Args:
            values: one value per row, [T].

        Returns:
            Values, [R, C, B].
        """
        return values[self.order.argsort()].view(self.shape)


def draw_experts(log_probs: Tensor, uniform: Tensor) -> Tensor:
    """Sample experts from their probabilities, with replacement.

    Args:
        log_probs: log q(k|x), [R, K, B].
        uniform: uniform draws on [0, 1), [R, C, B].

    Returns:
        Indices of experts, [R, C, B] int64.
    """
    upper = log_probs.exp().cumsum(1)  # [R, K, B]
    places = uniform.transpose(1, 2).contiguous() * upper[:, -1:].transpose(1, 2)  # [R, B, C]
    found = torch.searchsorted(upper.transpose(1, 2).contiguous(), places, right=True)
    return found.clamp_max(log_probs.shape[1] - 1).transpose(1, 2)
