"""Training of a population: runs of one shape, side by side, each with its own streams and scalars."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from moevae.config.schema import RunConfig, population_key
from moevae.data.binarization import to_float
from moevae.data.datasets import Images
from moevae.errors import CheckpointError, ConfigError
from moevae.models.gate import gate_log_probs
from moevae.models.mixture import Mixture, MixtureTerms, select_experts
from moevae.nn.batch_norm import batch_statistics
from moevae.nn.deformation import blurred
from moevae.objectives.consistency import ConsistencyLoss
from moevae.objectives.objective import Objective
from moevae.training import memory, pruning
from moevae.training.adam import Adam
from moevae.training.batches import Batch, Batches
from moevae.training.mixed_precision import MasterWeights
from moevae.training.pruning import kept_experts, scheduled_experts
from moevae.training.schedules import learning_rate as learning_rate_at
from moevae.training.schedules import temperatures
from moevae.utils import content, devices
from moevae.utils.rng import RunGenerators, generator


@dataclass(frozen=True)
class TrainingFailure:
    """Where a run's loss stopped being a number; epoch and step count from 1, steps over all epochs."""

    epoch: int
    step: int
    reason: str


@dataclass(frozen=True)
class EpochStats:
    """What `fit` tells at the end of an epoch."""

    epoch: int
    """Counts from 1."""
    epochs: int
    model: Mixture
    losses: list[float]
    """Mean objective of the epoch, one a run, nats per image; NaN for a failed run."""
    gate_losses: list[float]
    """Likewise of the part that the gate learns by: all of the objective where experts steer the gate."""
    temperatures: list[float]
    """At the end of the epoch, one a run."""
    failures: list[TrainingFailure | None]
    origins: Tensor
    """Which of the experts at the start of training each one is, [R, K]: others were pruned."""


@dataclass(frozen=True)
class FitResult:
    """A trained population."""

    model: Mixture
    configs: tuple[RunConfig, ...]
    failures: list[TrainingFailure | None]
    """One a run; None where the run ended well."""
    seconds: float
    """Wall time of the training steps of all runs, evaluation left out."""
    images_per_second: float
    """Training images of all runs together, per second."""
    origins: Tensor
    """Which of the experts at the start of training each one is, [R, K]: others were pruned."""


