"""The gate: one network per run that predicts the probability of each expert for an image, q(k|x)."""

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
    """Stacked networks from images to the logits of the experts.

    `expert_bias` is added to the logits. Loss-free balancing updates it, without a gradient; it affects
    routing and all bounds, in training and in evaluation. Each run has a learned temperature, which is used
    if `routing.temperature_schedule` is `learned`. Batch normalization uses its running statistics, except
    within `moevae.nn.batch_norm.batch_statistics`.

    If `model.gate_network` is `posterior`, there is no network: the logits are the scores of the experts, to
    which the log prior is added, also as `expert_bias`; see `Mixture.gate_logits`.

    Args:
        config: the model.
        runs: R.
        size: height and width of an image, in pixels.
    """

    expert_bias: Tensor  # [R, K]

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        plan, normalized = architecture.gate(config, size), config.gate_normalization == "batch"
        self.network = StackedNetwork((runs,), plan, config.activation, normalized) if plan else None
        if self.network is not None:
            self.network.layers[-1].concatenated_experts = config.num_experts  # type: ignore[assignment]
        self.register_buffer("expert_bias", torch.zeros(runs, config.num_experts))
        self._log_temperature = nn.Parameter(torch.zeros(runs, VECTOR))  # padded, as stacked layers are

    @property
    def temperature(self) -> Tensor:
        """Learned temperature of each run, [R]."""
        return at_least_float32(self._log_temperature[:, 0]).exp()

    @torch.no_grad()
    def init_temperature(self, temperatures: Sequence[float]) -> None:
        """Set the initial learned temperature of each run.

        Args:
            temperatures: one per run, R.
        """
        self._log_temperature[:, 0] = torch.tensor(temperatures, dtype=torch.float64).log()

    @torch.no_grad()
    def init_prior(self, log_prior: Tensor) -> None:
        """Set the log prior over experts, [R, K], of a gate without a network; others learn from zero.

        Args:
            log_prior: log pi, [R, K].
        """
        if self.network is None:
            self.expert_bias.copy_(log_prior)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the experts.

        Args:
            x: images as the gate reads them, [R, B, D].

        Returns:
            gate_logits, [R, K, B].

        Raises:
            TypeError: the gate has no network.
        """
        if self.network is None:
            raise TypeError("a gate without a network computes no logits; see Mixture.gate_logits")
        return self.network(x).transpose(1, 2) + self.expert_bias.unsqueeze(-1)

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        runs, experts = self.expert_bias.shape
        return f"runs={runs}, num_experts={experts}"


def gate_log_probs(gate_logits: Tensor, temperature: Tensor) -> Tensor:
    """Return the log-probabilities of the experts: a log-softmax at a temperature.

    Args:
        gate_logits: logits of the gate, [R, K, B].
        temperature: divides the logits, [R].

    Returns:
        log q(k|x), [R, K, B], in float32 or wider.
    """
    return torch.log_softmax(at_least_float32(gate_logits) / temperature[:, None, None], dim=1)
