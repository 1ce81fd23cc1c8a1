"""The K expert VAEs of all runs, as stacked tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from moevae import architecture
from moevae.config import ModelConfig
from moevae.densities import at_least_float32, bernoulli_log_prob, gaussian_log_prob, kl_standard_normal
from moevae.dispatch import Dispatch
from moevae.networks import BranchingNetwork, StackedNetwork


class Experts(nn.Module):
    """Encoders q_k(z|x), Gaussian with diagonal variance, and decoders p_k(x|z)."""

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        stack, activation = (runs, config.num_experts), config.activation
        encoder, decoder = architecture.encoder(config, size), architecture.decoder(config, size)
        self.config = config
        self.encoder = BranchingNetwork(*stack, encoder, activation, architecture.common(config))
        self.decoder = StackedNetwork(stack, decoder, activation)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q_k(z|x), [R, K, B, Z] each, of images x, [R, B, D]."""
        return self._posterior(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Return the decoders' last layer, [R, K, B, D], before its sigmoid; z [R, K, B, Z]."""
        return self.decoder(z)

    def mean(self, z: Tensor) -> Tensor:
        """Return the mean image E[x|z, k] in [0, 1], [R, K, B, D]; z [R, K, B, Z]."""
        # Run by run: vectorized code rounds the last few elements of a tensor in another way.
        return torch.stack([logits.sigmoid() for logits in self.decode(z)])

    def recon_log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """Return log p_k(x|z) in nats, [R, K, B]; z [R, K, B, Z], x [R, B, D]."""
        return self._log_prob(self.decode(z), x.unsqueeze(1))

    def sparse(self, x: Tensor, noise: Tensor, dispatch: Dispatch) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and KL(q(z|x) || p(z)) of each choice, [R, S, B] each.

        Args:
            x: images, [R, B, D].
            noise: standard normal draws behind z, [R, S, B, Z].
            dispatch: of the images to their chosen experts.
        """
        read = dispatch.images(self.encoder.shared(x))
        mu, logvar = self._posterior(self.encoder.sparse(read, dispatch.ends))
        z = mu + (0.5 * logvar).exp() * dispatch.rows(noise)
        recon = self._log_prob(self.decoder.sparse(z, dispatch.ends), dispatch.images(x))
        return dispatch.choices(recon), dispatch.choices(kl_standard_normal(mu, logvar))

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
