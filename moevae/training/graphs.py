"""CUDA graphs: the forward and the backward pass of a training step, recorded once and launched as one.

A step of one run launches hundreds of small kernels, and launching takes longer than computing. A graph
replays the kernels on the same addresses: the batch, the temperatures and the random draws are copied there
before each replay. The optimizer runs outside the graph. A replay of the recorded operations on the CPU gives
the numbers of steps without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from moevae.objectives.objective import Objective
from moevae.objectives.routing import num_chosen
from moevae.training.batches import Batch
from moevae.training.results import Losses
from moevae.training.step_loss import StepWeights
from moevae.utils.rng import RunGenerators

if TYPE_CHECKING:
    from moevae.training.trainer import Trainer

WARM_UP = 3
"""Number of steps without a graph before a graph is recorded, as in the examples of PyTorch."""

_T = TypeVar("_T")


class Recorder(Protocol):
    """Runs functions such that their kernels can be replayed; `CudaRecorder`, or a stand-in of tests."""

    def warm_up(self, function: Callable[[], _T]) -> _T:
        """Return the result of a function that is to be recorded later.

        Args:
            function: a step, without arguments.
        """
        ...

    def record(self, function: Callable[[], _T]) -> Callable[[], _T]:
        """Return a function that replays the kernels of the given one, and returns the same tensors.

        Args:
            function: a step, without arguments.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs."""

    def warm_up(self, function: Callable[[], _T]) -> _T:
        """Return the result of a function, computed on a stream of its own."""
        own, outer = torch.cuda.Stream(), torch.cuda.current_stream()
        own.wait_stream(outer)
        with torch.cuda.stream(own):
            found = function()
        outer.wait_stream(own)
        return found

    def record(self, function: Callable[[], _T]) -> Callable[[], _T]:
        """Record the kernels of a function, without running them, as one graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = function()

        def replay() -> _T:
            graph.replay()
            return found

        return replay


class Draws:
    """The random draws of a step, in buffers at fixed addresses.

    Args:
        streams: the random streams that the step may draw from.
    """

    def __init__(self, streams: Sequence[RunGenerators]) -> None:
        self._streams = streams
        self._known: list[tuple[Callable[[], Tensor], Tensor]] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note each draw within the context, with a buffer of its shape."""
        self._known = []

        def note(draw: Callable[[], Tensor]) -> Tensor:
            found = draw()
            self._known.append((draw, found.clone()))
            return found

        with self._through(note):
            yield

    @contextmanager
    def buffered(self) -> Iterator[None]:
        """Let the streams return the buffers within the context, in the noted order."""
        buffers = iter([buffer for _, buffer in self._known])
        with self._through(lambda _: next(buffers)):
            yield

    def refill(self) -> None:
        """Draw again, from the same streams in the same order."""
        for draw, buffer in self._known:
            buffer.copy_(draw())

    @contextmanager
    def _through(self, how: Callable[[Callable[[], Tensor]], Tensor]) -> Iterator[None]:
        for stream in self._streams:
            stream.through = how
        try:
            yield
        finally:
            for stream in self._streams:
                stream.through = None


class StepGraph:
    """Computes the gradients of the steps of a trainer by replaying a graph.

    The graph is recorded after `WARM_UP` steps of the same weights of the loss, and again when they change:
    during schedules of these weights, steps run without a graph.

    Args:
        trainer: the trainer.
        recorder: records the graph.
    """

    def __init__(self, trainer: Trainer, recorder: Recorder) -> None:
        self._trainer, self._recorder = trainer, recorder
        self._draws = Draws(list(trainer.streams().values()))
        self.reset()

    def reset(self) -> None:
        """Discard the graph, as after a change of the model."""
        self._weights: StepWeights | None = None
        self._replay: Callable[[], tuple[Losses, list[Tensor | None]]] | None = None
        self._left = WARM_UP

    def __call__(self, weights: StepWeights, temperature: Tensor | None, batch: Batch) -> Losses:
        """Compute the gradients of a step; see `Trainer.differentiate`."""
        if weights != self._weights:
            self.reset()
            self._weights = weights
        if self._left:
            self._left -= 1
            with self._draws.noted():
                return self._recorder.warm_up(
                    lambda: self._trainer.differentiate(weights, temperature, batch)
                )
        if self._replay is None:
            self._batch = replace(batch, **{name: value.clone() for name, value in _tensors(batch)})
            self._temperature = None if temperature is None else temperature.clone()
            self._replay = self._recorder.record(self._compute)
        for name, value in _tensors(batch):
            getattr(self._batch, name).copy_(value)
        if self._temperature is not None and temperature is not None:
            self._temperature.copy_(temperature)
        self._draws.refill()
        losses, gradients = self._replay()
        for parameter, gradient in zip(self._trainer.model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        return losses

    def _compute(self) -> tuple[Losses, list[Tensor | None]]:
        """Compute losses and gradients from the buffers."""
        assert self._weights is not None
        with self._draws.buffered():
            losses = self._trainer.differentiate(self._weights, self._temperature, self._batch)
        return losses, [parameter.grad for parameter in self._trainer.model.parameters()]


def check_graph(configs: Sequence[RunConfig], device: torch.device, objective: Objective) -> None:
    """Check whether the steps of a population can be recorded.

    Args:
        configs: configurations of the population.
        device: device of the model.
        objective: objective of the population.

    Raises:
        ConfigError: the device is not a CUDA device, or the shapes of a step depend on its images.
    """
    if device.type != "cuda":
        raise ConfigError(f"CUDA graphs need a CUDA device, and the device is {device.type}")
    if num_chosen(configs[0].routing):
        kind = configs[0].routing.kind
        raise ConfigError(f"CUDA graphs need the same shapes in every step: not with routing.kind = {kind}")
    if objective.by_map:
        raise ConfigError(
            "CUDA graphs need the same shapes in every step: not with objective.expert_weights = map"
        )
    if configs[0].train.revival:
        raise ConfigError("CUDA graphs cannot count the images of experts: expected train.revival = 0")


def _tensors(batch: Batch) -> list[tuple[str, Any]]:
    return [(each.name, value) for each in fields(batch) if (value := getattr(batch, each.name)) is not None]
