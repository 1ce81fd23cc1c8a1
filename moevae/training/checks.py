"""Checks of the arguments of training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from moevae.config.registry import CONSISTENCY_TERMS
from moevae.config.schema import RunConfig, population_key
from moevae.errors import ConfigError


def check_population(configs: Sequence[RunConfig]) -> None:
    """Check that configurations can train as one population.

    Args:
        configs: one per run.

    Raises:
        TypeError: the argument is not a sequence of configurations.
        ConfigError: there is no configuration, their shapes differ, or a consistency term cannot change what
            the gate reads.
    """
    if isinstance(configs, RunConfig):
        raise TypeError("configs is a single RunConfig; expected a list of them, such as [config]")
    for config in configs:
        if not isinstance(config, RunConfig):
            raise TypeError(f"configs contains a {type(config).__name__}; expected RunConfigs only")
    if not configs:
        raise ConfigError("a population needs at least one configuration")
    if len({population_key(config) for config in configs}) > 1:
        raise ConfigError(
            "the configurations of a population may differ only in seed, weights, prior and temperature"
        )
    if configs[0].model.gate_input == "gradients":
        for name in configs[0].objective.consistency:
            if CONSISTENCY_TERMS.traits(name).get("needs_pixels"):
                raise ConfigError(
                    f"objective.consistency = {name} changes an image, and model.gate_input = gradients is"
                    " none: expected vat, knn or iic"
                )


def check_fixed_gate(config: RunConfig) -> None:
    """Check that a run can train with assignments in place of its gate.

    Args:
        config: a run of the population.

    Raises:
        ConfigError: the losses of the experts ignore the gate, or assigned experts may be pruned.
    """
    if config.objective.expert_weights != "gate":
        found = config.objective.expert_weights
        raise ConfigError(f"objective.expert_weights = {found}: expected gate with assignments")
    if config.train.extra_experts:
        raise ConfigError(f"train.extra_experts = {config.train.extra_experts}: expected 0 with assignments")


def check_assignments(assignments: Tensor, shape: tuple[int, int], experts: int) -> None:
    """Check assignments.

    Args:
        assignments: expert of each image, [R, N].
        shape: the expected R and N.
        experts: K.

    Raises:
        ValueError: the shape or a value is invalid.
    """
    if tuple(assignments.shape) != shape:
        raise ValueError(f"assignments [R, N] have shape {tuple(assignments.shape)}; expected {shape}")
    if assignments.min() < 0 or assignments.max() >= experts:
        raise ValueError(f"assignments contain values outside 0..{experts - 1}")
