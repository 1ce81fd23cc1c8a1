"""Named members of the objective family."""

from __future__ import annotations

from dataclasses import replace

from moevae.config.schema import ObjectiveConfig

MEMBERS: dict[str, ObjectiveConfig] = {
    "elbo": ObjectiveConfig(information_weight=1.0, balance_weight=1.0),
    "competitive": ObjectiveConfig(information_weight=0.0, balance_weight=20.0),
    "information": ObjectiveConfig(information_weight=-0.1, balance_weight=0.3),
    "marginal": ObjectiveConfig(expert_weights="posterior", information_weight=0.0, balance_weight=0.0),
    "map": ObjectiveConfig(expert_weights="map", information_weight=0.0, balance_weight=0.0),
}
"""Named members of the objective family; all other settings make a free member."""

INDEPENDENT_SETTINGS = (
    "bound",
    "expert_gradient",
    "consistency",
    "consistency_weight",
    "vat_radius",
)
"""Settings of the objective that do not define a member; they may have any value."""


def member(objective: ObjectiveConfig) -> str:
    """Return the name of the member of the objective family.

    Args:
        objective: objective configuration; `competitive` and `information` have any strength.

    Returns:
        The name, or `free`.
    """
    default = ObjectiveConfig()
    bare = replace(objective, **{name: getattr(default, name) for name in INDEPENDENT_SETTINGS})
    for name in ("elbo", "marginal", "map"):
        if bare == MEMBERS[name]:
            return name
    if objective.expert_weights == "gate" and objective.information_weight == 0:
        return "competitive"
    rewarded = objective.information_weight < 0 < objective.balance_weight
    return "information" if objective.expert_weights == "gate" and rewarded else "free"


def is_of_member(key: str) -> bool:
    """Return whether a setting defines a member of the objective family.

    Args:
        key: dotted key of the setting.
    """
    section, _, name = key.partition(".")
    return section == "objective" and bool(name) and name not in INDEPENDENT_SETTINGS
