"""The registries of a search: spaces, objectives, samplers and pruners.

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

    from studies.search.objectives import SearchObjective

SPACES: Registry[Mapping[str, BaseDistribution]] = Registry(
    "SPACES", "space", "studies.search.spaces", group="moevae.spaces"
)
"""Distributions by dotted key. No space contains settings of the images or their likelihood,
which would make bounds incomparable."""

OBJECTIVES: Registry[SearchObjective] = Registry(
    "OBJECTIVES", "objective", "studies.search.objectives", group="moevae.search_objectives"
)
"""Metrics of the validation split, and the training speed."""

SAMPLERS: Registry[Callable[[int], BaseSampler]] = Registry(
    "SAMPLERS", "sampler", "studies.search.trials", group="moevae.samplers"
)
"""Samplers, which choose the next trial; functions of a seed."""

PRUNERS: Registry[Callable[[int], BasePruner]] = Registry(
    "PRUNERS", "pruner", "studies.search.trials", group="moevae.pruners"
)
"""Pruners, which stop trials early; functions of the number of epochs."""
