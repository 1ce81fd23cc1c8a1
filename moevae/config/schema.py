"""The configuration of a run: a tree of frozen dataclasses, validated at creation, hashed over all fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from moevae.config.compatibility import check_compatible
from moevae.config.sections.data import DataConfig
from moevae.config.sections.evaluation import EvaluationConfig
from moevae.config.sections.model import ModelConfig
from moevae.config.sections.objective import ObjectiveConfig
from moevae.config.sections.routing import RoutingConfig
from moevae.config.sections.train import TrainConfig
from moevae.config.types import NUMBER, STRICT

__all__ = [
    "ADDED",
    "PER_RUN",
    "SCHEMA",
    "DataConfig",
    "EvaluationConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "RoutingConfig",
    "RunConfig",
    "TrainConfig",
    "population_key",
]

SCHEMA = 2
"""Version of the configuration's names and meaning: part of every fingerprint."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """All settings that determine the numbers of a run. A cell is a RunConfig without its seed.

    Examples:
        >>> import moevae
        >>> config = moevae.RunConfig(train=moevae.TrainConfig(epochs=5), seed=3)
        >>> config.model.num_experts, config.train.epochs, config.seed
        (10, 5, 3)
    """

    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    routing: RoutingConfig = Field(default_factory=RoutingConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    seed: Annotated[int, NUMBER, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _compatible(self) -> RunConfig:
        check_compatible(self)
        return self


ADDED: dict[str, Any] = {
    "data.image_size": None,
    "data.bad_images": "refuse",
    "routing.k": 2,
    "routing.noise": 0.0,
    "train.start": "",
    "train.revival": 0.0,
    "train.revival_end": 0.5,
    "evaluation.all_images": False,
    "train.kl_warmup": 0.0,
    "model.latent_prior": "normal",
    "model.prior_components": 32,
    "model.pixel_network": "window",
    "model.pixel_width": 32,
    "model.pixel_depth": 2,
    "model.pixel_layers": "separate",
    "train.min_steps": 0,
    "train.gate_start": "none",
    "train.gate_start_end": 0.15,
    "evaluation.marginal_images": None,
    "evaluation.iwae_precision": "float32",
}
"""Fields added since the first records of this schema, each with the value, as in `to_dict`, that reproduces
what the code did before the field existed."""

PER_RUN = (
    "seed",
    "objective.information_weight",
    "objective.balance_weight",
    "model.expert_prior",
    "objective.consistency_weight",
    "objective.expert_gradient",
    "routing.temperature",
    "routing.final_temperature",
)
"""Settings that may differ between the runs of one population."""


def population_key(config: RunConfig) -> RunConfig:
    """Return the configuration with default values of `PER_RUN`: runs with equal results train together.

    Args:
        config: the configuration.
    """
    return replace(
        config,
        seed=0,
        model=replace(config.model, expert_prior=()),
        objective=replace(
            config.objective,
            information_weight=0.0,
            balance_weight=0.0,
            consistency_weight=0.0,
            expert_gradient=1.0,
        ),
        routing=replace(config.routing, temperature=1.0, final_temperature=1.0),
    )
