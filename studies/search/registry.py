"""The registries of what a search can name: where it looks, how it picks trials, and which it stops early.

Their names are known before Optuna is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from moevae.utils.registry import Registry

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SPACES: Registry[Mapping[str, BaseDistribution]] = Registry(
    "SPACES", "space", "studies.search.spaces", group="moevae.spaces"
)
"""Distributions by dotted key. None has what decides the images or their likelihood: bounds would not
compare."""

SAMPLERS: Registry[Callable[[int], BaseSampler]] = Registry(
    "SAMPLERS", "sampler", "studies.search.trials", group="moevae.samplers"
)
"""How the next trial is picked; each takes a seed."""

PRUNERS: Registry[Callable[[int], BasePruner]] = Registry(
    "PRUNERS", "pruner", "studies.search.trials", group="moevae.pruners"
)
"""Which trials are stopped early; each takes the number of epochs."""
