"""Random streams: one per run and purpose, so that the numbers of a run do not depend on other runs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for a named stream.

    Args:
        seed: seed of a run or of a split.
        stream: name of the stream; it is hashed, so that a change of the name changes all draws.
        device: device of the draws.

    Returns:
        The generator, seeded by both.
    """
    words = np.random.SeedSequence([seed, zlib.crc32(stream.encode())]).generate_state(2, np.uint32)
    state = int(words[0]) << 31 ^ int(words[1])
    return torch.Generator(device).manual_seed(state)


class RunGenerators:
    """Random generators of one stream, one per run, with draws stacked over the runs.

    Args:
        seeds: one per run.
        stream: name of the stream.
        device: device of the draws.
    """

    def __init__(self, seeds: Sequence[int], stream: str, device: torch.device | str = "cpu") -> None:
        self.generators = [generator(seed, stream, device) for seed in seeds]
        self.device = torch.device(device)
        self.through: Callable[[Callable[[], Tensor]], Tensor] | None = None
        """Receives each draw as a function, and returns the tensor to use; None draws."""

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal draws, [R, *shape].

        Args:
            *shape: axes of the draws of one run.
        """
        return self._stack(torch.randn, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Return draws uniform on [0, 1), [R, *shape].

        Args:
            *shape: axes of the draws of one run.
        """
        return self._stack(torch.rand, *shape)

    def permutations(self, size: int) -> Tensor:
        """Return one random permutation of range(size) per run, [R, size].

        Args:
            size: number of permuted elements.
        """
        return self._stack(torch.randperm, size)

    def state(self) -> Tensor:
        """Return the state of each generator, [R, bytes]."""
        return torch.stack([stream.get_state() for stream in self.generators])

    def fits(self, state: Tensor) -> bool:
        """Return whether these generators can restore a state.

        Args:
            state: states of the generators, [R, bytes].
        """
        own = self.state()
        if (state.shape, state.dtype) != (own.shape, own.dtype):
            return False
        trial = torch.Generator(self.device)
        try:
            for place in state:
                trial.set_state(place.clone())
        except RuntimeError:  # torch detects some invalid states
            return False
        return True

    def restore(self, state: Tensor) -> None:
        """Restore a `state`.

        Args:
            state: state of each generator, [R, bytes].
        """
        for stream, place in zip(self.generators, state, strict=True):
            # A row of a larger tensor may be unaligned, and torch crashes on an unaligned state.
            stream.set_state(place.clone())

    def _stack(self, draw: Any, *shape: int) -> Tensor:
        return (
            self._draw(draw, *shape)
            if self.through is None
            else self.through(partial(self._draw, draw, *shape))
        )

    def _draw(self, draw: Any, *shape: int) -> Tensor:
        draws = [draw(*shape, generator=stream, device=self.device) for stream in self.generators]
        return torch.stack(draws) if len(draws) > 1 else draws[0].unsqueeze(0)