class Trainer:
    """A population on its way: advances by epochs. Of the images, only the training split is looked at."""

    @devices.steady_cpu()
    def __init__(
        self,
        configs: Sequence[RunConfig],
        images: Images,
        device: torch.device,
        assignments: Tensor | None = None,
    ) -> None:
        check_population(configs)
        if assignments is not None:
            _check_assignments(assignments, (len(configs), len(images.train)), configs[0].model.num_experts)
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
        self._start_templates(images)
        self.origins = torch.arange(begin.num_experts).repeat(len(configs), 1)  # [R, K]
        self.batches = Batches(configs, images.train, device)
        self.latent = RunGenerators(seeds, "latent noise", device)
        self.choice = RunGenerators(seeds, "choice of experts", device)
        self.consistency = ConsistencyLoss(configs, images.train, images.size, device)
        self._take(self.model)
        self.epochs = configs[0].train.epochs
        self.epochs_done = 0
        self.seconds = 0.0
        self.failures: list[TrainingFailure | None] = [None] * len(configs)

    @property
    def done(self) -> bool:
        """Whether all epochs are trained, or no run is left to train."""
        return self.epochs_done == self.epochs or all(self.failures)

    @devices.steady_cpu()
    def epoch(self) -> EpochStats:
        """Train one epoch and tell how it went."""
        start = time.perf_counter()
        first = self.epochs_done * self.batches.steps
        losses, of_gate = torch.zeros(2, self.batches.steps, len(self.configs), device=self.device)
        self.working.refresh()  # the kept weights may have been restored, or changed by a listener
        for index, batch in enumerate(self.batches.epoch()):
            found = self.step(first + index, batch)
            losses[index], of_gate[index] = found.total, found.gate
        devices.synchronize(self.device)
        self.seconds += time.perf_counter() - start
        self.epochs_done += 1
        self._note_failures(losses, first)
        self._prune()
        return EpochStats(
            epoch=self.epochs_done,
            epochs=self.epochs,
            model=self.model,
            losses=_means(losses),
            gate_losses=_means(of_gate),
            temperatures=self._temperatures(first + self.batches.steps - 1, self.model).tolist(),
            failures=list(self.failures),
            origins=self.origins,
        )

    def result(self) -> FitResult:
        """Return the population as it stands."""
        seen = self.epochs_done * self.batches.steps * self.batches.size * len(self.configs)
        speed = seen / self.seconds if self.seconds else 0.0
        return FitResult(self.model, self.configs, list(self.failures), self.seconds, speed, self.origins)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that the next epochs depend on: tensors by name, and plain data for JSON."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        if self.configs[0].train.extra_experts:
            tensors["origins"] = self.origins
        tensors |= {f"stream.{name}": stream.state() for name, stream in self._streams().items()}
        failures = [asdict(failure) if failure else None for failure in self.failures]
        return tensors, {"epochs_done": self.epochs_done, "seconds": self.seconds, "failures": failures}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same configurations: the rest is bitwise what it would have been.

        Raises:
            CheckpointError: the state is another version's; nothing is changed.
        """
        self.check(tensors, plain)
        parts = _parts(tensors)
        if "origins" in tensors:
            self._take(self._model_with(tensors["origins"]))
            self.origins = tensors["origins"]
        self.model.load_state_dict(parts["model"])
        self.optimizer.restore(parts["optimizer"])
        for name, stream in self._streams().items():
            stream.restore(parts["stream"][name])
        self.epochs_done, self.seconds = plain["epochs_done"], plain["seconds"]
        self.failures = [TrainingFailure(**failure) if failure else None for failure in plain["failures"]]

    def check(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Look whether these can be a `state` of the same configurations. Changes nothing.

        Raises:
            CheckpointError: they are another version's.
        """
        parts, streams = _parts(tensors), self._streams()
        if parts["stream"].keys() != streams.keys():
            raise CheckpointError("a snapshot whose random streams are those of another version")
        extra = {"origins"} if self.configs[0].train.extra_experts else set()
        if parts.keys() != {"model", "optimizer", "stream"} | extra:
            raise CheckpointError("a snapshot whose tensors are those of another version")
        model = self._model_with(tensors["origins"]) if extra else self.model
        own, there = model.state_dict(), parts["model"]
        alike = own.keys() == there.keys() and all(
            (value.shape, value.dtype) == (there[name].shape, there[name].dtype)
            for name, value in own.items()
        )
        if not (
            alike
            and Adam(model.parameters()).fits(parts["optimizer"])
            and all(stream.fits(parts["stream"][name]) for name, stream in streams.items())
        ):
            raise CheckpointError("a snapshot whose tensors are those of another version")
        with content.parsing("a snapshot whose progress is that of another version", CheckpointError):
            reached = _REACHED.validate_python(plain)
            if reached.epochs_done > self.epochs or len(reached.failures) != len(self.configs):
                raise ValueError(f"{reached.epochs_done} epochs of {len(reached.failures)} runs")

    def _model_with(self, origins: Tensor) -> Mixture:
        """Return a model of these experts of those at the start, [R, K].

        Raises:
            CheckpointError: there are no such experts.
        """
        runs, first = self.origins.shape
        wanted, ordered = (
            self.configs[0].model.num_experts,
            origins.sort(1).values if origins.ndim == 2 else origins,
        )
        if not (
            origins.dtype == torch.int64
            and origins.ndim == 2
            and len(origins) == runs
            and wanted <= origins.shape[1] <= first
            and int(ordered.min()) >= 0
            and int(ordered.max()) < first
            and bool((ordered.diff() > 0).all())
        ):
            raise CheckpointError("a snapshot of experts that are not there")
        return self.model.keep_experts(origins.to(self.device))

    def _streams(self) -> dict[str, RunGenerators]:
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
        """Train on one batch and return the losses; `index` counts from 0 over all epochs."""
        progress, train = self._progress(index), self.configs[0].train
        if self.working.model.experts.deformation is not None:
            self.working.model.experts.deformation.activate(progress, train.deformation_starts)
        temperature = self._temperatures(index, self.working.model)
        # A gate that assignments stand in for stays as it was.
        with batch_statistics(self.working.model, update=self.assignments is None):
            terms = self._terms(temperature, batch)
        random = self.configs[0].routing.kind == "gumbel"
        uniform = self.choice.uniform(*terms.gate_log_probs.shape[1:]) if random else None
        consistency = self._consistency_loss(temperature, batch, terms)
        loss = self.objective(terms, uniform) + consistency  # [R]
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.working.hand_over()
        rate = learning_rate_at(train, progress)
        self.optimizer.step(rate, train.template_learning_rate * rate / train.learning_rate)
        if self.configs[0].model.gaussian_std == "learned":
            weights = self.objective.expert_weights(terms, uniform)
            self.model.experts.update_std((weights * terms.recon_log_prob).sum(1), batch.target.shape[-1])
        if self.assignments is None:
            self.objective.update_expert_bias(self.model.gate.expert_bias, terms)
        self.working.refresh()
        steered = self.objective.experts_steer_gate
        return Losses(
            loss.detach(),
            loss.detach() if steered else self.objective.gate_only_loss(terms) + consistency.detach(),
        )

    def _terms(self, temperature: Tensor, batch: Batch) -> MixtureTerms:
        model, routing, size = self.model, self.configs[0].routing, self.batches.size
        draws, bound = size * self.configs[0].train.num_samples, self.configs[0].objective.bound
        if routing.kind == "top-k" and self.assignments is None:
            uniform = self.choice.uniform(routing.top_k, size)
            noise = self.latent.normal(routing.top_k, draws, model.latent_size)
            return self.working.model.sparse(batch.target, noise, temperature, uniform, batch.gray, bound)
        noise = self.latent.normal(model.config.num_experts, draws, model.latent_size)
        terms = self.working.model(batch.target, noise, temperature, batch.gray, bound)
        if self.assignments is None:
            return terms
        return terms.assigned(self.assignments.gather(1, batch.rows))

    def _consistency_loss(self, temperature: Tensor, batch: Batch, terms: MixtureTerms) -> Tensor:
        """Return the weighted smoothness loss of each run, [R]; a gate that is not trained has none."""
        if self.consistency.name == "none" or self.assignments is not None:
            return torch.zeros_like(self.consistency.weight)
        model = self.working.model
        # Changed images are looked at once more: they must not move the running statistics.
        with batch_statistics(model, update=False):
            return self.consistency(
                lambda images: gate_log_probs(model.gate(images), temperature),
                lambda rows: model.gate_input(*self.batches.images_at(rows)),
                model.gate_input(batch.target, batch.gray),
                terms.gate_log_probs,
                batch.rows,
            )

    def _temperatures(self, step: int, model: Mixture) -> Tensor:
        return temperatures(self.configs, self._progress(step), model.gate)

    def _progress(self, step: int) -> float:
        return step / max(1, self.epochs * self.batches.steps - 1)

    def _take(self, model: Mixture) -> None:
        """Train that model from here on; the optimizer begins anew."""
        self.model = model
        self.working = MasterWeights(model, self.configs[0].train.precision)
        deformation = model.experts.deformation
        templates = () if deformation is None else (deformation.get_parameter("_template"),)
        self.optimizer = Adam(model.parameters(), faster=templates)
        self.objective = Objective(self.configs, self.device, model.config.num_experts)

    @torch.no_grad()
    def _start_templates(self, images: Images) -> None:
        """Start the templates of deformable experts from training images, smoothed."""
        deformation = self.model.experts.deformation
        if deformation is None:
            return
        count = self.model.config.num_experts
        drawn = [
            torch.randperm(len(images.train), generator=generator(config.seed, "templates"))
            for config in self.configs
        ]
        rows = torch.stack([order.repeat(-(-count // len(order)))[:count] for order in drawn])  # [R, K]
        templates = blurred(to_float(images.train[rows.flatten()]), images.size)
        deformation.start_from(templates.view(*rows.shape, -1).to(self.device))

    def _prune(self) -> None:
        """Drop extra experts as scheduled, and what the optimizer knows of them."""
        count = scheduled_experts(self.configs[0], self.epochs_done / self.epochs)
        if count >= self.model.config.num_experts:
            return
        kept = kept_experts(self.model, to_float(self.images[: pruning.IMAGES]), count)
        names = [name for name, _ in self.model.named_parameters()]
        moments = self.optimizer.moments(names)
        selected = {
            kind: select_experts(self.model, values, kept) if kind != "step" else values
            for kind, values in moments.items()
        }
        self._take(self.model.keep_experts(kept))
        self.optimizer.set_moments(names, selected)
        self.origins = self.origins.gather(1, kept.cpu())

    def _note_failures(self, losses: Tensor, first: int) -> None:
        """Write down the first step whose loss is not finite, for runs that had not failed yet."""
        bad = ~losses.isfinite()  # [steps, R]
        for run in bad.any(0).nonzero().flatten().tolist():
            if self.failures[run] is None:
                index = int(bad[:, run].nonzero()[0])
                reason = f"the loss became {float(losses[index, run])}"
                self.failures[run] = TrainingFailure(self.epochs_done, first + index + 1, reason)


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of a state by the part of training that they are of."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "stream": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


@dataclass(frozen=True)
class _Reached:
    """How far training is, as a state tells it in plain data."""

    epochs_done: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    failures: list[TrainingFailure | None]


_REACHED = TypeAdapter(_Reached)


@dataclass(frozen=True)
class Losses:
    """Of one step, in nats per image."""

    total: Tensor  # the objective and the weighted smoothness, [R]
    gate: Tensor  # the part that the gate learns by, [R]: all of it where experts steer the gate


def _means(losses: Tensor) -> list[float]:
    """Return the mean of each run over the steps; losses [steps, R]."""
    # Run by run in memory: a mean over columns would round by the number of runs.
    return losses.T.contiguous().mean(1).tolist()


def check_population(configs: Sequence[RunConfig]) -> None:
    """Look that these configurations can train together.

    Raises:
        ConfigError: there is none, or they have different shapes.
    """
    if not configs:
        raise ConfigError("a population needs at least one configuration")
    if len({population_key(config) for config in configs}) > 1:
        raise ConfigError(
            "the configurations of a population may differ in seed, weights, prior and temperature only"
        )


def _check_assignments(assignments: Tensor, shape: tuple[int, int], experts: int) -> None:
    if tuple(assignments.shape) != shape:
        raise ValueError(f"assignments [R, N] are {tuple(assignments.shape)}, right would be {shape}")
    if assignments.min() < 0 or assignments.max() >= experts:
        raise ValueError(f"assignments must lie in 0..{experts - 1}")
