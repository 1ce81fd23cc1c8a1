"""The trainer: the state of a population in training, and one step of it.

A population is a set of runs with the same shapes. The runs train together; each has its own random streams
and scalar settings. `moevae.training.fit` contains the loop.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from moevae.config.registry import ROUTINGS
from moevae.config.schema import RunConfig
from moevae.data.binarization import to_float
from moevae.data.datasets import Images, check_images
from moevae.models.dispatch import draw_experts
from moevae.models.gate import gate_log_probs
from moevae.models.mixture import Mixture, MixtureTerms, SparseMixtureTerms, select_experts
from moevae.nn.batch_norm import batch_statistics
from moevae.objectives.bounds import posterior_log_probs
from moevae.objectives.consistency import ConsistencyLoss
from moevae.objectives.load_balancing import log_priors
from moevae.objectives.objective import Objective
from moevae.objectives.routing import num_chosen
from moevae.training import memory, state
from moevae.training.adam import Adam
from moevae.training.batches import Batch, Batches
from moevae.training.checks import check_assignments, check_population
from moevae.training.continuation import check_start
from moevae.training.experts import pruning, revival
from moevae.training.experts.pruning import kept_experts, scheduled_experts
from moevae.training.experts.templates import init_templates
from moevae.training.gate_start import GateStart
from moevae.training.graphs import CudaRecorder, StepGraph, check_graph
from moevae.training.mixed_precision import MasterWeights
from moevae.training.results import EpochStats, FitResult, Losses, TrainingFailure
from moevae.training.schedules import kl_weight, temperatures
from moevae.training.schedules import learning_rate as learning_rate_at
from moevae.utils import devices
from moevae.utils.rng import RunGenerators


@dataclass(frozen=True)
class StepWeights:
    """Weights of terms of the loss in a step, which schedules may change."""

    kl: float
    """Factor of the divergence of z."""
    gate_start: float
    """Weight of the cross-entropy of `train.gate_start`."""


class Trainer:
    """Train a population epoch by epoch.

    Args:
        configs: one per run; they may differ in `moevae.config.schema.PER_RUN` only.
        images: the data set; training reads its training split only.
        device: where to train.
        assignments: expert of each training image, [R, N] int64. It replaces the gate, which is then not
            trained. None trains the gate.
        epochs: number of epochs of the whole training; None means `train.epochs`. In later epochs, all
            schedules keep their final values.
        start: one trained run, whose weights all runs start from; None initializes them. `train.start` of the
            configurations names these weights.
        cuda_graph: whether steps replay a CUDA graph; see `moevae.training.graphs`.

    Raises:
        ConfigError: there is no configuration, their shapes differ, the device has too little memory, or a
            CUDA graph is not possible.
        ValueError: the assignments have another shape or invalid values.
    """

    @devices.cpu_settings()
    def __init__(
        self,
        configs: Sequence[RunConfig],
        images: Images,
        device: torch.device,
        assignments: Tensor | None = None,
        epochs: int | None = None,
        start: Mixture | None = None,
        cuda_graph: bool = False,
    ) -> None:
        check_population(configs)
        check_images(images)
        check_start(configs[0], images.size, start)
        if assignments is not None:
            check_assignments(assignments, (len(configs), len(images.train)), configs[0].model.num_experts)
            assignments = assignments.to(device)
        memory.check(configs, images.size, len(images.train), devices.memory(device))
        self.assignments, self.images = assignments, images.train
        seeds = [config.seed for config in configs]
        self.configs, self.device = tuple(configs), device
        begin = replace(
            configs[0].model, num_experts=configs[0].model.num_experts + configs[0].train.extra_experts
        )
        self.model = Mixture(begin, images.size, seeds).to(device)
        self.model.gate.init_temperature([config.routing.temperature for config in configs])
        self.model.gate.init_prior(log_priors(configs, begin.num_experts))
        init_templates(self.model, configs, images)
        if start is not None:
            own = self.model.state_dict()
            self.model.load_state_dict(
                {name: value.expand_as(own[name]) for name, value in start.state_dict().items()}
            )
        self.origins = torch.arange(begin.num_experts).repeat(len(configs), 1)  # [R, K]
        self.batches = Batches(configs, images.train, images.size, device)
        self.latent = RunGenerators(seeds, "latent noise", device)
        self.choice = RunGenerators(seeds, "choice of experts", device)
        self.consistency = ConsistencyLoss(configs, images.train, images.size, device)
        self.gate_start = GateStart(configs, images, device) if assignments is None else None
        self.graph: StepGraph | None = None
        self.set_model(self.model)
        if cuda_graph:
            check_graph(configs, device, self.objective)
            self.graph = StepGraph(self, CudaRecorder())
        self.load = self._no_load()
        self.epochs = epochs or configs[0].train.epochs
        self.epochs_done = 0
        self.seconds = 0.0
        self.failures: list[TrainingFailure | None] = [None] * len(configs)

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or all runs have failed."""
        return self.epochs_done == self.epochs or all(self.failures)

    @devices.cpu_settings()
    def epoch(self) -> EpochStats:
        """Train one epoch and return the statistics.

        Scheduled experts are pruned in the epoch, and starved ones revived at its end.
        """
        start = time.perf_counter()
        first = self.epochs_done * self.batches.steps
        losses, gate_losses = torch.zeros(2, self.batches.steps, len(self.configs), device=self.device)
        self.working.refresh()  # a restore or a callback may have changed the master weights
        for index, batch in enumerate(self.batches.epoch()):
            found = self.step(first + index, batch)
            losses[index], gate_losses[index] = found.total, found.gate
            self._prune((first + index + 1) / (self.configs[0].train.epochs * self.batches.steps))
        self.epochs_done += 1
        revived = self._revive() if self.configs[0].train.revival else []
        devices.synchronize(self.device)
        self.seconds += time.perf_counter() - start
        self._note_failures(losses, first)
        return EpochStats(
            epoch=self.epochs_done,
            epochs=self.epochs,
            model=self.model,
            losses=_means(losses),
            gate_losses=_means(gate_losses),
            temperatures=self._temperatures(first + self.batches.steps - 1, self.model).tolist(),
            failures=list(self.failures),
            origins=self.origins,
            revived=revived,
        )

    def result(self) -> FitResult:
        """Return the population in its current state."""
        seen = self.epochs_done * self.batches.steps * self.batches.size * len(self.configs)
        speed = seen / self.seconds if self.seconds else 0.0
        return FitResult(self.model, self.configs, list(self.failures), self.seconds, speed, self.origins)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the remaining epochs depend on.

        Returns:
            Tensors by name, and plain data that JSON can represent.
        """
        return state.save(self)

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore a `state` of the same configurations.

        Training then continues bitwise as it would have without the interruption.

        Args:
            tensors: tensors of the state, by name.
            plain: plain data of the state.

        Raises:
            CheckpointError: the state belongs to another version. The trainer is unchanged.
        """
        state.restore(self, tensors, plain)

    def check(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Check whether `restore` would accept a state, without changing anything.

        Args:
            tensors: tensors of the state, by name.
            plain: plain data of the state.

        Raises:
            CheckpointError: the state belongs to another version or to other configurations.
        """
        state.check(self, tensors, plain)

    def streams(self) -> dict[str, RunGenerators]:
        """Return the random streams of training by their names in a state."""
        return {
            "order": self.batches.order,
            "binarization": self.batches.threshold,
            "latent": self.latent,
            "choice": self.choice,
            "direction": self.consistency.directions,
            "jitter": self.consistency.jitters,
            "neighbor": self.consistency.choices,
        }

    def step(self, index: int, batch: Batch) -> Losses:
        """Train on one batch.

        Args:
            index: number of the step, from 0, over all epochs.
            batch: one batch of images for each run.

        Returns:
            The losses before the step.
        """
        progress, train = self._progress(index), self.configs[0].train
        if self.working.model.experts.deformation is not None:
            self.working.model.experts.deformation.activate(progress, train.deformation_starts)
        weights = StepWeights(
            kl_weight(train, progress), self.gate_start.weight(progress) if self.gate_start else 0
        )
        learned = self.configs[0].routing.temperature_schedule == "learned"
        temperature = None if learned else self._temperatures(index, self.working.model)
        losses = (self.graph or self.differentiate)(weights, temperature, batch)
        rate = learning_rate_at(train, progress)
        self.optimizer.step(rate, train.template_learning_rate * rate / train.learning_rate)
        self.working.refresh()
        return losses

    def differentiate(self, weights: StepWeights, temperature: Tensor | None, batch: Batch) -> Losses:
        """Compute the gradients of a step, and update what has no gradients.

        Args:
            weights: weights of terms of the loss.
            temperature: temperature of the gate, [R]; None if the gate learns it.
            batch: one batch of images for each run.

        Returns:
            The losses.
        """
        if temperature is None:
            temperature = self.working.model.gate.temperature
        # With assignments the gate is not trained, so its running statistics must not change.
        with (
            batch_statistics(self.working.model, update=self.assignments is None),
            self.working.model.experts.weighted_kl(weights.kl),
        ):
            uniform = self._routing_draws()
            terms = self._terms(temperature, batch, uniform)
        consistency = self._consistency_loss(temperature, batch, terms)
        if self.gate_start is not None and weights.gate_start:
            start = self.gate_start.cost(terms.gate_log_probs, batch.rows)
            consistency = consistency + weights.gate_start * start
        if self.configs[0].train.revival:
            self.load += self._load(terms, uniform)
        loss = self.objective(terms, uniform) + consistency  # [R]
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.working.transfer_gradients()
        if self.configs[0].model.gaussian_std == "learned":
            shares = self.objective.expert_weights(terms, uniform)
            self.model.experts.update_std((shares * terms.recon_log_prob).sum(1), batch.target.shape[-1])
        if self.assignments is None:
            self.objective.update_expert_bias(self.model.gate.expert_bias, terms)
        total = loss.detach()
        return Losses(total, self.objective.gate_loss(terms, consistency.detach(), total))

    def _routing_draws(self) -> Tensor | None:
        """Return the uniform draws of a random routing, [R, K, B], or of sampled experts, [R, C, B]."""
        routing, size = self.configs[0].routing, self.batches.size
        count = num_chosen(routing)
        if ROUTINGS.traits(routing.kind).get("random"):
            return self.choice.uniform(self.model.config.num_experts, size)
        if self.objective.sampled and count and self.assignments is None:
            return self.choice.uniform(count, size)
        return None

    def _terms(self, temperature: Tensor, batch: Batch, uniform: Tensor | None) -> MixtureTerms:
        """Return the terms of the objective for a batch, of all experts or of chosen experts only."""
        model, size, count = self.model, self.batches.size, num_chosen(self.configs[0].routing)
        draws, bound = size * self.configs[0].train.num_samples, self.configs[0].objective.bound
        if count and self.assignments is None:

            def choose(log_probs: Tensor) -> Tensor:
                if self.objective.sampled and uniform is not None:
                    return draw_experts(log_probs, uniform)
                return self.objective.route(log_probs, uniform).topk(count, dim=1).indices

            noise = self.latent.normal(count, draws, model.latent_size)
            return self.working.model.sparse(
                batch.target, noise, temperature, choose, batch.gray, bound, batch.read
            )
        if self.objective.by_map and self.assignments is None:
            return self._map_terms(temperature, batch, self.latent.normal(1, draws, model.latent_size))
        noise = self.latent.normal(model.config.num_experts, draws, model.latent_size)
        terms = self.working.model(batch.target, noise, temperature, batch.gray, bound, batch.read)
        if self.assignments is None:
            return terms
        return terms.assigned(self.assignments.gather(1, batch.rows))

    def _map_terms(self, temperature: Tensor, batch: Batch, noise: Tensor) -> SparseMixtureTerms:
        """Return the terms of the expert with the highest posterior probability, for each image of a batch.

        Args:
            temperature: temperature of the gate, [R].
            batch: the images.
            noise: standard normal draws for z, [R, 1, B S, Z].
        """
        model, bound, posterior = self.working.model, self.configs[0].objective.bound, None
        if model.gate.network is not None:  # otherwise the gate is this posterior
            posterior = posterior_log_probs(model.experts.scores(batch.target), self.objective.log_prior)

        def choose(log_probs: Tensor) -> Tensor:
            return (log_probs if posterior is None else posterior).argmax(1, keepdim=True)

        terms = model.sparse(batch.target, noise, temperature, choose, batch.gray, bound, batch.read)
        return replace(terms, posterior_log_probs=posterior)

    def _consistency_loss(self, temperature: Tensor, batch: Batch, terms: MixtureTerms) -> Tensor:
        """Return the weighted consistency loss of the gate, [R]; zero if the gate is not trained."""
        if not self.consistency.names or self.assignments is not None:
            return torch.zeros_like(self.consistency.weight)
        model = self.working.model
        # The consistency loss evaluates the gate again; this must not update the running statistics.
        with batch_statistics(model, update=False):
            return self.consistency(
                lambda images: gate_log_probs(model.gate(images), temperature),
                self._gate_input,
                model.gate_input(batch.target, batch.gray) if batch.read is None else batch.read,
                terms.gate_log_probs,
                batch.rows,
            )

    def _gate_input(self, rows: Tensor) -> Tensor:
        """Return what the gate reads of training images, [R, B, D]; rows [R, B]."""
        features = self.batches.features_at(rows)
        if features is not None:
            return features
        return self.working.model.gate_input(*self.batches.images_at(rows))

    def _temperatures(self, step: int, model: Mixture) -> Tensor:
        """Return the gate temperature of each run at a step, [R]."""
        return temperatures(self.configs, self._progress(step), model.gate)

    def _progress(self, step: int) -> float:
        """Return the fraction of training at a step: 0 at the first step and 1 at the last."""
        return min(1.0, step / max(1, self.configs[0].train.epochs * self.batches.steps - 1))

    def set_model(self, model: Mixture) -> None:
        """Train the given model from now on, with a new optimizer.

        Args:
            model: the population; it may have fewer experts than before.
        """
        self.model = model
        self.working = MasterWeights(model, self.configs[0].train.precision)
        deformation = model.experts.deformation
        pictures = () if deformation is None else deformation.learned_images()
        self.optimizer = Adam(model.parameters(), faster=pictures)
        self.objective = Objective(self.configs, self.device, model.config.num_experts)
        if self.graph is not None:
            self.graph.reset()

    def _prune(self, progress: float) -> None:
        """Remove the experts whose removal is due, and their moments in the optimizer.

        Args:
            progress: fraction of the steps that are done.
        """
        count = scheduled_experts(self.configs[0], progress)
        if count >= self.model.config.num_experts:
            return
        kept = kept_experts(self.model, to_float(self.images[: pruning.IMAGES]), count)
        names = [name for name, _ in self.model.named_parameters()]
        moments = self.optimizer.moments(names)
        selected = {
            kind: select_experts(self.model, values, kept) if kind != "step" else values
            for kind, values in moments.items()
        }
        self.set_model(self.model.keep_experts(kept))
        self.optimizer.set_moments(names, selected)
        self.origins = self.origins.gather(1, kept.cpu())
        self.load = self.load.gather(1, kept)

    def _no_load(self) -> Tensor:
        """Return the load of the experts before the first step of an epoch, [R, K]."""
        shape = len(self.configs), self.model.config.num_experts
        return torch.zeros(shape, device=self.device)

    @torch.no_grad()
    def _load(self, terms: MixtureTerms, uniform: Tensor | None) -> Tensor:
        """Return the sum of the weights of each expert's losses over a batch, [R, K]."""
        weights = self.objective.expert_weights(terms, uniform)
        if isinstance(terms, SparseMixtureTerms):
            return self._no_load().scatter_add(1, terms.chosen.flatten(1), weights.flatten(1))
        return weights.sum(-1)

    def _revive(self) -> list[int]:
        """Replace the starved experts of the epoch, and return their number in each run."""
        load, train = self.load, self.configs[0].train
        self.load = self._no_load()
        if self.assignments is not None or self.epochs_done > train.revival_end * train.epochs:
            return [0] * len(self.configs)
        chosen = revival.donors(load, train.revival)
        counts = revival.count_revived(chosen)
        if any(counts):
            names = [name for name, _ in self.model.named_parameters()]
            moments = self.optimizer.moments(names)
            stream = f"revival after epoch {self.epochs_done}"
            self.model.load_state_dict(revival.revived_weights(self.model, chosen, stream))
            self.optimizer.set_moments(names, revival.revived_moments(self.model, moments, chosen))
        return counts

    def _note_failures(self, losses: Tensor, first: int) -> None:
        """Record the first step with a loss that is not finite, for runs that have not failed before."""
        bad = ~losses.isfinite()  # [steps, R]
        for run in bad.any(0).nonzero().flatten().tolist():
            if self.failures[run] is None:
                index = int(bad[:, run].nonzero()[0])
                reason = f"the loss became {float(losses[index, run])}"
                self.failures[run] = TrainingFailure(self.epochs_done, first + index + 1, reason)


def _means(losses: Tensor) -> list[float]:
    """Return the mean over the steps, one per run; losses [steps, R]."""
    # Contiguous by run: the rounding of a mean over columns would depend on the number of runs.
    return losses.T.contiguous().mean(1).tolist()
