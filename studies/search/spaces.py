"""Search spaces: named sets of distributions over settings of a configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.errors import ConfigError
from studies.search.registry import SPACES

Space = Mapping[str, BaseDistribution]
"""Distributions by dotted key. Lists are encoded as JSON, such as "[64]", because Optuna stores no lists."""

GATE: Space = SPACES.register("gate")(
    {
        "routing.kind": CategoricalDistribution(["soft", "hard"]),
        "routing.temperature": FloatDistribution(0.1, 10.0, log=True),
        "objective.balance_weight": FloatDistribution(0.1, 100.0, log=True),
        "objective.information_weight": FloatDistribution(-1.0, 1.0),
    }
)

TRAINING: Space = SPACES.register("training")(
    {
        "train.learning_rate": FloatDistribution(1e-4, 3e-2, log=True),
        "train.batch_size": IntDistribution(32, 512, step=32),
    }
)

SIZES: Space = SPACES.register("sizes")(
    {
        "model.num_experts": IntDistribution(2, 30),
        "model.latent_dim": IntDistribution(2, 32, log=True),
        "model.expert_hidden": CategoricalDistribution(["[32]", "[64]", "[128]", "[256]"]),
        "model.gate_hidden": CategoricalDistribution(["[32]", "[64]", "[128]", "[256]"]),
    }
)

SPACES.register("all")({**GATE, **TRAINING, **SIZES})


def space(name: str) -> Space:
    """Return the space with a name.

    Args:
        name: name of the space.

    Raises:
        ConfigError: the name is unknown; the message names the nearest.
    """
    return SPACES.find(name)


def without(space: Space, fixed: Mapping[str, Any]) -> Space:
    """Return the space without fixed settings; `objective` fixes all its parts.

    Args:
        space: distributions by setting.
        fixed: values of fixed settings.

    Raises:
        ConfigError: all settings of the space are fixed.
    """
    parts = ("objective.",) if "objective" in fixed else ()
    left = {key: kept for key, kept in space.items() if key not in fixed and not key.startswith(parts)}
    if not left:
        raise ConfigError(
            f"--set fixes every setting of the space ({', '.join(space)}): nothing is left to search"
        )
    return left


def settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a trial as settings of a configuration.

    Args:
        params: parameters by name.
    """
    return {
        key: json.loads(value) if isinstance(value, str) and value.startswith("[") else value
        for key, value in params.items()
    }


def params(config: RunConfig, space: Space) -> dict[str, Any] | None:
    """Return a configuration as parameters of a trial, or None if it is outside the space.

    Args:
        config: the configuration.
        space: distributions by setting.
    """
    values = {key: overrides.lookup(config, key) for key in space}
    point = {key: json.dumps(value) if isinstance(value, tuple) else value for key, value in values.items()}
    try:
        create_trial(value=0.0, params=point, distributions=dict(space))
    except ValueError:
        return None
    return point
