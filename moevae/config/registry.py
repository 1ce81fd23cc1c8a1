"""The registries of what a configuration can name.

The entries are in the modules given here. Each registry also takes entries of other packages: by
`REGISTRY.register(name)` in a process that imports them, or by an entry point of its group, which every
process finds. `moevae.objectives.checks` checks an entry of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import AfterValidator

from moevae.utils.registry import Registry
from moevae.utils.suggest import hint

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig

Function = Callable[..., Any]

ROUTINGS: Registry[Function] = Registry(
    "ROUTINGS", "routing", "moevae.objectives.routing", group="moevae.routings", traits=("random",)
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


def named_in(*registries: Registry[Any], also: tuple[str, ...] = ()) -> AfterValidator:
    """Return the check that a setting's value is the name of an entry, or one of `also`."""

    def check(name: str) -> str:
        if name in also or any(name in registry for registry in registries):
            return name
        names = [*(name for registry in registries for name in registry), *also]
        raise ValueError(f"unknown {registries[0].what}: {hint(name, names)}")

    return AfterValidator(check)


SUMS: dict[str, tuple[str, ...]] = {"none": (), "both": ("virtual-adversarial", "augment")}
"""Sums of consistency terms with names of their own; all others are written with `+`."""


def check_sum(name: str) -> str:
    """Return the name of a sum of consistency terms: different ones, joined by `+` in the registry's order.

    Raises:
        ValueError: an unknown term, or a sum in another form than the one that is hashed.
    """
    if name in SUMS:
        return name
    parts = name.split("+")
    for part in parts:
        if part not in CONSISTENCY_TERMS:
            raise ValueError(f"unknown {CONSISTENCY_TERMS.what}: {hint(part, [*SUMS, *CONSISTENCY_TERMS])}")
    ordered = tuple(term for term in CONSISTENCY_TERMS if term in parts)
    short = next((known for known, terms in SUMS.items() if terms == ordered), "+".join(ordered))
    if name != short:
        raise ValueError(f"expected {short}")
    return name
