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
"""Named members of the objective family, whatever stands beside them; any other is a free member."""

BESIDE_MEMBERS = (
    "bound",
    "expert_gradient",
    "consistency",
    "consistency_weight",
    "vat_radius",
)


def member(objective: ObjectiveConfig) -> str:
    """Return the member's name, "competitive" and "information" at any strength; "free" if it has none."""
    default = ObjectiveConfig()
    bare = replace(objective, **{name: getattr(default, name) for name in BESIDE_MEMBERS})
    for name in ("elbo", "marginal", "map"):
        if bare == MEMBERS[name]:
            return name
    if objective.expert_weights == "gate" and objective.information_weight == 0:
        return "competitive"
    rewarded = objective.information_weight < 0 < objective.balance_weight
    return "information" if objective.expert_weights == "gate" and rewarded else "free"


def is_of_member(key: str) -> bool:
    """Return whether a dotted key is of what tells the members of the objective family apart."""
    section, _, name = key.partition(".")
    return section == "objective" and bool(name) and name not in BESIDE_MEMBERS
