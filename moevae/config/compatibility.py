"""Settings that exclude or need each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moevae.config.sections.routing import RoutingConfig
from moevae.config.sections.train import TrainConfig

if TYPE_CHECKING:
    from moevae.config.schema import RunConfig


def check_compatible(config: RunConfig) -> None:
    """Check that the sections of a configuration fit together.

    Args:
        config: the configuration.

    Raises:
        ValueError: two settings exclude each other; the message names both.
    """
    moving = config.routing.final_temperature != RoutingConfig.final_temperature
    if config.routing.temperature_schedule in ("constant", "learned") and moving:
        raise ValueError(
            "routing.final_temperature needs a routing.temperature_schedule other than"
            f" {config.routing.temperature_schedule}"
        )
    if config.train.learning_rate_schedule == "constant" and (
        config.train.final_learning_rate != TrainConfig.final_learning_rate
    ):
        raise ValueError("train.final_learning_rate needs a train.learning_rate_schedule other than constant")
    if config.objective.expert_weights != "gate" and config.routing.kind != "soft":
        raise ValueError(
            f"objective.expert_weights = {config.objective.expert_weights} weights the experts by their"
            f" posterior, and routing.kind = {config.routing.kind} by the gate: expected soft"
        )
    if config.routing.kind == "top-k" and config.routing.k > config.model.num_experts:
        raise ValueError(
            f"routing.k = {config.routing.k} experts of an image, and model.num_experts is"
            f" {config.model.num_experts}: expected at most as many"
        )
    if config.train.revival and config.model.expert_prior:
        raise ValueError("train.revival needs a uniform model.expert_prior")
    _check_deformations(config)
    if config.model.gate_network == "posterior":
        _check_posterior_gate(config)
    if config.model.gate_input == "gradients":
        _check_gradients(config)
    if config.model.gate_normalization == "batch" and config.train.batch_size == 1:
        raise ValueError("model.gate_normalization = batch needs a train.batch_size of 2 or more")
    if config.train.extra_experts and config.model.expert_prior:
        raise ValueError("train.extra_experts needs a uniform model.expert_prior")
    if config.train.extra_experts and config.train.pruning_end < config.train.pruning_start:
        raise ValueError("train.pruning_end must not be below train.pruning_start")
    clustered_until = config.train.gate_start_end if config.train.gate_start == "clustering" else 0.0
    if config.train.extra_experts and clustered_until > config.train.pruning_start:
        raise ValueError(
            "train.gate_start = clustering numbers the experts, and pruning renumbers them: expected a"
            " train.gate_start_end of train.pruning_start at most"
        )


def _check_posterior_gate(config: RunConfig) -> None:
    expected = {
        "model.gate_input": (config.model.gate_input, "target"),
        "model.gate_normalization": (config.model.gate_normalization, "none"),
        "objective.consistency": (list(config.objective.consistency), []),
        "train.gate_start": (config.train.gate_start, "none"),
    }
    for key, (value, allowed) in expected.items():
        if value != allowed:
            raise ValueError(
                f"model.gate_network = posterior has no network, so that {key} = {value} has no effect:"
                f" expected {allowed}"
            )
    if config.routing.temperature_schedule == "learned":
        raise ValueError(
            "model.gate_network = posterior has no gradient to learn a temperature from: expected another"
            " routing.temperature_schedule than learned"
        )


def _check_gradients(config: RunConfig) -> None:
    if config.model.gate_network == "conv":
        raise ValueError(
            "model.gate_network = conv needs an image, not model.gate_input = gradients: expected"
            " model.gate_network = mlp"
        )


def _check_deformations(config: RunConfig) -> None:
    kinds, starts = config.model.deformations, config.train.deformation_starts
    if len(set(kinds)) < len(kinds) or not {"affine", "displacement"} & set(kinds):
        raise ValueError("model.deformations must be different ones, with affine or displacement among them")
    if starts and len(starts) != len(kinds):
        raise ValueError(
            f"train.deformation_starts has {len(starts)} entries for {len(kinds)} model.deformations:"
            " expected one each, or none"
        )
    if config.model.decoder == "deformable" and config.model.likelihood == "autoregressive":
        raise ValueError("model.decoder = deformable needs model.likelihood = gaussian or bernoulli")
    if config.model.decoder == "deformable" and config.model.latent_prior != "normal":
        raise ValueError("model.decoder = deformable needs model.latent_prior = normal")
