"""A prior of two layers of latents, z = (z1, z2), whose upper layer determines the distribution of the lower.

References:
    Tomczak, Welling (2018), VAE with a VampPrior: the hierarchical VAE, whose decoder reads both layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from moevae.config.schema import ModelConfig
from moevae.distributions import at_least_float32, kl_standard_normal
from moevae.models import architecture
from moevae.nn.linear import Affine
from moevae.nn.sequential import StackedNetwork

_INITIAL_SCALE = 0.1
"""Factor of the initial weights of the last layer: p(z1|z2) is then close to the standard normal
distribution, and gradients reach all layers."""


class HierarchicalPrior(nn.Module):
    """The prior p(z2) = N(0, I), p(z1|z2) = N(m(z2), diag s(z2)^2), with m and log s^2 of a perceptron.

    z1, the lower layer, is the first half of z, and z2, the upper layer, is the rest. The posterior remains
    q(z1|x) q(z2|x), independent of the prior: the ELBO and the IWAE bound are estimated from log p(z), which
    is exact, and log q(z|x), and are bounds for any m and s.

    Args:
        runs: R.
        config: sizes and kinds of the networks.
        pixels: D.

    References:
        Tomczak, Welling (2018), VAE with a VampPrior. Their posterior of z1 also reads z2.
        Burda, Grosse, Salakhutdinov (2016), importance weighted autoencoders.
    """

    def __init__(self, runs: int, config: ModelConfig, pixels: int) -> None:
        super().__init__()
        plan = architecture.hierarchical_prior(config)
        self.network = StackedNetwork((runs, config.num_experts), plan, config.activation)
        cast(Affine, self.network.layers[-1]).bound *= _INITIAL_SCALE
        self.lower = config.latent_dim - architecture.upper_latents(config)

    @staticmethod
    def num_weights(config: ModelConfig, pixels: int) -> int:
        """Return the number of weights of an expert."""
        return sum(layer.weights for layer in architecture.hierarchical_prior(config))

    @staticmethod
    def values_in_memory(config: ModelConfig) -> int:
        """Return the values that a log-density keeps per sample of z."""
        plan = architecture.hierarchical_prior(config)
        return 4 * config.latent_dim + max(layer.values_in_memory for layer in plan)

    def distribution(self, encode: object = None) -> HierarchicalPrior:
        """Return the distribution, which has no other parameters than the module.

        Args:
            encode: unused.
        """
        return self

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p_k(z) = log p_k(z1|z2) + log p(z2).

        Args:
            z: latents, [R, K, N, Z].

        Returns:
            Log-densities in nats, [R, K, N].
        """
        return self._log_prob(z, self.network(z[..., self.lower :]))

    def log_prob_rows(self, z: Tensor, ends: Sequence[int]) -> Tensor:
        """Return log p_k(z) of rows that are sorted by run and expert.

        Args:
            z: latents, [T, S, Z].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Log-densities in nats, [T, S].
        """
        samples, rows = z.shape[1], z.flatten(0, 1)
        found = self.network.sparse(rows[:, self.lower :], [end * samples for end in ends])
        return self._log_prob(rows, found).view(z.shape[:-1])

    def kl(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return an estimate of KL(q_k(z|x) || p_k(z)) without noise: p(z1|z2) at the mean of z2.

        The divergence of z2 is exact. The estimate is exact if m and s do not depend on z2.

        Args:
            mu: means of q, [R, K, B, Z].
            logvar: log-variances of q, [R, K, B, Z].

        Returns:
            KL(q(z1|x) || p(z1|z2 = mean)) + KL(q(z2|x) || N(0, I)) in nats, [R, K, B].
        """
        (mu1, mu2), (logvar1, logvar2) = self._layers(mu), self._layers(logvar)
        mean, prior_logvar = self._moments(self.network(mu2))
        apart = logvar1 - prior_logvar
        squares = (mu1 - mean).square() * (-prior_logvar).exp()
        return 0.5 * (squares + apart.exp() - 1 - apart).sum(-1) + kl_standard_normal(mu2, logvar2)

    def sample(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Return samples of the prior.

        Args:
            noise: standard normal draws, [R, K, N, Z].
            uniform: unused.

        Returns:
            Latents, [R, K, N, Z].
        """
        lower, upper = self._layers(noise)
        mean, logvar = self._moments(self.network(upper))
        return torch.cat([mean + (0.5 * logvar).exp() * lower, upper], -1)

    def _layers(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Split latents, or parameters of them, [..., Z], into those of the two layers."""
        return z[..., : self.lower], z[..., self.lower :]

    def _moments(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split the output of the network into m and log s^2, in float32 or wider."""
        mean, logvar = at_least_float32(output).chunk(2, -1)
        return mean, logvar

    def _log_prob(self, z: Tensor, output: Tensor) -> Tensor:
        """Return log p_k(z), [...], from the output of the network; z [..., Z]."""
        (lower, upper), (mean, logvar) = self._layers(z), self._moments(output)
        terms = [(lower - mean).square() * (-logvar).exp() + logvar, upper.square()]
        return -0.5 * (torch.cat(terms, -1) + math.log(2 * math.pi)).sum(-1)
