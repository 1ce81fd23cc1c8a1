"""Sizes of the benchmarks: networks, batches, sweeps and rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from moevae.config.overrides import override
from moevae.config.schema import ModelConfig, RunConfig
from moevae.data.datasets import Images


@dataclass(frozen=True)
class Sizes:
    """One mixture and its batch: `hidden` and `gate` are the widths of the hidden layers."""

    side: int = 28
    experts: int = 10
    hidden: int = 400
    latent: int = 20
    gate: int = 128
    batch: int = 512

    @property
    def naive(self) -> dict[str, int]:
        """The sizes, as arguments of the naive baseline."""
        names = ("side", "experts", "hidden", "latent", "gate", "batch")
        return {name: getattr(self, name) for name in names}

    def config(self, changes: Mapping[str, Any] | None = None, seed: int = 0) -> RunConfig:
        """Return a configuration of these sizes, with changes."""
        base = RunConfig(
            model=ModelConfig(
                num_experts=self.experts,
                latent_dim=self.latent,
                expert_hidden=(self.hidden,),
                gate_hidden=(self.gate,),
            ),
            seed=seed,
        )
        return override(base, {"train.batch_size": self.batch, **(changes or {})})

    def images(self, count: int | None = None) -> Images:
        """Return images of noise: speed does not depend on the content of images."""
        count = count or max(4 * self.batch, 1024)
        stream = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (count, self.side**2), generator=stream, dtype=torch.uint8)
        return Images("noise", "0" * 64, self.side, self.side, pixels, pixels[:0], pixels)


@dataclass(frozen=True)
class Plan:
    """The values of the sweeps, and the number of rounds."""

    rounds: int
    mixture: Sizes
    small: Sizes
    """The size of scikit-learn's digits."""
    batches: tuple[int, ...]
    compared: tuple[int, ...]
    """Batch sizes at which routings, and numbers of experts, take turns; `batches` has each by itself."""
    experts: tuple[int, ...]
    hidden: tuple[int, ...]
    runs: tuple[int, ...]
    runs_of_mixture: tuple[int, ...]
    counts: tuple[int, ...]
    """Numbers of training images of an epoch."""
    seeds: int
    """Number of seeds of the paired comparison of quality."""
    epochs: int
    cell: tuple[int, int, int]
    """Runs, epochs and images of a complete cell."""

    def at(self, **changes: int) -> Sizes:
        """Return the sizes of the mixture, with changes."""
        return replace(self.mixture, **changes)


_DIGITS = Sizes(side=8, hidden=64, latent=4, gate=64, batch=128)

_QUICK = Plan(
    rounds=9,
    mixture=Sizes(),
    small=_DIGITS,
    batches=(128, 512, 1024, 2048),
    compared=(1024,),
    experts=(1, 4, 8, 16, 64),
    hidden=(128, 800),
    runs=(1, 2, 4, 8, 16, 32, 64),
    runs_of_mixture=(1, 4, 20),
    counts=(2_048, 8_192, 32_768),
    seeds=10,
    epochs=30,
    cell=(20, 20, 60_000),
)

PLANS = {
    "tiny": Plan(
        rounds=2,
        mixture=Sizes(side=6, experts=3, hidden=16, latent=2, gate=16, batch=16),
        small=Sizes(side=4, experts=2, hidden=8, latent=2, gate=8, batch=16),
        batches=(16,),
        compared=(16,),
        experts=(2, 4),
        hidden=(16,),
        runs=(1, 2),
        runs_of_mixture=(1, 2),
        counts=(64, 128),
        seeds=2,
        epochs=1,
        cell=(2, 1, 96),
    ),
    "quick": _QUICK,
    "paper": replace(
        _QUICK,
        rounds=25,
        batches=(*_QUICK.batches, 8192),
        compared=_QUICK.batches,
        experts=(*_QUICK.experts, 256),
        hidden=(*_QUICK.hidden, 1600),
        runs_of_mixture=(1, 2, 4, 8, 20, 32, 64),
        counts=(*_QUICK.counts, 131_072),
        seeds=20,
    ),
}
