"""Random streams: each run has its own, one a purpose, so that company never changes a run's numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator at the start of the named stream of a seed."""
    words = np.random.SeedSequence([seed, zlib.crc32(stream.encode())]).generate_state(2, np.uint32)
    state = int(words[0]) << 31 ^ int(words[1])
    return torch.Generator(device).manual_seed(state)


class RunGenerators:
    """One generator a run for one purpose, and draws stacked over the runs, [R, ...]."""

    def __init__(self, seeds: Sequence[int], stream: str, device: torch.device | str = "cpu") -> None:
        self.generators = [generator(seed, stream, device) for seed in seeds]
        self.device = torch.device(device)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal draws, [R, *shape]."""
        return self._stack(torch.randn, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Return draws uniform on [0, 1), [R, *shape]."""
        return self._stack(torch.rand, *shape)

    def permutations(self, size: int) -> Tensor:
        """Return one permutation of range(size) a run, [R, size]."""
        return self._stack(torch.randperm, size)

    def state(self) -> Tensor:
        """Return where each stream stands, [R, bytes]."""
        return torch.stack([stream.get_state() for stream in self.generators])

    def fits(self, state: Tensor) -> bool:
        """Return whether this can be a `state` of these streams."""
        own = self.state()
        if (state.shape, state.dtype) != (own.shape, own.dtype):
            return False
        trial = torch.Generator(self.device)
        try:
            for place in state:
                trial.set_state(place.clone())
        except RuntimeError:  # torch knows some that no generator has
            return False
        return True

    def restore(self, state: Tensor) -> None:
        """Put each stream where `state` found it."""
        for stream, place in zip(self.generators, state, strict=True):
            # A row of a larger tensor may start anywhere, and torch crashes on a state that is not aligned.
            stream.set_state(place.clone())

    def _stack(self, draw: Any, *shape: int) -> Tensor:
        draws = [draw(*shape, generator=stream, device=self.device) for stream in self.generators]
        return torch.stack(draws) if len(draws) > 1 else draws[0].unsqueeze(0)
