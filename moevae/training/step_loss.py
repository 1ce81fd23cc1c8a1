"""The loss of a population on one batch, with the random draws that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moevae.config.registry import ROUTINGS
from moevae.config.schema import RunConfig
from moevae.data.datasets import Images
from moevae.models.dispatch import draw_experts
from moevae.models.gate import gate_log_probs
from moevae.models.mixture import Mixture, MixtureTerms, SparseMixtureTerms
from moevae.nn.batch_norm import batch_statistics
from moevae.objectives.bounds import posterior_log_probs
from moevae.objectives.consistency import ConsistencyLoss
from moevae.objectives.objective import Objective
from moevae.objectives.routing import num_chosen
from moevae.training.batches import Batch, Batches
from moevae.training.gate_start import GateStart
from moevae.training.schedules import kl_weight
from moevae.utils.rng import RunGenerators


@dataclass(frozen=True)
class StepWeights:
    """Weights of terms of the loss in a step, which schedules may change."""

    kl: float
    """Factor of the divergence of z."""
    gate_start: float
    """Weight of the cross-entropy of `train.gate_start`."""


@dataclass(frozen=True)
class StepTerms:
    """The terms of the loss of a step."""

    mixture: MixtureTerms
    """Terms of the objective."""
    uniform: Tensor | None
    """Uniform draws of the routing, [R, K, B], or of sampled experts, [R, C, B]; None if it draws none."""
    gate: Tensor
    """Weighted losses of the gate that are added to the objective: consistency and clustering, [R]."""


class StepLoss:
    """Compute the terms of the loss on a batch.

    Args:
        configs: one per run.
        images: the data set; its training split is read.
        batches: the batches of training images.
        device: the device of the model.
        assignments: expert of each training image, [R, N] int64; None uses the gate.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        images: Images,
        batches: Batches,
        device: torch.device,
        assignments: Tensor | None,
    ) -> None:
        seeds = [config.seed for config in configs]
        self.config, self.batches, self.assignments = configs[0], batches, assignments
        self.latent = RunGenerators(seeds, "latent noise", device)
        self.choice = RunGenerators(seeds, "choice of experts", device)
        self.consistency = ConsistencyLoss(configs, images.train, images.size, device)
        self.gate_start = GateStart(configs, images, device) if assignments is None else None

    def streams(self) -> dict[str, RunGenerators]:
        """Return the random streams by their names in a state."""
        return {
            "latent": self.latent,
            "choice": self.choice,
            "direction": self.consistency.directions,
            "jitter": self.consistency.jitters,
            "neighbor": self.consistency.choices,
        }

    def weights(self, progress: float) -> StepWeights:
        """Return the weights of terms at a point of training.

        Args:
            progress: fraction of training, from 0 to 1.
        """
        gate_start = self.gate_start.weight(progress) if self.gate_start else 0.0
        return StepWeights(kl_weight(self.config.train, progress), gate_start)

    def __call__(
        self, model: Mixture, objective: Objective, weights: StepWeights, temperature: Tensor, batch: Batch
    ) -> StepTerms:
        """Return the terms of the loss.

        Args:
            model: the population, in the precision of the step.
            objective: the objective.
            weights: weights of terms.
            temperature: temperature of the gate, [R].
            batch: one batch of images for each run.
        """
        # With assignments the gate is not trained, so its running statistics must not change.
        with batch_statistics(model, update=self.assignments is None), model.experts.weighted_kl(weights.kl):
            uniform = self.routing_draws(model, objective)
            terms = self.mixture_terms(model, objective, temperature, batch, uniform)
        gate = self._consistency_loss(model, temperature, batch, terms)
        if self.gate_start is not None and weights.gate_start:
            gate = gate + weights.gate_start * self.gate_start.cost(terms.gate_log_probs, batch.rows)
        return StepTerms(terms, uniform, gate)

    def routing_draws(self, model: Mixture, objective: Objective) -> Tensor | None:
        """Return the uniform draws of a step; see `StepTerms`.

        Args:
            model: the population.
            objective: the objective.
        """
        routing, size = self.config.routing, self.batches.size
        count = num_chosen(routing)
        if ROUTINGS.traits(routing.kind).get("random"):
            return self.choice.uniform(model.config.num_experts, size)
        if objective.sampled and count and self.assignments is None:
            return self.choice.uniform(count, size)
        return None

    def mixture_terms(
        self, model: Mixture, objective: Objective, temperature: Tensor, batch: Batch, uniform: Tensor | None
    ) -> MixtureTerms:
        """Return the terms of the objective for a batch, of all experts or of chosen experts only.

        Args:
            model: the population.
            objective: the objective.
            temperature: temperature of the gate, [R].
            batch: one batch of images for each run.
            uniform: see `StepTerms`.
        """
        size, count = self.batches.size, num_chosen(self.config.routing)
        draws, bound = size * self.config.train.num_samples, self.config.objective.bound
        if count and self.assignments is None:

            def choose(log_probs: Tensor) -> Tensor:
                if objective.sampled and uniform is not None:
                    return draw_experts(log_probs, uniform)
                return objective.route(log_probs, uniform).topk(count, dim=1).indices

            noise = self.latent.normal(count, draws, model.latent_size)
            return model.sparse(batch.target, noise, temperature, choose, batch.gray, bound, batch.read)
        if objective.by_map and self.assignments is None:
            noise = self.latent.normal(1, draws, model.latent_size)
            return self._map_terms(model, objective, temperature, batch, noise)
        noise = self.latent.normal(model.config.num_experts, draws, model.latent_size)
        terms: MixtureTerms = model(batch.target, noise, temperature, batch.gray, bound, batch.read)
        if self.assignments is None:
            return terms
        return terms.assigned(self.assignments.gather(1, batch.rows))

    def _map_terms(
        self, model: Mixture, objective: Objective, temperature: Tensor, batch: Batch, noise: Tensor
    ) -> SparseMixtureTerms:
        """Return the terms of the expert with the highest posterior probability, for each image of a batch.

        Args:
            model: the population.
            objective: the objective.
            temperature: temperature of the gate, [R].
            batch: the images.
            noise: standard normal draws for z, [R, 1, B S, Z].
        """
        bound, posterior = self.config.objective.bound, None
        if model.gate.network is not None:  # otherwise the gate is this posterior
            posterior = posterior_log_probs(model.experts.scores(batch.target), objective.log_prior)

        def choose(log_probs: Tensor) -> Tensor:
            return (log_probs if posterior is None else posterior).argmax(1, keepdim=True)

        terms = model.sparse(batch.target, noise, temperature, choose, batch.gray, bound, batch.read)
        return replace(terms, posterior_log_probs=posterior)

    def _consistency_loss(
        self, model: Mixture, temperature: Tensor, batch: Batch, terms: MixtureTerms
    ) -> Tensor:
        """Return the weighted consistency loss of the gate, [R]; zero if the gate is not trained."""
        if not self.consistency.names or self.assignments is not None:
            return torch.zeros_like(self.consistency.weight)

        def gate_input(rows: Tensor) -> Tensor:
            """Return what the gate reads of training images, [R, B, D]; rows [R, B]."""
            features = self.batches.features_at(rows)
            return model.gate_input(*self.batches.images_at(rows)) if features is None else features

        # The consistency loss evaluates the gate again; this must not update the running statistics.
        with batch_statistics(model, update=False):
            return self.consistency(
                lambda images: gate_log_probs(model.gate(images), temperature),
                gate_input,
                model.gate_input(batch.target, batch.gray) if batch.read is None else batch.read,
                terms.gate_log_probs,
                batch.rows,
            )
