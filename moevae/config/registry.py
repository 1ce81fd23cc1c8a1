"""The registries of what a configuration can name.

The built-in entries are in the modules given here. Other packages add entries by `REGISTRY.register(name)`,
in each process that imports them, or by an entry point of the group, which every process finds.
The modules `checks` of `moevae.data`, `moevae.evaluation` and `moevae.objectives` have checks for entries of
your own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
BIAS_UPDATES: Registry[Function] = Registry(
    "BIAS_UPDATES", "bias update", "moevae.objectives.load_balancing", group="moevae.bias_updates"
)
CONSISTENCY_TERMS: Registry[Function] = Registry(
    "CONSISTENCY_TERMS",
    "consistency term",
    "moevae.objectives.consistency",
    group="moevae.consistency_terms",
    traits=("needs_radius", "needs_neighbors", "needs_pixels"),
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


@dataclass(frozen=True)
class Choices:
    """The names that a setting accepts, as metadata of its type: the reference of settings reads them."""

    registries: tuple[Registry[Any], ...]
    also: tuple[str, ...] = ()
    """Further names."""
    formats: Registry[Any] | None = None
    """Formats of data, whose names are completed by a path."""

    @property
    def names(self) -> list[str]:
        """All names, in the order of the registries."""
        paths = (f"{name}:PATH" for name in self.formats or ())
        return [*(name for registry in self.registries for name in registry), *self.also, *paths]


class _NamedIn(Choices):
    def __call__(self, name: str) -> str:
        """Return the name if the setting accepts it.

        Raises:
            ValueError: it does not; the message names the nearest.
        """
        if name in self.also:
            return name
        for registry in self.registries:
            if name in registry:
                return name
        raise ValueError(f"unknown {self.registries[0].what}: {hint(name, self.names)}")


class _ListOf(Choices):
    def __call__(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names in the order of the registry.

        Raises:
            ValueError: an unknown name, or one that is given twice.
        """
        (registry,) = self.registries
        for name in names:
            if name not in registry:
                raise ValueError(f"unknown {registry.what}: {hint(name, self.names)}")
        if len(set(names)) < len(names):
            raise ValueError(f"a {registry.what} is named twice")
        return tuple(name for name in registry if name in names)


def named_in(*registries: Registry[Any], also: tuple[str, ...] = ()) -> AfterValidator:
    """Return a validator of settings whose value is the name of an entry.

    Args:
        *registries: registries of the entries.
        also: further valid names.
    """
    return AfterValidator(_NamedIn(registries, also))


def _listed(names: object) -> object:
    if isinstance(names, str):
        raise ValueError('expected a list of terms, such as ["vat"]')
    return names


ConsistencyTerms = Annotated[
    tuple[str, ...], BeforeValidator(_listed), AfterValidator(_ListOf((CONSISTENCY_TERMS,)))
]
"""Names of consistency terms, in the order of the registry."""
