"""Populations that train in parts. The size of a part affects speed and memory, but no number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images
from moevae.errors import CheckpointError
from moevae.models.mixture import Mixture
from moevae.training.checks import check_population
from moevae.training.results import EpochStats, FitResult, TrainingFailure
from moevae.training.trainer import Trainer
from moevae.utils import content

MAX_CPU_LOGITS = 1 << 22
"""Largest number of logits of a step, R K B D, on a CPU; training together saves half the time on digits
and 8 % on MNIST."""


def automatic_chunk(configs: Sequence[RunConfig], pixels: int, device: torch.device) -> int:
    """Choose the number of runs that train together: all on a GPU, and up to `MAX_CPU_LOGITS` on a CPU.

    Args:
        configs: one per run.
        pixels: D.
        device: where to train.

    Returns:
        A number of runs, from 1 to that of the population.
    """
    if device.type == "cuda":
        return len(configs)
    logits = configs[0].model.num_experts * configs[0].train.batch_size * pixels
    return min(len(configs), max(1, MAX_CPU_LOGITS // logits))


class Population:
    """A population that trains in parts, with the interface of one `Trainer`.

    If the memory of the device is too small for a part, the part is divided into halves, with a warning. The
    halves restart and catch up; they get the same numbers, because each run has its own random streams.

    Args:
        configs: one per run.
        images: the data set; training reads its training split only.
        device: where to train.
        chunk: number of runs of a part; None chooses it.
        start: one trained run, whose weights all runs start from; None initializes them.
        cuda_graph: whether steps replay a CUDA graph; see `moevae.training.graphs`.

    Raises:
        ConfigError: there is no configuration, their shapes differ, the device has too little memory, or a
            CUDA graph is not possible.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        images: Images,
        device: torch.device,
        chunk: int | None = None,
        start: Mixture | None = None,
        cuda_graph: bool = False,
    ) -> None:
        check_population(configs)
        self.configs, self.images, self.device, self.start = tuple(configs), images, device, start
        self.cuda_graph = cuda_graph
        size = chunk or automatic_chunk(configs, images.train.shape[1], device)
        self.parts = [
            self._begin(self.configs[first : first + size]) for first in range(0, len(configs), size)
        ]
        self._whole: Mixture | None = None

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or all runs have failed."""
        return all(part.done for part in self.parts)

    def epoch(self) -> EpochStats:
        """Train one epoch and return the statistics of all runs."""
        epoch = 1 + max(part.epochs_done for part in self.parts)
        stats: list[EpochStats | None] = []
        while len(stats) < len(self.parts):
            place = len(stats)
            try:
                stats.append(_train(self.parts[place], epoch))
                continue
            except torch.OutOfMemoryError:
                if len(self.parts[place].configs) == 1:
                    raise
            self._halve(place)  # outside the handler: the exception refers to the tensors in memory
        losses, gate_losses, temperatures, revived = [], [], [], []
        for part, each in zip(self.parts, stats, strict=True):
            missing = [math.nan] * len(part.configs)
            losses += each.losses if each else missing
            gate_losses += each.gate_losses if each else missing
            temperatures += each.temperatures if each else missing
            revived += each.revived if each else [0] * len(part.configs)
        return EpochStats(
            epoch=epoch,
            epochs=self.configs[0].train.epochs,
            model=self._model(),
            losses=losses,
            gate_losses=gate_losses,
            temperatures=temperatures,
            failures=self._failures(),
            origins=self._origins(),
            revived=revived if self.configs[0].train.revival else [],
        )

    def result(self) -> FitResult:
        """Return the population in its current state."""
        parts = [part.result() for part in self.parts]
        seconds = sum(part.seconds for part in parts)
        seen = sum(part.images_per_second * part.seconds for part in parts)
        speed = seen / seconds if seconds else 0.0
        return FitResult(self._model(), self.configs, self._failures(), seconds, speed, self._origins())

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state of one `Trainer` of all runs; parts of another size can restore it."""
        states = [part.state() for part in self.parts]
        longest = max(range(len(states)), key=lambda place: states[place][1]["epochs_done"])
        tensors = {
            name: torch.cat([each[name] for each, _ in states]) if value.ndim else value
            for name, value in states[longest][0].items()
        }
        plains = [plain for _, plain in states]
        return tensors, {
            "epochs_done": plains[longest]["epochs_done"],
            "seconds": sum(plain["seconds"] for plain in plains),
            "failures": [failure for plain in plains for failure in plain["failures"]],
        }

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore a `state` of the same configurations; see `Trainer.restore`.

        Args:
            tensors: tensors of the state, by name.
            plain: plain data of the state.

        Raises:
            CheckpointError: the state belongs to another version. The population is unchanged.
        """
        self.check(tensors, plain)
        for part, runs in zip(self.parts, self._places(), strict=True):
            own, shared = self._of_part(tensors, plain, runs)
            part.restore({name: value.clone() for name, value in own.items()}, shared)

    def check(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Check whether `restore` would accept a state, without changing anything.

        Args:
            tensors: tensors of the state, by name.
            plain: plain data of the state.

        Raises:
            CheckpointError: the state belongs to another version or to other configurations.
        """
        count = len(self.configs)
        if {len(value) for value in tensors.values() if value.ndim} - {count}:
            raise CheckpointError(f"another number of runs; expected {count}")
        for part, runs in zip(self.parts, self._places(), strict=True):
            with content.parsing("training state of another version", CheckpointError):
                state = self._of_part(tensors, plain, runs)
            part.check(*state)

    @staticmethod
    def _of_part(
        tensors: Mapping[str, Tensor], plain: Mapping[str, Any], runs: slice
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state of some of the runs."""
        own = {name: value[runs] if value.ndim else value for name, value in tensors.items()}
        shared = {"seconds": 0.0 if runs.start else plain["seconds"]}
        return own, {**plain, **shared, "failures": plain["failures"][runs]}

    def _halve(self, place: int) -> None:
        """Restart the runs of a part as two parts."""
        configs = self.parts[place].configs
        half = math.ceil(len(configs) / 2)
        warnings.warn(
            f"{len(configs)} runs do not fit in memory together; training {half} at a time", stacklevel=3
        )
        self.parts[place : place + 1] = []
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.parts[place:place] = [self._begin(configs[:half]), self._begin(configs[half:])]

    def _begin(self, configs: Sequence[RunConfig]) -> Trainer:
        """Return a new part."""
        return Trainer(configs, self.images, self.device, start=self.start, cuda_graph=self.cuda_graph)

    def _places(self) -> Iterator[slice]:
        """Yield the indices of the runs of each part."""
        first = 0
        for part in self.parts:
            yield slice(first, first + len(part.configs))
            first += len(part.configs)

    def _origins(self) -> Tensor:
        """Return the original indices of the experts of all runs, [R, K]."""
        return torch.cat([part.origins for part in self.parts])

    def _failures(self) -> list[TrainingFailure | None]:
        """Return the failures of all runs."""
        return [failure for part in self.parts for failure in part.failures]

    @torch.no_grad()
    def _model(self) -> Mixture:
        """Return one model with all runs."""
        first = self.parts[0].model
        if len(self.parts) == 1:
            return first
        if self._whole is None or self._whole.config != first.config:
            seeds = [config.seed for config in self.configs]
            self._whole = Mixture(first.config, first.size, seeds).to(self.device)
        whole = self._whole.state_dict()
        for part, runs in zip(self.parts, self._places(), strict=True):
            for name, value in part.model.state_dict().items():
                whole[name][runs] = value
        return self._whole


def _train(part: Trainer, epoch: int) -> EpochStats | None:
    """Train a part up to the end of an epoch; return None if all its runs failed before."""
    progress = None
    while part.epochs_done < epoch and not part.done:
        progress = part.epoch()
    if part.epochs_done < epoch:
        part.prune(min(1.0, epoch / part.configs[0].train.epochs))  # parts have as many experts as the others
    return progress if part.epochs_done == epoch else None
