"""The trainer: the state of a population in training, and one step of it.

A population is a set of runs with the same shapes. The runs train together; each has its own random streams
and scalar settings. `moevae.training.fit` contains the loop.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.binarization import to_float
from moevae.data.datasets import Images, check_images
from moevae.models.mixture import Mixture, MixtureTerms, SparseMixtureTerms, select_experts
from moevae.nn.linear import Affine
from moevae.objectives.load_balancing import log_priors
from moevae.objectives.objective import Objective
from moevae.training import memory, state
from moevae.training.adam import Adam
from moevae.training.batches import Batch, Batches
from moevae.training.checks import check_assignments, check_fixed_gate, check_population
from moevae.training.continuation import check_start
from moevae.training.experts import pruning, revival
from moevae.training.experts.pruning import kept_experts, scheduled_experts
from moevae.training.experts.templates import init_templates
from moevae.training.graphs import CudaRecorder, StepGraph, check_graph
from moevae.training.mixed_precision import MasterWeights
from moevae.training.results import EpochStats, FitResult, Losses, TrainingFailure
from moevae.training.schedules import learning_rate as learning_rate_at
from moevae.training.schedules import temperatures
from moevae.training.step_loss import StepLoss, StepWeights
from moevae.utils import devices
from moevae.utils.rng import RunGenerators, generator


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
        ConfigError: there is no configuration, their shapes differ, the device has too little memory, a
            CUDA graph is not possible, or assigned experts would be pruned.
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
            check_fixed_gate(configs[0])
            check_assignments(assignments, (len(configs), len(images.train)), configs[0].model.num_experts)
            assignments = assignments.to(device)
        memory.check(configs, images.size, len(images.train), devices.memory(device))
        self.assignments, self.images, self.shuffled = assignments, images.train, images.shuffled
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
        self.loss = StepLoss(configs, images, self.batches, device, assignments)
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
            self.prune((first + index + 1) / (self.configs[0].train.epochs * self.batches.steps))
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
            **self.loss.streams(),
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
        learned = self.configs[0].routing.temperature_schedule == "learned"
        temperature = None if learned else self._temperatures(index, self.working.model)
        rate = learning_rate_at(train, progress)
        self.optimizer.begin(rate)
        losses = (self.graph or self.differentiate)(self.loss.weights(progress), temperature, batch)
        self.optimizer.step(rate, train.template_learning_rate * rate / train.learning_rate)
        self.working.refresh()
        return losses

    def differentiate(self, weights: StepWeights, temperature: Tensor | None, batch: Batch) -> Losses:
        """Compute the gradients of a step, and update what has none.

        Args:
            weights: weights of terms of the loss.
            temperature: temperature of the gate, [R]; None if the gate learns it.
            batch: one batch of images for each run.

        Returns:
            The losses.
        """
        if temperature is None:
            temperature = self.working.model.gate.temperature
        step = self.loss(self.working.model, self.objective, weights, temperature, batch)
        terms, uniform = step.mixture, step.uniform
        if self.configs[0].train.revival:
            self.load += self._load(terms, uniform)
        loss = self.objective(terms, uniform) + step.gate  # [R]
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.working.transfer_gradients()
        if self.configs[0].model.gaussian_std == "learned":
            shares = self.objective.expert_weights(terms, uniform)
            self.model.experts.update_std((shares * terms.recon_log_prob).sum(1), batch.target.shape[-1])
        if self.assignments is None:
            self.objective.update_expert_bias(self.model.gate.expert_bias, terms)
        total = loss.detach()
        return Losses(total, self.objective.gate_loss(terms, step.gate.detach(), total))

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
        layers = [each for each in model.experts.modules() if isinstance(each, Affine)]
        whole = self.working.model is not model  # the gradients of a copy of the model move as a whole
        self.optimizer = Adam(model.parameters(), faster=pictures, layers=() if whole else layers)
        self.objective = Objective(self.configs, self.device, model.config.num_experts)
        if self.graph is not None:
            self.graph.reset()

    def prune(self, progress: float) -> None:
        """Remove the experts whose removal is due, and their moments in the optimizer.

        Args:
            progress: fraction of the steps that are done.
        """
        count = scheduled_experts(self.configs[0], progress)
        if count >= self.model.config.num_experts:
            return
        kept = kept_experts(self.model, to_float(self._pruning_images()), count)
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

    def _pruning_images(self) -> Tensor:
        """Return the training images that decide which experts are pruned, [N, D]."""
        if self.shuffled or len(self.images) <= pruning.IMAGES:
            return self.images[: pruning.IMAGES]
        order = torch.randperm(len(self.images), generator=generator(0, "images of pruning"))
        return self.images[order[: pruning.IMAGES]]

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
