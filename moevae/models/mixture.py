"""The mixture model: a gate and K expert VAEs, for R runs at once.

Legend of shapes, for all modules of `moevae`:

    R  runs of a population         D  pixels of an image, H W
    B  images of a batch            H  height of an image
    N  images of a data set         W  width of an image
    K  experts of a run             S  samples of z per image and expert
    C  experts chosen per image     T  rows (run, image, chosen expert), sorted by run and expert
    Z  latents of an expert         I  inputs of a layer
                                    O  outputs of a layer

Losses, bounds and divergences are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moevae.config.schema import ModelConfig
from moevae.models.dispatch import Dispatch
from moevae.models.experts import Experts
from moevae.models.gate import Gate, gate_log_probs
from moevae.nn.deformation import latent_size
from moevae.nn.gradients import histograms_of_gradients
from moevae.nn.stacked import Stacked, count_parameters, reset
from moevae.utils.rng import generator


@dataclass(frozen=True)
class MixtureTerms:
    """Terms of the objective for each image of a batch, in nats per image."""

    gate_log_probs: Tensor
    """log q(k|x), [R, K, B]."""
    recon_log_prob: Tensor
    """log p_k(x|z), averaged over the samples of z, [R, K, B]."""
    kl_z: Tensor
    """KL(q_k(z|x) || p(z)), [R, K, B]; an estimate if the prior is learned. For the IWAE bound:
    recon_log_prob minus that bound. It is weighted during the warm-up of `train.kl_warmup`."""

    @property
    def expert_elbo(self) -> Tensor:
        """Bound of each expert, ELBO_k(x) = recon_log_prob - kl_z, [R, K, B]."""
        return self.recon_log_prob - self.kl_z

    def assigned(self, assignments: Tensor) -> MixtureTerms:
        """Return the terms with a one-hot gate in place of the trained one.

        Args:
            assignments: expert of each image, [R, B] int64.
        """
        closed = torch.full_like(self.gate_log_probs, -math.inf)
        return replace(self, gate_log_probs=closed.scatter(1, assignments.unsqueeze(1), 0.0))


@dataclass(frozen=True)
class SparseMixtureTerms(MixtureTerms):
    """Terms of C chosen experts per image: recon_log_prob, kl_z and expert_elbo are [R, C, B]."""

    chosen: Tensor
    """Indices of the chosen experts, [R, C, B] int64."""
    posterior_log_probs: Tensor | None = None
    """log r(k|x), the posterior of all experts, which the gate learns to predict, [R, K, B]; None if the
    experts were not compared, or if the gate is this posterior."""


class Mixture(nn.Module):
    """A gate and K expert VAEs for each of R runs; each run is initialized from its own seed.

    Args:
        config: sizes and kinds of the networks.
        size: height and width of an image, in pixels.
        seeds: one per run.

    Examples:
        >>> import moevae, torch
        >>> model = moevae.Mixture(moevae.ModelConfig(num_experts=3), (8, 8), seeds=(0, 1))
        >>> model.gate(torch.rand(2, 5, 64)).shape  # logits of two runs, three experts and five images
        torch.Size([2, 3, 5])
    """

    def __init__(self, config: ModelConfig, size: tuple[int, int], seeds: Sequence[int]) -> None:
        super().__init__()
        self.config, self.size, self.seeds = config, size, tuple(seeds)
        self.gate = Gate(config, len(seeds), size)
        self.experts = Experts(config, len(seeds), size)
        reset(self.gate, [generator(seed, "weights of the gate") for seed in seeds])
        reset(self.experts, [generator(seed, "weights of the experts") for seed in seeds])
        self.experts.init_undeformed()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def latent_size(self) -> int:
        """Number of latents of an expert, Z."""
        return latent_size(self.config)

    def select_run(self, run: int) -> Mixture:
        """Return a copy of one run, as a population of one run.

        Args:
            run: index of the run, 0 to R - 1.
        """
        model = Mixture(self.config, self.size, self.seeds[run : run + 1]).to(next(self.parameters()))
        model.load_state_dict({name: value[run : run + 1] for name, value in self.state_dict().items()})
        return model

    @torch.no_grad()
    def keep_experts(self, kept: Tensor) -> Mixture:
        """Return a copy that keeps some experts of each run.

        Args:
            kept: indices of the experts to keep, in their new order, [R, C] int64.
        """
        config = replace(self.config, num_experts=kept.shape[1])
        model = Mixture(config, self.size, self.seeds).to(next(self.parameters()))
        model.load_state_dict(select_experts(self, self.state_dict(), kept))
        return model

    def gate_input(self, x: Tensor, gray: Tensor | None) -> Tensor:
        """Return what the gate reads: images, [R, B, D], or features of them, [R, B, F].

        Args:
            x: images as the likelihood sees them, [R, B, D].
            gray: the same images in grayscale, [R, B, D]; required unless `model.gate_input` is `target`.

        Raises:
            ValueError: the gate reads grayscale images and `gray` is None.
        """
        if self.config.gate_input == "target":
            return x
        if gray is None:
            raise ValueError("the gate reads grayscale images; expected a tensor for gray, not None")
        if self.config.gate_input == "grayscale":
            return gray
        if gray.stride(0) == 0:  # all runs see the same images
            return histograms_of_gradients(gray[:1], self.size).expand(len(gray), -1, -1)
        return histograms_of_gradients(gray, self.size)

    def gate_logits(self, x: Tensor, gray: Tensor | None = None, read: Tensor | None = None) -> Tensor:
        """Return the logits of the gate: of its network, or log pi_k + ELBO_k if it is the posterior.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            gray: the same images in grayscale, [R, B, D]; required unless `model.gate_input` is `target`.
            read: their `gate_input`, if it is known.

        Returns:
            gate_logits, [R, K, B].
        """
        if self.gate.network is None:
            return self.experts.scores(x) + self.gate.expert_bias.unsqueeze(-1)
        return self.gate(self.gate_input(x, gray) if read is None else read)

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        temperature: Tensor,
        gray: Tensor | None = None,
        bound: str = "elbo",
        read: Tensor | None = None,
    ) -> MixtureTerms:
        """Return the terms of a batch for all experts.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            noise: standard normal draws for z; the S draws of an image are adjacent, [R, K, B S, Z].
            temperature: temperature of the gate, [R].
            gray: the same images in grayscale, [R, B, D]; required unless `model.gate_input` is `target`.
            bound: bound of each expert, `elbo` or `iwae`.
            read: the `gate_input` of the images, if it is known.
        """
        log_probs = gate_log_probs(self.gate_logits(x, gray, read), temperature)
        return MixtureTerms(log_probs, *self.experts.dense(x, noise, bound))

    def sparse(
        self,
        x: Tensor,
        noise: Tensor,
        temperature: Tensor,
        choose: Callable[[Tensor], Tensor],
        gray: Tensor | None = None,
        bound: str = "elbo",
        read: Tensor | None = None,
    ) -> SparseMixtureTerms:
        """Return the terms of a batch for C experts per image.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            noise: standard normal draws for z; the S draws of an image are adjacent, [R, C, B S, Z].
            temperature: temperature of the gate, [R].
            choose: chooses the experts of each image, [R, C, B] int64, from log q(k|x), [R, K, B].
            gray: the same images in grayscale, [R, B, D]; required unless `model.gate_input` is `target`.
            bound: bound of each expert, `elbo` or `iwae`.
            read: the `gate_input` of the images, if it is known.
        """
        log_probs = gate_log_probs(self.gate_logits(x, gray, read), temperature)
        chosen = choose(log_probs.detach())
        dispatch = Dispatch.of(chosen, self.config.num_experts)
        return SparseMixtureTerms(log_probs, *self.experts.sparse(x, noise, dispatch, bound), chosen)

    @torch.no_grad()
    def decode_prior_samples(self, noise: Tensor) -> Tensor:
        """Decode samples of the prior of z.

        Args:
            noise: standard normal draws, [R, K, B, Z]; they are z unless the prior is learned.

        Returns:
            Mean images of each expert, in [0, 1], [R, K, B, D].
        """
        return self.experts.mean(self.experts.prior_samples(noise))

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        return (
            f"runs={len(self.seeds)}, num_experts={self.config.num_experts}, latents={self.latent_size},"
            f" size={self.size[0]}x{self.size[1]}, parameters_per_run={count_parameters(self)}"
        )


def select_experts(model: Mixture, values: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    """Select the values of some experts from values that are laid out like a state dict.

    Args:
        model: the population.
        values: tensors by the name of a parameter or buffer, in its layout, [R, ...] each.
        kept: indices of the experts of each run, [R, C] int64.

    Returns:
        The selected values by name.
    """
    chosen = dict(values)
    for prefix, module in model.named_modules():
        if isinstance(module, Stacked):
            for name in module.shapes:
                if (key := f"{prefix}._{name}") in chosen:
                    chosen[key] = module.selected(name, chosen[key], kept)
    if (key := "gate.expert_bias") in chosen:
        chosen[key] = chosen[key].gather(1, kept)
    return chosen
