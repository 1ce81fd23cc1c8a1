"""The gate: one network a run that answers, for an image, how likely each expert is to own it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moevae import architecture
from moevae.config import ModelConfig
from moevae.densities import at_least_float32
from moevae.networks import StackedNetwork


class Gate(nn.Module):
    """q(k|x), amortized: a stacked network and a softmax at a temperature.

    Batch normalization goes by its running statistics, but within `moevae.normalization.batch_statistics`.
    """

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        plan, normalized = architecture.gate(config, size), config.gate_normalization == "batch"
        self.network = StackedNetwork((runs,), plan, config.activation, normalized)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate_logits, [R, K, B], of images x, [R, B, D]."""
        return self.network(x).transpose(1, 2)


def gate_log_probs(gate_logits: Tensor, temperature: Tensor) -> Tensor:
    """Return log q(k|x), [R, K, B]; gate_logits [R, K, B], temperature [R]."""
    return torch.log_softmax(at_least_float32(gate_logits) / temperature[:, None, None], dim=1)
