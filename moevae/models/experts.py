"""The K expert VAEs of all runs, as stacked tensors.

References:
    Kingma, Welling (2014), auto-encoding variational Bayes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from moevae.config.schema import ModelConfig
from moevae.distributions import (
    at_least_float32,
    bernoulli_log_prob,
    bernoulli_log_prob_alone,
    gaussian_log_prob,
    kl_standard_normal,
    logit_alone,
    sigmoid_alone,
)
from moevae.models import architecture
from moevae.models.autoregressive import CONTEXTS
from moevae.models.dispatch import Dispatch
from moevae.models.expert_bound import expert_terms, reparameterize
from moevae.models.latent_prior import PRIORS, LatentDistribution, LearnedPrior, component_draws
from moevae.models.learned_std import INITIAL_STD, MIN_STD, updated_log_std
from moevae.nn.deformation import Deformation, latent_size
from moevae.nn.linear import Affine
from moevae.nn.sequential import BranchingNetwork, StackedNetwork
from moevae.utils.devices import to_device
from moevae.utils.rng import generator

INITIAL_LOGVAR = -2.0
"""Initial log-variance of the latents of deformable experts."""


class Experts(nn.Module):
    """Encoders q_k(z|x), Gaussian with diagonal covariance, and decoders p_k(x|z).

    Args:
        config: sizes and kinds of the networks.
        runs: R.
        size: height and width of an image, in pixels.
    """

    log_std: Tensor
    """Log standard deviation of the learned Gaussian likelihood, [R]; absent if it is not learned."""

    def __init__(self, config: ModelConfig, runs: int, size: tuple[int, int]) -> None:
        super().__init__()
        stack, activation = (runs, config.num_experts), config.activation
        encoder, decoder = architecture.encoder(config, size), architecture.decoder(config, size)
        self.config = config
        self.encoder = BranchingNetwork(*stack, encoder, activation, architecture.num_shared_layers(config))
        self.decoder = StackedNetwork(stack, decoder, activation)
        depends = config.likelihood == "autoregressive"
        self.context = CONTEXTS[config.pixel_network](config, runs, size) if depends else None
        self.latent_prior: LearnedPrior | None = None
        if config.latent_prior != "normal":
            self.latent_prior = PRIORS[config.latent_prior](runs, config, math.prod(size))
        self.kl_weight = 1.0
        if config.gaussian_std == "learned":
            self.register_buffer("log_std", torch.full((runs,), math.log(INITIAL_STD)))

    @property
    def deformation(self) -> Deformation | None:
        """The templates and their deformations; None if the decoder is not deformable."""
        first = self.decoder.layers[0]
        return first if isinstance(first, Deformation) else None

    @torch.no_grad()
    def init_undeformed(self) -> None:
        """Initialize the encoders of deformable experts: mu = 0 and a small variance for every image."""
        if self.deformation is None:
            return
        last = self.encoder.rest.layers[-1] if self.encoder.rest.layers else self.encoder.first
        head = cast(Affine, last)
        head.weight.zero_()
        latents = latent_size(self.config)
        head.bias.unflatten(-1, (-1, 2, latents))[..., 1, :] = INITIAL_LOGVAR

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parameters of q_k(z|x).

        Args:
            x: images as the likelihood sees them, [R, B, D].

        Returns:
            mu and logvar, [R, K, B, Z] each.
        """
        return self._posterior(self.encoder(x))

    def decode(self, z: Tensor, alone: bool = False) -> Tensor:
        """Return the logits of the pixels, without the context of autoregressive pixels.

        With a Gaussian likelihood, deformable experts return the means of the pixels instead.

        Args:
            z: latents, [R, K, B, Z].
            alone: whether the rounding does not depend on the position in z; training and evaluation use
                faster functions.

        Returns:
            Logits, [R, K, B, D].
        """
        return self._output(self.decoder(z), alone)

    def mean(self, z: Tensor, alone: bool = False, uniform: Tensor | None = None) -> Tensor:
        """Return the mean images E[x|z, k].

        With autoregressive pixels, this is the probability of each pixel given the preceding sampled ones.

        Args:
            z: latents, [R, K, B, Z].
            alone: see `decode`.
            uniform: draws on [0, 1) that sample autoregressive pixels, [R, K, B, D]; the sampled image is 1
                where they are below the result. None shares the same draws between all z, so that similar
                latents give similar images.

        Returns:
            Images with pixels in [0, 1], [R, K, B, D].
        """
        logits = self.decode(z, alone)
        if self.context is not None:
            if uniform is None:
                uniform = torch.rand(logits.shape[-1], generator=generator(0, "pixels"))
            return self.context.sample_probs(logits, uniform.to(logits))
        if self._draws_mean:
            return logits.clamp(0, 1)
        if alone:
            return sigmoid_alone(logits)
        # Per run: vectorized code rounds the last few elements of a tensor differently.
        return torch.stack([each.sigmoid() for each in logits])

    def recon_log_prob(self, z: Tensor, x: Tensor, alone: bool = False) -> Tensor:
        """Return the reconstruction term log p_k(x|z).

        Args:
            z: latents; the S samples of an image are adjacent, [R, K, B S, Z].
            x: images as the likelihood sees them, [R, B, D].
            alone: see `decode`.

        Returns:
            Log-probabilities in nats, [R, K, B S].
        """
        samples = z.shape[2] // x.shape[1]
        logits = self.decode(z, alone)
        if self.context is not None:
            logits = logits + self.context(x).repeat_interleave(samples, 2)
        return self._log_prob(logits, x.repeat_interleave(samples, 1).unsqueeze(1), self._std(), alone)

    def dense(self, x: Tensor, noise: Tensor, bound: str = "elbo") -> tuple[Tensor, Tensor]:
        """Return recon_log_prob and kl_z of all experts; see `expert_terms`.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            noise: standard normal draws for z; the S draws of an image are adjacent, [R, K, B S, Z].
            bound: `elbo` or `iwae`.

        Returns:
            The two terms in nats, [R, K, B] each.
        """
        mu, logvar = self.encode(x)
        draws = noise.unflatten(2, (x.shape[1], -1))  # [R, K, B, S, Z]
        z = reparameterize(mu, logvar, draws).flatten(2, 3)
        recon = self.recon_log_prob(z, x).view(draws.shape[:-1])
        prior = self.learned_prior()
        log_prior = None if prior is None else prior.log_prob(z).view(draws.shape[:-1])
        return expert_terms(recon, mu, logvar, draws, bound, log_prior, self.kl_weight)

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """Return ELBO_k at the mean latent, without a gradient: what experts are compared by, [R, K, B].

        With a learned prior of z, the divergence is that of `LatentDistribution.kl`: an upper bound for
        mixtures, an estimate for two layers. It has its full weight, also while training raises it.

        Args:
            x: images as the likelihood sees them, [R, B, D].
        """
        mu, logvar = self.encode(x)
        prior = self.learned_prior()
        kl_z = kl_standard_normal(mu, logvar) if prior is None else prior.kl(mu, logvar)
        fits = self.deformation is not None and self.context is None
        recon = self._recon_in_chunks(mu, x) if fits else self.recon_log_prob(mu, x)
        return recon - kl_z

    def _recon_in_chunks(self, z: Tensor, x: Tensor) -> Tensor:
        """Return `recon_log_prob` of deformable experts for one z per image, without a gradient.

        One expert at a time: its displaced images stay in the cache of a core.
        """
        std, found = self._std(), []
        for here, drawn in cast(Deformation, self.deformation).in_chunks(z, groups=1):
            run = here.start // z.shape[1]
            own = std[run] if isinstance(std, Tensor) else std
            found.append(self._log_prob(self._output(drawn), x[run], own))
        return torch.cat(found).view(z.shape[:3])

    def sparse(
        self, x: Tensor, noise: Tensor, dispatch: Dispatch, bound: str = "elbo"
    ) -> tuple[Tensor, Tensor]:
        """Return recon_log_prob and kl_z of the chosen experts; see `expert_terms`.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            noise: standard normal draws for z; the S draws of an image are adjacent, [R, C, B S, Z].
            dispatch: the chosen experts of the images.
            bound: `elbo` or `iwae`.

        Returns:
            The two terms in nats, [R, C, B] each.
        """
        mu, logvar = self.encode_rows(x, dispatch)
        draws = dispatch.rows(noise.unflatten(2, (x.shape[1], -1)))  # [T, S, Z]
        rows = dispatch.images(x)
        z = reparameterize(mu, logvar, draws)
        recon = self.recon_log_prob_rows(z, rows, dispatch, self.context_rows(x, dispatch))
        prior = self.learned_prior()
        log_prior = None if prior is None else prior.log_prob_rows(z, dispatch.ends)
        recon, kl_z = expert_terms(recon, mu, logvar, draws, bound, log_prior, self.kl_weight)
        return dispatch.choices(recon), dispatch.choices(kl_z)

    def encode_rows(self, x: Tensor, dispatch: Dispatch) -> tuple[Tensor, Tensor]:
        """Return the parameters of q_k(z|x) for the chosen experts.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            dispatch: the chosen experts of the images.

        Returns:
            mu and logvar, [T, Z] each.
        """
        read = dispatch.images(self.encoder.shared(x))
        return self._posterior(self.encoder.sparse(read, dispatch.ends))

    def learned_prior(self) -> LatentDistribution | None:
        """Return the prior of z; None if it is standard normal."""
        return None if self.latent_prior is None else self.latent_prior.distribution(self._encode_own)

    def prior_samples(self, noise: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Return samples of the prior of z.

        Args:
            noise: standard normal draws, which are the samples if the prior is standard normal, [R, K, N, Z].
            uniform: draws on [0, 1) that choose the components of a mixture, [N]; None uses the same draws at
                every call.

        Returns:
            Latents, [R, K, N, Z].
        """
        prior = self.learned_prior()
        if prior is None:
            return noise
        draws = component_draws(noise.shape[2]) if uniform is None else uniform
        return prior.sample(noise, draws.to(noise))

    def _encode_own(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of images of each expert, [R, K, M, Z] each; images [R, K, M, D]."""
        runs, experts, count, _ = images.shape
        ends = [count * group for group in range(1, 1 + runs * experts)]
        read = self.encoder.shared(images.flatten(1, 2)).flatten(0, 1)
        mu, logvar = self._posterior(self.encoder.sparse(read, ends))
        return mu.view(runs, experts, count, -1), logvar.view(runs, experts, count, -1)

    def context_rows(self, x: Tensor, dispatch: Dispatch) -> Tensor | None:
        """Return the logits of the context network, [T, D]; None if the pixels are independent.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            dispatch: the chosen experts of the images.
        """
        return None if self.context is None else self.context.rows(x, dispatch)

    def recon_log_prob_rows(self, z: Tensor, x: Tensor, dispatch: Dispatch, context: Tensor | None) -> Tensor:
        """Return the reconstruction term log p_k(x|z) for the chosen experts.

        Args:
            z: latents, [T, S, Z].
            x: images of the rows, [T, D].
            dispatch: the rows.
            context: logits of the context network, from `context_rows`, [T, D].

        Returns:
            Log-probabilities in nats, [T, S].
        """
        samples = z.shape[1]
        drawn = self.decoder.sparse(z.flatten(0, 1), [end * samples for end in dispatch.ends])
        logits = self._output(drawn).unflatten(0, (-1, samples))
        if context is not None:
            logits = logits + context.unsqueeze(1)
        # By run, since the rounding of a row depends on its place among the others.
        by_run, std = (dispatch.shape[0], -1), self._std(dispatch)
        found = self._log_prob(
            logits.unflatten(0, by_run),
            x.unsqueeze(1).unflatten(0, by_run),
            std.unflatten(0, by_run) if isinstance(std, Tensor) else std,
        )
        return found.flatten(0, 1)

    def _posterior(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split the output of an encoder into mu and logvar, [..., Z] each; output [..., 2 Z]."""
        mu, logvar = at_least_float32(output).chunk(2, dim=-1)
        if self.deformation is not None:
            active = self.deformation.active[0]  # the same for all runs
            mu, logvar = mu * active, logvar * active  # inactive latents keep the prior
        if self.config.variance_floor > 0:
            floor = to_device([math.log(self.config.variance_floor)], mu.device, mu.dtype)[0]
            logvar = torch.logaddexp(logvar, floor)
        return mu, logvar

    @property
    def _draws_mean(self) -> bool:
        """Whether the decoder returns the means of the pixels instead of logits."""
        return self.deformation is not None and self.config.likelihood == "gaussian"

    def _output(self, drawn: Tensor, alone: bool = False) -> Tensor:
        """Return logits, or means, from the output of the decoder, [..., D]."""
        if self.deformation is None or self._draws_mean:
            return drawn
        shares = drawn.clamp(MIN_STD, 1 - MIN_STD)
        return logit_alone(shares) if alone else shares.logit()

    def _std(self, dispatch: Dispatch | None = None) -> float | Tensor:
        """Return the standard deviation of the Gaussian likelihood; it broadcasts with log-densities."""
        if self.config.gaussian_std != "learned":
            return self.config.gaussian_std
        std = self.log_std.exp()
        if dispatch is None:
            return std.view(-1, 1, 1)
        starts = (0, *dispatch.ends[self.config.num_experts - 1 :: self.config.num_experts])
        rows = torch.tensor([end - start for start, end in itertools.pairwise(starts)], device=std.device)
        return std.repeat_interleave(rows).unsqueeze(-1)  # [T, 1]

    def _log_prob(self, logits: Tensor, target: Tensor, std: float | Tensor, alone: bool = False) -> Tensor:
        """Return log p(x|z) in nats, [...]; logits and target [..., D]."""
        if self.config.likelihood == "gaussian":
            drawn = at_least_float32(logits)
            if not self._draws_mean:
                drawn = sigmoid_alone(drawn) if alone else drawn.sigmoid()
            return gaussian_log_prob(drawn, target, std)
        return bernoulli_log_prob_alone(logits, target) if alone else bernoulli_log_prob(logits, target)

    @torch.no_grad()
    def update_std(self, recon_log_prob: Tensor, pixels: int) -> None:
        """Move the learned standard deviation towards the maximum-likelihood value of a batch.

        Args:
            recon_log_prob: log p(x|z) of the batch, averaged over the experts, [R, B].
            pixels: D.
        """
        if self.config.gaussian_std == "learned":
            self.log_std.copy_(updated_log_std(self.log_std, recon_log_prob.mean(-1), pixels))

    @contextmanager
    def weighted_kl(self, weight: float) -> Iterator[None]:
        """Multiply the divergence of z by a factor within the context, in `dense` and `sparse`.

        Args:
            weight: the factor.
        """
        self.kl_weight = weight
        try:
            yield
        finally:
            self.kl_weight = 1.0

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        return f"num_experts={self.config.num_experts}, latents={latent_size(self.config)}"
