"""Migration of configurations from schema 1 to schema 2: new names with the same meaning."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

FROM = 1
"""The schema that is migrated."""

_RENAMED = {  # settings by dotted key
    "objective.balance_prior": "model.expert_prior",
    "routing.top_k": "routing.num_sampled",
    "routing.schedule": "routing.temperature_schedule",
    "objective.responsibilities": "objective.expert_weights",
    "objective.experts_steer_gate": "objective.expert_gradient",
    "objective.smoothness": "objective.consistency",
    "objective.smoothness_weight": "objective.consistency_weight",
    "objective.smoothness_radius": "objective.vat_radius",
    "evaluation.importance_samples": "evaluation.iwae_samples",
    "evaluation.importance_images": "evaluation.iwae_images",
    "evaluation.importance_experts": "evaluation.iwae_experts",
}
_VALUES: dict[str, dict[str, str]] = {
    "data.binarization": {"fixed": "static"},
    "model.gate_input": {"seen": "target", "gray": "grayscale"},
    "routing.kind": {"top-k": "sampled"},
    "objective": {"tight": "marginal"},
}

_TERMS = {  # consistency terms
    "virtual-adversarial": "vat",
    "augment": "augmentation",
    "neighbors": "knn",
    "stretched-neighbors": "knn-stretch",
}
_SUMS: dict[str, list[str]] = {"none": [], "both": ["vat", "augmentation"]}

# Settings added to schema 1 later; at these values they are not hashed.
_ADDED = {
    "model.decoder": "network",
    "model.deformations": ["affine", "displacement"],
    "model.displacement_grid": 4,
    "train.extra_experts": 0,
    "train.pruning_start": 0.3,
    "train.pruning_end": 0.6,
    "train.deformation_starts": [],
    "train.template_learning_rate": 0.02,
}


def migrate_key(key: str) -> str:
    """Return the dotted key of schema 2 of a setting of schema 1."""
    return _RENAMED.get(key, key)


def migrate_setting(key: str, value: Any) -> tuple[str, Any]:
    """Return a setting of schema 1 as one of schema 2.

    Args:
        key: dotted key in schema 1.
        value: value in schema 1.

    Returns:
        The dotted key and the value in schema 2.
    """
    if key == "objective.smoothness":
        value = _terms(value)
    elif key == "objective.experts_steer_gate":
        value = float(value not in (False, "false"))
    elif isinstance(value, str):
        value = _VALUES.get(key, {}).get(value, value)
    return migrate_key(key), value


def migrate_config(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of schema 1, as nested data, in schema 2.

    Args:
        tree: sections of settings, as in a record or a checkpoint, and the seed.
    """
    new: dict[str, Any] = {}
    for section, settings in tree.items():
        if not isinstance(settings, Mapping):
            new[section] = settings
            continue
        new.setdefault(section, {})
        for name, value in settings.items():
            key, migrated = migrate_setting(f"{section}.{name}", value)
            place, _, leaf = key.partition(".")
            new.setdefault(place, {})[leaf] = migrated
    return new


def old_fingerprint(tree: Mapping[str, Any]) -> str:
    """Return the fingerprint that schema 1 gave to a configuration of schema 1.

    Args:
        tree: the configuration, as nested mappings.
    """
    left = copy.deepcopy(dict(tree))
    for key, before in _ADDED.items():
        section, name = key.split(".")
        if left.get(section, {}).get(name) == before:
            del left[section][name]
    text = json.dumps({"schema": FROM, "config": left}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _terms(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _SUMS.get(value) or [_TERMS.get(name, name) for name in value.split("+") if name != "none"]
