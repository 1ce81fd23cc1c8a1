"""The K expert VAEs of all runs, as stacked tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moevae.config import ModelConfig
from moevae.densities import at_least_float32, bernoulli_log_prob, gaussian_log_prob, kl_standard_normal
from moevae.nn import SharedInputMLP, StackedMLP


class Experts(nn.Module):
    """Encoders q_k(z|x), Gaussian with diagonal variance, and decoders p_k(x|z)."""

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        pixels = math.prod(size)
        hidden, latent = config.expert_hidden, config.latent_dim
        self.config = config
        self.encoder = SharedInputMLP(
            runs, config.num_experts, (pixels, *hidden, 2 * latent), config.activation
        )
        self.decoder = StackedMLP(
            (runs, config.num_experts), (latent, *reversed(hidden), pixels), config.activation
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q_k(z|x), [R, K, B, Z] each, of images x, [R, B, D]."""
        return self._posterior(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Return the decoders' last layer, [R, K, B, D], before its sigmoid; z [R, K, B, Z]."""
        return self.decoder(z)

    def mean(self, z: Tensor) -> Tensor:
        """Return the mean image E[x|z, k] in [0, 1], [R, K, B, D]; z [R, K, B, Z]."""
        return self.decode(z).sigmoid()

    def recon_log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """Return log p_k(x|z) in nats, [R, K, B]; z [R, K, B, Z], x [R, B, D]."""
        return self._log_prob(self.decode(z), x.unsqueeze(1))

    def sparse(self, x: Tensor, noise: Tensor, ends: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and KL(q(z|x) || p(z)), [T] each, of rows sorted by run and expert.

        Args:
            x: an image a row, [T, D].
            noise: standard normal draws behind z, [T, Z].
            ends: where each expert's rows end, R K numbers.
        """
        mu, logvar = self._posterior(self.encoder.sparse(x, ends))
        z = mu + (0.5 * logvar).exp() * noise
        return self._log_prob(self.decoder.sparse(z, ends), x), kl_standard_normal(mu, logvar)

    def _posterior(self, output: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = at_least_float32(output).chunk(2, dim=-1)
        if self.config.variance_floor > 0:
            floor = torch.tensor(math.log(self.config.variance_floor), dtype=mu.dtype, device=mu.device)
            logvar = torch.logaddexp(logvar, floor)
        return mu, logvar

    def _log_prob(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.config.likelihood == "gaussian":
            mean = at_least_float32(logits).sigmoid()
            return gaussian_log_prob(mean, target, self.config.gaussian_std)
        return bernoulli_log_prob(logits, target)
