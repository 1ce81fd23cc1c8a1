"""Learned priors of z, one per expert: mixtures of Gaussian distributions, and two layers of latents.

References:
    Tomczak, Welling (2018), VAE with a VampPrior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moevae.config.schema import ModelConfig
from moevae.distributions import at_least_float32
from moevae.models.hierarchical_prior import HierarchicalPrior
from moevae.nn.grouped_linear import grouped_linear
from moevae.nn.stacked import Stacked
from moevae.utils.rng import generator

_DARK = -3.0
"""Mean logit of the pixels of initial pseudo-inputs: most pixels of an image are dark."""

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function from images of each expert, [R, K, M, D], to mu and logvar of q(z|x), [R, K, M, Z] each."""


class LatentDistribution(Protocol):
    """Distributions p_k(z) of the latents of all experts; `Components` and `HierarchicalPrior` are such."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p_k(z) in nats, [R, K, N]; z [R, K, N, Z]."""
        ...

    def log_prob_rows(self, z: Tensor, ends: Sequence[int]) -> Tensor:
        """Return log p_k(z) in nats, [T, S], of rows z, [T, S, Z], that end at `ends` by run and expert."""
        ...

    def kl(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return KL(q_k(z|x) || p_k(z)) in nats without noise, exact or not, [R, K, B]."""
        ...

    def sample(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Return samples, [R, K, N, Z], from normal draws of that shape and N draws on [0, 1)."""
        ...


class LearnedPrior(Protocol):
    """The module of a kind of `model.latent_prior`."""

    def __init__(self, runs: int, config: ModelConfig, pixels: int) -> None: ...

    @staticmethod
    def num_weights(config: ModelConfig, pixels: int) -> int:
        """Return the number of learned values of an expert."""
        ...

    @staticmethod
    def values_in_memory(config: ModelConfig) -> int:
        """Return the values that a log-density keeps per sample of z."""
        ...

    def distribution(self, encode: Encode) -> LatentDistribution:
        """Return the distributions with the present parameters, and with the present encoders."""
        ...


@dataclass(frozen=True)
class Components:
    """M Gaussian distributions with diagonal covariance per run and expert, and their weights."""

    mu: Tensor
    """Means, [R, K, M, Z]."""
    logvar: Tensor
    """Log-variances, [R, K, M, Z]."""
    log_weights: Tensor
    """Log weights, which sum to one, [R, K, M]."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p_k(z).

        Args:
            z: latents, [R, K, N, Z].

        Returns:
            Log-densities in nats, [R, K, N].
        """
        weight, bias = self._affine()
        products = torch.baddbmm(
            bias.flatten(0, 1).unsqueeze(1), _features(z).flatten(0, 1), weight.flatten(0, 1)
        )
        return products.logsumexp(-1).view(z.shape[:-1])

    def log_prob_rows(self, z: Tensor, ends: Sequence[int]) -> Tensor:
        """Return log p_k(z) of rows that are sorted by run and expert.

        Args:
            z: latents, [T, S, Z].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Log-densities in nats, [T, S].
        """
        samples = z.shape[1]
        rows = _features(z.flatten(0, 1))
        products = grouped_linear(rows, *self._affine(), [end * samples for end in ends])
        return products.logsumexp(-1).view(z.shape[:-1])

    def kl(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return an upper bound on KL(q_k(z|x) || p_k(z)), exact for one component.

        Args:
            mu: means of q, [R, K, B, Z].
            logvar: log-variances of q, [R, K, B, Z].

        Returns:
            -log sum_m w_m exp(-KL(q || N_m)) in nats, [R, K, B].

        References:
            Hershey, Olsen (2007), approximating the Kullback Leibler divergence between Gaussian mixture
            models.
        """
        weight, bias = self._affine()
        moments = torch.cat([mu.square() + logvar.exp(), mu], -1)
        expected = torch.baddbmm(bias.flatten(0, 1).unsqueeze(1), moments.flatten(0, 1), weight.flatten(0, 1))
        entropy = 0.5 * (logvar + 1 + math.log(2 * math.pi)).sum(-1)
        return -entropy - expected.logsumexp(-1).view(mu.shape[:-1])

    def sample(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Return samples of the prior.

        Args:
            noise: standard normal draws, [R, K, N, Z].
            uniform: draws on [0, 1) that choose the components, [N].

        Returns:
            Latents, [R, K, N, Z].
        """
        upper = self.log_weights.exp().cumsum(-1)
        chosen = (uniform >= upper[..., :-1].unsqueeze(-1)).sum(-2)  # [R, K, N]
        there = chosen.unsqueeze(-1).expand_as(noise)
        return self.mu.gather(2, there) + (0.5 * self.logvar.gather(2, there)).exp() * noise

    def _affine(self) -> tuple[Tensor, Tensor]:
        """Return log w_m + log N_m(z) as a linear map of z^2 and z: [R, K, 2 Z, M] and [R, K, M]."""
        precision = (-self.logvar).exp()
        weight = torch.cat([-0.5 * precision, self.mu * precision], -1).transpose(-1, -2)
        squares = self.mu.square() * precision + self.logvar + math.log(2 * math.pi)
        return weight, self.log_weights - 0.5 * squares.sum(-1)


class GaussianMixture(Stacked):
    """A prior with learned means, variances and weights.

    Args:
        runs: R.
        config: sizes and kinds of the networks.
        pixels: D.
    """

    def __init__(self, runs: int, config: ModelConfig, pixels: int) -> None:
        shape = (runs, config.num_experts, config.prior_components)
        latent = (*shape, config.latent_dim)
        super().__init__(mean=latent, logvar=latent, logit=shape)
        self.expert_parameters = tuple(self.shapes)

    @staticmethod
    def num_weights(config: ModelConfig, pixels: int) -> int:
        """Return the number of learned values of an expert."""
        return config.prior_components * (2 * config.latent_dim + 1)

    @staticmethod
    def values_in_memory(config: ModelConfig) -> int:
        """Return the values that a log-density keeps per sample of z."""
        return 4 * config.latent_dim + 3 * config.prior_components

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Initialize standard normal means, variances of 1, and equal weights.

        Args:
            generators: one per run, R.
        """
        for run, source in zip(self.unpadded("mean"), generators, strict=True):
            run.normal_(generator=source)

    def distribution(self, encode: Encode | None = None) -> Components:
        """Return the components.

        Args:
            encode: unused.
        """
        mean, logvar, logit = (at_least_float32(self.unpadded(name)) for name in self.shapes)
        return Components(mean, logvar, logit.log_softmax(-1))


class PseudoInputs(Stacked):
    """A prior that is the mean of the encoder's distributions at learned images, the VampPrior.

    Args:
        runs: R.
        config: sizes and kinds of the networks.
        pixels: D.
    """

    def __init__(self, runs: int, config: ModelConfig, pixels: int) -> None:
        super().__init__(logit=(runs, config.num_experts, config.prior_components, pixels))
        self.expert_parameters = tuple(self.shapes)

    @staticmethod
    def num_weights(config: ModelConfig, pixels: int) -> int:
        """Return the number of learned values of an expert."""
        return config.prior_components * pixels

    @staticmethod
    def values_in_memory(config: ModelConfig) -> int:
        """Return the values that a log-density keeps per sample of z."""
        return GaussianMixture.values_in_memory(config)

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Initialize dark images of independent pixels.

        Args:
            generators: one per run, R.
        """
        for run, source in zip(self.unpadded("logit"), generators, strict=True):
            run.normal_(_DARK, 1.0, generator=source)

    def images(self) -> Tensor:
        """Return the images, with pixels in (0, 1), [R, K, M, D]."""
        # By tanh: the rounding of torch's sigmoid depends on the position in a tensor, and so on other runs.
        return 0.5 + 0.5 * torch.tanh(0.5 * self.unpadded("logit"))

    def distribution(self, encode: Encode) -> Components:
        """Return the components.

        Args:
            encode: encodes the images.
        """
        mu, logvar = encode(self.images())
        equal = mu.new_full(mu.shape[:-1], -math.log(mu.shape[2]))
        return Components(mu, logvar, equal)


PRIORS: dict[str, type[LearnedPrior]] = {
    "mixture": GaussianMixture,
    "vamp": PseudoInputs,
    "hierarchical": HierarchicalPrior,
}
"""The learned kinds of `model.latent_prior`."""


def component_draws(count: int) -> Tensor:
    """Return the uniform draws that choose the components of samples, the same at every call, [count].

    Args:
        count: number of samples, N.
    """
    return torch.rand(count, generator=generator(0, "components"))


def _features(z: Tensor) -> Tensor:
    return torch.cat([z.square(), z], -1)
