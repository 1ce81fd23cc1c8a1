"""The mixture: a gate and K expert VAEs, for R runs at once.

Shapes: R runs, B batch, K experts, Z latent, D pixels, S samples of z, C experts chosen for an image.
Units: nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moevae.config.schema import ModelConfig
from moevae.models.dispatch import Dispatch, draw_experts
from moevae.models.experts import Experts
from moevae.models.gate import Gate, gate_log_probs
from moevae.nn.deformation import latent_size
from moevae.nn.stacked import Stacked, reset
from moevae.utils.rng import generator


@dataclass(frozen=True)
class MixtureTerms:
    """What a look at a batch yields, per image: everything the objective and the evaluation need."""

    gate_log_probs: Tensor  # [R, K, B]
    recon_log_prob: Tensor  # [R, K, B]
    kl_z: Tensor  # [R, K, B], or what makes expert_elbo an importance-weighted bound

    @property
    def expert_elbo(self) -> Tensor:
        """ELBO_k(x) = recon_log_prob - kl_z, [R, K, B]."""
        return self.recon_log_prob - self.kl_z

    def assigned(self, assignments: Tensor) -> MixtureTerms:
        """Return the terms under a one-hot gate, certain of these experts, [R, B], and out of training."""
        closed = torch.full_like(self.gate_log_probs, -math.inf)
        return replace(self, gate_log_probs=closed.scatter(1, assignments.unsqueeze(1), 0.0))


@dataclass(frozen=True)
class SparseMixtureTerms(MixtureTerms):
    """Terms of C drawn experts an image: recon_log_prob and kl_z are [R, C, B], and so is expert_elbo."""

    chosen: Tensor  # the drawn experts, [R, C, B]


class Mixture(nn.Module):
    """R runs of a gate and K experts for images of some height and width; each run has its own start."""

    def __init__(self, config: ModelConfig, size: tuple[int, int], seeds: Sequence[int]) -> None:
        super().__init__()
        self.config, self.size, self.seeds = config, size, tuple(seeds)
        self.gate = Gate(config, len(seeds), size)
        self.experts = Experts(config, len(seeds), size)
        reset(self.gate, [generator(seed, "weights of the gate") for seed in seeds])
        reset(self.experts, [generator(seed, "weights of the experts") for seed in seeds])
        self.experts.start_undeformed()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def latent_size(self) -> int:
        """Z, the latents of an expert."""
        return latent_size(self.config)

    def select_run(self, run: int) -> Mixture:
        """Return a copy of one run, as a population of one."""
        model = Mixture(self.config, self.size, self.seeds[run : run + 1]).to(next(self.parameters()))
        model.load_state_dict({name: value[run : run + 1] for name, value in self.state_dict().items()})
        return model

    @torch.no_grad()
    def keep_experts(self, kept: Tensor) -> Mixture:
        """Return a copy with some of the experts of each run, [R, C] int64, in that order."""
        config = replace(self.config, num_experts=kept.shape[1])
        model = Mixture(config, self.size, self.seeds).to(next(self.parameters()))
        model.load_state_dict(select_experts(self, self.state_dict(), kept))
        return model

    def gate_input(self, x: Tensor, gray: Tensor | None) -> Tensor:
        """Return the images as the gate sees them, [R, B, D].

        Args:
            x: images as the likelihood sees them, [R, B, D].
            gray: the same images gray, [R, B, D]; None where the gate does not look at them.

        Raises:
            ValueError: the gate looks at gray images, and there are none.
        """
        if self.config.gate_input == "seen":
            return x
        if gray is None:
            raise ValueError("the gate reads grayscale images; expected a tensor for gray, not None")
        return gray

    def forward(
        self, x: Tensor, noise: Tensor, temperature: Tensor, gray: Tensor | None = None, bound: str = "elbo"
    ) -> MixtureTerms:
        """Return the terms of a batch.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            noise: standard normal draws behind z, [R, K, B S, Z], S an image, side by side.
            temperature: of the gate, [R].
            gray: the same images gray, [R, B, D]; needed where the gate looks at them.
            bound: of each expert, `elbo` or `iwae`.
        """
        log_probs = gate_log_probs(self.gate(self.gate_input(x, gray)), temperature)
        return MixtureTerms(log_probs, *self.experts.dense(x, noise, bound))

    def sparse(
        self,
        x: Tensor,
        noise: Tensor,
        temperature: Tensor,
        uniform: Tensor,
        gray: Tensor | None = None,
        bound: str = "elbo",
    ) -> SparseMixtureTerms:
        """Return the terms of a batch where an image is seen by C experts that its gate draws.

        Args:
            x: images as the likelihood sees them, [R, B, D].
            noise: standard normal draws behind z, [R, C, B S, Z], S an image and choice, side by side.
            temperature: of the gate, [R].
            uniform: draws on [0, 1) behind the choices, [R, C, B].
            gray: the same images gray, [R, B, D]; needed where the gate looks at them.
            bound: of each expert, `elbo` or `iwae`.
        """
        log_probs = gate_log_probs(self.gate(self.gate_input(x, gray)), temperature)
        chosen = draw_experts(log_probs.detach(), uniform)
        dispatch = Dispatch.of(chosen, self.config.num_experts)
        return SparseMixtureTerms(log_probs, *self.experts.sparse(x, noise, dispatch, bound), chosen)

    @torch.no_grad()
    def decode_prior_samples(self, noise: Tensor) -> Tensor:
        """Return mean images drawn from each expert's prior, [R, K, B, D]; noise is z, [R, K, B, Z]."""
        return self.experts.mean(noise)


def select_experts(model: Mixture, values: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    """Return values as of a model's parameters and buffers, by name, for some of its experts.

    Args:
        model: the population.
        values: [R, ...] each, laid out as the parameters and buffers of these names.
        kept: experts of each run, [R, C] int64.
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
