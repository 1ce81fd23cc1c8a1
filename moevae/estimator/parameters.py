"""Parameters of the estimator: their validation, and the configuration that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from moevae.config import overrides
from moevae.config.presets import preset as preset_of
from moevae.config.schema import RunConfig
from moevae.errors import MoevaeError, ParameterError
from moevae.utils import devices

OWN_PARAMETERS = {
    "seed": "random_state",
    "model.num_experts": "n_components",
    "data.name": "X",
    "data.train_size": "X",
    "data.validation_size": "X",
    "data.imbalance": "X",
    "data.image_size": "X",
    "data.bad_images": "X",
}
"""Settings that a parameter or X determines, by name; they are not valid in `settings`."""


def run_config(n_components: object, preset: object, settings: object, random_state: Any) -> RunConfig:
    """Return the configuration that the parameters of an estimator describe.

    Args:
        n_components: number of experts, K; None keeps that of the preset.
        preset: name of a preset, a configuration, or None for the defaults.
        settings: settings by dotted key, or None.
        random_state: a seed, a `numpy.random.RandomState`, or None.

    Raises:
        ParameterError: a parameter is invalid.
    """
    count = n_components
    if count is not None and (not isinstance(count, Integral) or count < 1):
        raise ParameterError(f"n_components = {count!r}; expected an integer, at least 1, or None")
    if not isinstance(preset, str | RunConfig | None):
        raise ParameterError(
            f"preset is of type {type(preset).__name__}; expected a name, a RunConfig or None"
        )
    if not isinstance(settings, Mapping | None):
        raise ParameterError(
            f"settings is of type {type(settings).__name__}; expected a dict by dotted key, such as"
            " {'train.epochs': 5}"
        )
    for key in settings or {}:
        check_setting(key)
    if isinstance(random_state, Integral):
        seed = int(random_state)
        if not 0 <= seed < 2**63:
            raise ParameterError(f"random_state = {seed}; expected 0 to 2^63 - 1")
    else:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
    own = {"seed": seed} | ({} if count is None else {"model.num_experts": int(count)})
    try:
        base = preset_of(preset) if isinstance(preset, str) else preset or RunConfig()
        return overrides.override(base, own | {key: plain(value) for key, value in (settings or {}).items()})
    except MoevaeError as error:
        raise ParameterError(str(error)) from None


def resolve_device(name: object) -> torch.device:
    """Return the device with the given name.

    Args:
        name: name of the device, such as `cuda`, or `auto`.

    Raises:
        ParameterError: there is no such device.
    """
    try:
        return devices.resolve(str(name))
    except MoevaeError as error:
        raise ParameterError(str(error)) from None


def check_setting(key: object) -> None:
    """Check that a key is valid in `settings`.

    Args:
        key: dotted key of a setting, or `objective`.

    Raises:
        ParameterError: the key is unknown, or a parameter of the estimator determines the setting.
    """
    if key in OWN_PARAMETERS:
        raise ParameterError(f"settings: {key} does not apply; it is determined by {OWN_PARAMETERS[key]}")
    try:
        if key != "objective":
            overrides.check_known(str(key))
    except MoevaeError as error:
        raise ParameterError(f"settings: {error}") from None


def plain(value: Any) -> Any:
    """Return a value of NumPy as a value of Python, for configurations and JSON."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
