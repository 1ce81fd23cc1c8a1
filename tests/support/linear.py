"""Linear experts with Gaussian noise, in float64: log p(x), ELBO_k and their mixtures have closed forms."""

from __future__ import annotations

import torch
from small import normal
from torch import Tensor, distributions

from moevae.models.dispatch import Dispatch
from moevae.utils.rng import RunGenerators

STD = 0.8


class Linear:
    """Experts x = W z + b + noise of std 0.8, whose encoders differ from the posterior."""

    def __init__(
        self, num_experts: int, latents: int, pixels: int, off: float = 0.3, alike: bool = False
    ) -> None:
        self.weight = normal(num_experts, latents, pixels, seed=1)
        self.bias = normal(num_experts, 1, pixels, seed=2)
        if alike:
            self.weight[:], self.bias[:] = self.weight[:1].clone(), self.bias[:1].clone()
        self.precision = torch.eye(latents, dtype=torch.float64) + self.weight @ self.weight.mT / STD**2
        self.off = off

    def of(self, ends: tuple[int, ...]) -> Tensor:
        """The expert of each row."""
        counts = torch.tensor(ends).diff(prepend=torch.zeros(1)).long()
        return torch.arange(len(self.weight)).repeat_interleave(counts)

    def encode_rows(self, x: Tensor, dispatch: Dispatch) -> tuple[Tensor, Tensor]:
        return self.encode(dispatch.images(x), self.of(dispatch.ends))

    def encode(self, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar, [T, Z], of images [T, D] by their experts [T]."""
        residual = (x.unsqueeze(1) - self.bias[k]) @ self.weight[k].mT / STD**2  # [T, 1, Z]
        mu = torch.linalg.solve(self.precision[k], residual.squeeze(1))
        return mu + self.off, -self.precision[k].diagonal(dim1=-2, dim2=-1).log()

    def learned_prior(self) -> None:
        return None

    def context_rows(self, x: Tensor, dispatch: Dispatch) -> None:
        return None

    def recon_log_prob_rows(self, z: Tensor, x: Tensor, dispatch: Dispatch, context: None) -> Tensor:
        k = self.of(dispatch.ends)
        mean = z @ self.weight[k] + self.bias[k]
        return distributions.Normal(mean, STD).log_prob(x.unsqueeze(1)).sum(-1)

    def expert_log_prob(self, x: Tensor) -> Tensor:
        """Exact log p(x|k), [K, B]."""
        covariance = self.weight.mT @ self.weight + STD**2 * torch.eye(x.shape[-1])
        each = zip(self.bias[:, 0], covariance, strict=True)
        return torch.stack([distributions.MultivariateNormal(*one).log_prob(x) for one in each])

    def expert_elbo(self, x: Tensor) -> Tensor:
        """Exact ELBO_k(x) = log p(x|k) - KL(q_k(z|x) || p_k(z|x)), [K, B]."""
        bounds = []
        for k, log_prob in enumerate(self.expert_log_prob(x)):
            mu, logvar = self.encode(x, torch.full((len(x),), k))
            encoder = distributions.MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
            posterior = distributions.MultivariateNormal(mu - self.off, precision_matrix=self.precision[k])
            bounds.append(log_prob - distributions.kl_divergence(encoder, posterior))
        return torch.stack(bounds)

    def log_prob(self, x: Tensor, log_prior: Tensor) -> Tensor:
        """Exact log p(x), [B]."""
        return (self.expert_log_prob(x) + log_prior.unsqueeze(-1)).logsumexp(0)


class Double(RunGenerators):
    """Draws in float64."""

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).double()
