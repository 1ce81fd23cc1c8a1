"""The registries of what a configuration can name.

The entries are in the modules given here. Each registry also takes entries of other packages: by
`REGISTRY.register(name)` in a process that imports them, or by an entry point of its group, which every
process finds. `moevae.objectives.checks` checks an entry of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from moevae.utils.registry import Registry
from moevae.utils.suggest import hint

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig

Function = Callable[..., Any]

ROUTINGS: Registry[Function] = Registry(
    "ROUTINGS",
    "routing",
    "moevae.objectives.routing",
    group="moevae.routings",
    traits=("random", "settings", "num_chosen", "sampled"),
)
BALANCINGS: Registry[Function] = Registry(
    "BALANCINGS", "balancing loss", "moevae.objectives.load_balancing", group="moevae.balancings"
)
BIAS_MOVES: Registry[Function] = Registry(
    "BIAS_MOVES", "bias move", "moevae.objectives.load_balancing", group="moevae.bias_moves"
)
CONSISTENCY_TERMS: Registry[Function] = Registry(
    "CONSISTENCY_TERMS",
    "consistency term",
    "moevae.objectives.consistency",
    group="moevae.consistency_terms",
    traits=("needs_radius", "needs_neighbors"),
)
SCHEDULES: Registry[Callable[[float, float, float], float]] = Registry(
    "SCHEDULES", "schedule", "moevae.training.schedules", group="moevae.schedules"
)
ACTIVATIONS: Registry[Function] = Registry(
    "ACTIVATIONS", "activation", "moevae.nn.sequential", group="moevae.activations"
)
PRESETS: Registry[Callable[[], RunConfig]] = Registry(
    "PRESETS", "preset", "moevae.config.presets", group="moevae.presets"
)
DATASETS: Registry[Any] = Registry("DATASETS", "data set", "moevae.data.sources", group="moevae.datasets")
"""Each a `moevae.data.sources.DataSource`."""
RELEASES: Registry[Any] = Registry("RELEASES", "data set", "moevae.data.releases", group="moevae.releases")
"""Data sets in the format of MNIST: each a `moevae.data.releases.Release`."""
FILE_FORMATS: Registry[Any] = Registry(
    "FILE_FORMATS", "format of data", "moevae.data.sources", group="moevae.file_formats"
)
"""Formats of the user's own data, named `FORMAT:PATH`: each a `moevae.data.sources.FileFormat`."""

METRICS: Registry[Any] = Registry("METRICS", "metric", "moevae.evaluation.metrics", group="moevae.metrics")
"""Each a `moevae.evaluation.metrics.Metric`."""


def named_in(*registries: Registry[Any], also: tuple[str, ...] = ()) -> AfterValidator:
    """Return the check that a setting's value is the name of an entry, or one of `also`."""

    def check(name: str) -> str:
        if name in also or any(name in registry for registry in registries):
            return name
        names = [*(name for registry in registries for name in registry), *also]
        raise ValueError(f"unknown {registries[0].what}: {hint(name, names)}")

    return AfterValidator(check)


def _listed(names: object) -> object:
    if isinstance(names, str):
        raise ValueError('expected a list of terms, such as ["vat"]')
    return names


def _consistency_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of consistency terms in the order of the registry.

    Raises:
        ValueError: an unknown term, or a term that is named twice.
    """
    for name in names:
        if name not in CONSISTENCY_TERMS:
            raise ValueError(f"unknown {CONSISTENCY_TERMS.what}: {hint(name, [*CONSISTENCY_TERMS])}")
    if len(set(names)) < len(names):
        raise ValueError("a consistency term is named twice")
    return tuple(name for name in CONSISTENCY_TERMS if name in names)


ConsistencyTerms = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_consistency_names)]
"""Names of consistency terms, in the order of the registry."""
