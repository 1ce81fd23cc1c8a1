"""The gate: one network a run that answers, for an image, how likely each expert is to own it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moevae.config.schema import ModelConfig
from moevae.distributions import at_least_float32
from moevae.models import architecture
from moevae.nn.sequential import StackedNetwork
from moevae.nn.stacked import VECTOR


class Gate(nn.Module):
    """q(k|x), amortized: a stacked network and a softmax at a temperature.

    The bias of experts is moved by loss-free balancing, by no gradient. It is part of the logits, that is of
    the choice of experts and of all bounds, in training and in evaluation. Learned temperatures are used
    where the schedule is `learned`. Batch normalization goes by its running statistics, but within
    `moevae.nn.batch_norm.batch_statistics`.
    """

    expert_bias: Tensor  # [R, K]

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        plan, normalized = architecture.gate(config, size), config.gate_normalization == "batch"
        self.network = StackedNetwork((runs,), plan, config.activation, normalized)
        self.network.layers[-1].experts_beside = config.num_experts  # type: ignore[assignment]
        self.register_buffer("expert_bias", torch.zeros(runs, config.num_experts))
        self._log_temperature = nn.Parameter(torch.zeros(runs, VECTOR))  # filled up as stacked layers are

    @property
    def temperature(self) -> Tensor:
        """The learned temperatures, [R]."""
        return at_least_float32(self._log_temperature[:, 0]).exp()

    @torch.no_grad()
    def init_temperature(self, temperatures: Sequence[float]) -> None:
        """Set where each run's learned temperature starts."""
        self._log_temperature[:, 0] = torch.tensor(temperatures, dtype=torch.float64).log()

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate_logits, [R, K, B], of images x, [R, B, D]."""
        return self.network(x).transpose(1, 2) + self.expert_bias.unsqueeze(-1)


def gate_log_probs(gate_logits: Tensor, temperature: Tensor) -> Tensor:
    """Return log q(k|x), [R, K, B]; gate_logits [R, K, B], temperature [R]."""
    return torch.log_softmax(at_least_float32(gate_logits) / temperature[:, None, None], dim=1)
