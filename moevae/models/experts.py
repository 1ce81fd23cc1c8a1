"""The K expert VAEs of all runs, as stacked tensors."""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch import Tensor, nn

from moevae.config.schema import ModelConfig
from moevae.distributions import at_least_float32, bernoulli_log_prob, gaussian_log_prob, kl_standard_normal
from moevae.models import architecture
from moevae.models.autoregressive import Context
from moevae.models.dispatch import Dispatch
from moevae.nn.deformation import Deformation, latent_size
from moevae.nn.linear import Affine
from moevae.nn.sequential import BranchingNetwork, StackedNetwork
from moevae.utils.devices import sent
from moevae.utils.rng import generator

STARTING_STD = 0.3
"""Of the learned Gaussian likelihood, in pixel units."""
STARTING_LOGVAR = -2.0
"""Of the latents of deformable experts."""
STD_MOMENTUM = 0.02
"""Share of a batch in the learned variance."""
LEAST_STD = 1 / 512
"""Half a gray level of 256: a smaller standard deviation of pixels means nothing."""


class Experts(nn.Module):
    """Encoders q_k(z|x), Gaussian with diagonal variance, and decoders p_k(x|z)."""

    log_std: Tensor  # of the learned Gaussian likelihood, [R]

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        stack, activation = (runs, config.num_experts), config.activation
        encoder, decoder = architecture.encoder(config, size), architecture.decoder(config, size)
        self.config = config
        self.encoder = BranchingNetwork(*stack, encoder, activation, architecture.common(config))
        self.decoder = StackedNetwork(stack, decoder, activation)
        self.context = Context(config, runs, size) if architecture.context(config) else None
        if config.gaussian_std == "learned":
            self.register_buffer("log_std", torch.full((runs,), math.log(STARTING_STD)))

    @property
    def deformation(self) -> Deformation | None:
        """The templates and what deforms them, where the decoder is deformable."""
        first = self.decoder.layers[0]
        return first if isinstance(first, Deformation) else None

    @torch.no_grad()
    def start_undeformed(self) -> None:
        """Let the encoders of deformable experts answer z = 0 for every image, surely enough."""
        if self.deformation is None:
            return
        last = self.encoder.rest.layers[-1] if self.encoder.rest.layers else self.encoder.first
        head = cast(Affine, last)
        head.weight.zero_()
        latents = latent_size(self.config)
        head.bias.unflatten(-1, (-1, 2, latents))[..., 1, :] = STARTING_LOGVAR

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q_k(z|x), [R, K, B, Z] each, of images x, [R, B, D]."""
        return self._posterior(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Return the logits of pixels, [R, K, B, D]; z [R, K, B, Z].

        What a pixel owes to pixels before it is not in it. Where the likelihood is Gaussian, deformable
        experts return the mean of the pixels in place of logits.
        """
        return self._output(self.decoder(z))

    def mean(self, z: Tensor) -> Tensor:
        """Return the mean image E[x|z, k] in [0, 1], [R, K, B, D]; z [R, K, B, Z].

        Where pixels depend on pixels: the probability of each, given those before it as they are drawn. The
        draws behind them are the same for all z, so that near latents give near images.
        """
        logits = self.decode(z)
        if self.context is not None:
            uniform = torch.rand(logits.shape[-1], generator=generator(0, "pixels")).to(logits)
            return self.context.drawn(logits, uniform)
        if self._draws_mean:
            return logits.clamp(0, 1)
        # Run by run: vectorized code rounds the last few elements of a tensor in another way.
        return torch.stack([each.sigmoid() for each in logits])

    def recon_log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """Return log p_k(x|z) in nats, [R, K, B S].

        Args:
            z: latents, [R, K, B S, Z], the S of an image side by side.
            x: images, [R, B, D].
        """
        samples = z.shape[2] // x.shape[1]
        logits = self.decode(z)
        if self.context is not None:
            logits = logits + self.context(x).repeat_interleave(samples, 2)
        return self._log_prob(logits, x.repeat_interleave(samples, 1).unsqueeze(1), self._std())

    def dense(self, x: Tensor, noise: Tensor, bound: str = "elbo") -> tuple[Tensor, Tensor]:
        """Return recon_log_prob and kl_z of every expert, [R, K, B] each; see `expert_terms`.

        Args:
            x: images, [R, B, D].
            noise: standard normal draws behind z, [R, K, B S, Z], the S of an image side by side.
            bound: `elbo` or `iwae`.
        """
        mu, logvar = self.encode(x)
        draws = noise.unflatten(2, (x.shape[1], -1))  # [R, K, B, S, Z]
        z = sampled(mu, logvar, draws).flatten(2, 3)
        recon = self.recon_log_prob(z, x)
        return expert_terms(recon.view(draws.shape[:-1]), mu, logvar, draws, bound)

    def sparse(
        self, x: Tensor, noise: Tensor, dispatch: Dispatch, bound: str = "elbo"
    ) -> tuple[Tensor, Tensor]:
        """Return recon_log_prob and kl_z of each choice, [R, C, B] each; see `expert_terms`.

        Args:
            x: images, [R, B, D].
            noise: standard normal draws behind z, [R, C, B S, Z], the S of an image side by side.
            dispatch: of the images to their chosen experts.
            bound: `elbo` or `iwae`.
        """
        mu, logvar = self.encode_rows(x, dispatch)
        draws = dispatch.rows(noise.unflatten(2, (x.shape[1], -1)))  # [T, S, Z]
        rows = dispatch.images(x)
        recon = self.recon_log_prob_rows(
            sampled(mu, logvar, draws), rows, dispatch, self.context_rows(rows, dispatch)
        )
        recon, kl_z = expert_terms(recon, mu, logvar, draws, bound)
        return dispatch.choices(recon), dispatch.choices(kl_z)

    def encode_rows(self, x: Tensor, dispatch: Dispatch) -> tuple[Tensor, Tensor]:
        """Return mu and logvar, [T, Z] each, of dispatched images x, [R, B, D]."""
        read = dispatch.images(self.encoder.shared(x))
        return self._posterior(self.encoder.sparse(read, dispatch.ends))

    def context_rows(self, x: Tensor, dispatch: Dispatch) -> Tensor | None:
        """Return the context's logits, [T, D], of dispatched images x, [T, D]; None where there is none."""
        return None if self.context is None else self.context.sparse(x, dispatch.ends)

    def recon_log_prob_rows(self, z: Tensor, x: Tensor, dispatch: Dispatch, context: Tensor | None) -> Tensor:
        """Return log p(x|z) of S latents a dispatched row, [T, S].

        Args:
            z: latents, [T, S, Z].
            x: images, [T, D].
            dispatch: of the rows.
            context: of the rows, from `context_rows`.
        """
        samples = z.shape[1]
        drawn = self.decoder.sparse(z.flatten(0, 1), [end * samples for end in dispatch.ends])
        logits = self._output(drawn).unflatten(0, (-1, samples))
        if context is not None:
            logits = logits + context.unsqueeze(1)
        return self._log_prob(logits, x.unsqueeze(1), self._std(dispatch))

    def _posterior(self, output: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = at_least_float32(output).chunk(2, dim=-1)
        if self.deformation is not None:
            active = self.deformation.active[0]  # of all runs: they are trained alike
            mu, logvar = mu * active, logvar * active  # what does not deform keeps its prior
        if self.config.variance_floor > 0:
            floor = sent([math.log(self.config.variance_floor)], mu.device, mu.dtype)[0]
            logvar = torch.logaddexp(logvar, floor)
        return mu, logvar

    @property
    def _draws_mean(self) -> bool:
        return self.deformation is not None and self.config.likelihood == "gaussian"

    def _output(self, drawn: Tensor) -> Tensor:
        """Return logits, or the mean itself, from what the decoder drew."""
        if self.deformation is None or self._draws_mean:
            return drawn
        return drawn.clamp(LEAST_STD, 1 - LEAST_STD).logit()

    def _std(self, dispatch: Dispatch | None = None) -> float | Tensor:
        """Return the standard deviation of the Gaussian likelihood, to broadcast with log-densities."""
        if self.config.gaussian_std != "learned":
            return self.config.gaussian_std
        std = self.log_std.exp()
        if dispatch is None:
            return std.view(-1, 1, 1)
        starts = (0, *dispatch.ends[self.config.num_experts - 1 :: self.config.num_experts])
        rows = torch.tensor([end - start for start, end in itertools.pairwise(starts)], device=std.device)
        return std.repeat_interleave(rows).unsqueeze(-1)  # [T, 1]

    def _log_prob(self, logits: Tensor, target: Tensor, std: float | Tensor) -> Tensor:
        if self.config.likelihood == "gaussian":
            drawn = at_least_float32(logits)
            return gaussian_log_prob(drawn if self._draws_mean else drawn.sigmoid(), target, std)
        return bernoulli_log_prob(logits, target)

    @torch.no_grad()
    def update_std(self, recon_log_prob: Tensor, pixels: int) -> None:
        """Move the learned standard deviation towards the one that makes a batch likeliest.

        Args:
            recon_log_prob: log p(x|z) of the batch, weighed by the experts' shares, [R, B].
            pixels: D.
        """
        if self.config.gaussian_std != "learned":
            return
        variance = (2 * self.log_std).exp()
        normalizer = pixels * (self.log_std + 0.5 * math.log(2 * math.pi))
        squared = -2 * variance * (recon_log_prob.mean(-1) + normalizer) / pixels
        moved = torch.lerp(variance, squared, STD_MOMENTUM).clamp_min(LEAST_STD**2)
        # A run whose loss is no number keeps its own last one.
        self.log_std.copy_(torch.where(moved.isfinite(), moved, variance).log() / 2)


def sampled(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return z = mu + exp(logvar / 2) noise, [..., S, Z]; mu and logvar [..., Z], noise [..., S, Z]."""
    return mu.unsqueeze(-2) + (0.5 * logvar).exp().unsqueeze(-2) * noise


def log_weights(recon: Tensor, mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return log p(x, z) / q(z|x) of each sample, [..., S].

    Args:
        recon: log p(x|z), [..., S].
        mu: of q(z|x), [..., Z].
        logvar: of q(z|x), [..., Z].
        noise: what z came from, [..., S, Z].
    """
    z = sampled(mu, logvar, noise)
    return recon + 0.5 * (logvar.unsqueeze(-2) + noise.square() - z.square()).sum(-1)


def expert_terms(
    recon: Tensor, mu: Tensor, logvar: Tensor, noise: Tensor, bound: str
) -> tuple[Tensor, Tensor]:
    """Return the mean of log p(x|z) over samples, and what is to be taken from it for the bound, [...] each.

    For the `elbo` that is KL(q(z|x) || p(z)). For `iwae`, the bound is log mean_s p(x, z_s) / q(z_s|x), of
    Burda, Grosse, Salakhutdinov (2016), importance weighted autoencoders. Arguments as in `log_weights`.
    """
    mean = recon.mean(-1)
    if bound == "elbo":
        return mean, kl_standard_normal(mu, logvar)
    weights = log_weights(recon, mu, logvar, noise)
    return mean, mean - (weights.logsumexp(-1) - math.log(weights.shape[-1]))
