"""Configurations are values: every field is part of the fingerprint, every error names its key."""

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moevae.config.objectives import MEMBERS, member
from moevae.config.overrides import fingerprint, from_dict, keys, lookup, override, to_dict
from moevae.config.presets import preset
from moevae.config.registry import PRESETS
from moevae.config.schema import PER_RUN, ModelConfig, ObjectiveConfig, RunConfig, population_key
from moevae.errors import ConfigError

# python -c "from moevae.config.schema import *; print(fingerprint(RunConfig()))"
GOLDEN = "31f0e2c6e40d66e2"

OTHER = {
    "data.name": "mnist",
    "data.train_size": 100,
    "data.validation_size": 0,
    "data.split_seed": 1,
    "data.imbalance": 0.7,
    "data.image_size": (28, 20),
    "data.bad_images": "skip",
    "data.binarization": "none",
    "model.num_experts": 3,
    "model.latent_dim": 2,
    "model.latent_prior": "vamp",
    "model.prior_components": 5,
    "model.expert_network": "conv",
    "model.expert_hidden": (64, 32),
    "model.encoder": "shared",
    "model.gate_network": "conv",
    "model.gate_hidden": (),
    "model.gate_normalization": "batch",
    "model.gate_input": "target",
    "model.activation": "tanh",
    "model.likelihood": "gaussian",
    "model.pixel_network": "made",
    "model.pixel_width": 50,
    "model.pixel_depth": 3,
    "model.pixel_layers": "shared",
    "model.gaussian_std": 0.4,
    "model.variance_floor": 0.1,
    "model.decoder": "deformable",
    "model.deformations": ("affine",),
    "model.displacement_grid": 5,
    "routing.kind": "hard",
    "routing.num_sampled": 2,
    "routing.k": 3,
    "routing.noise": 0.5,
    "routing.temperature": 0.5,
    "routing.temperature_schedule": "linear",
    "routing.final_temperature": 0.5,
    "objective.expert_weights": "posterior",
    "objective.bound": "iwae",
    "objective.information_weight": -0.5,
    "objective.balance_weight": 1.0,
    "objective.balancing": "none",
    "objective.expert_gradient": 0.25,
    "objective.consistency": ("vat", "augmentation"),
    "objective.consistency_weight": 0.5,
    "objective.vat_radius": 0.5,
    "model.expert_prior": (0.325, *(0.075,) * 9),
    "train.epochs": 3,
    "train.min_steps": 50,
    "train.gate_start": "clustering",
    "train.gate_start_end": 0.3,
    "train.kl_warmup": 0.2,
    "train.start": "0123456789abcdef",
    "train.batch_size": 7,
    "train.learning_rate": 0.1,
    "train.learning_rate_schedule": "linear",
    "train.final_learning_rate": 0.1,
    "train.num_samples": 4,
    "train.precision": "bfloat16",
    "train.extra_experts": 2,
    "train.pruning_start": 0.1,
    "train.pruning_end": 0.9,
    "train.revival": 0.2,
    "train.revival_end": 0.7,
    "train.deformation_starts": (0.1, 0.2),
    "train.template_learning_rate": 0.1,
    "evaluation.num_samples": 9,
    "evaluation.iwae_samples": 50,
    "evaluation.marginal_images": 100,
    "evaluation.iwae_precision": "bfloat16",
    "evaluation.iwae_images": 100,
    "evaluation.iwae_experts": 2,
    "evaluation.all_images": True,
    "seed": 12,
}
"""A value for every key that is not its default."""

BASE = override(
    RunConfig(),
    {
        "routing.temperature_schedule": "cosine",
        "routing.final_temperature": 0.7,
        "train.learning_rate_schedule": "cosine",
        "train.final_learning_rate": 1e-4,
    },
)


def message_of(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_key_is_tried_here():
    assert set(OTHER) == set(keys())


@pytest.mark.parametrize("key", OTHER)
def test_every_field_counts_in_the_fingerprint(key):
    changed = override(BASE, {key: OTHER[key]})
    assert lookup(changed, key) == OTHER[key]
    assert fingerprint(changed) != fingerprint(BASE)
    others = [name for name in keys() if name != key]
    assert [lookup(changed, name) for name in others] == [lookup(BASE, name) for name in others]


@pytest.mark.parametrize("key", [key for key in keys() if isinstance(lookup(BASE, key), float)])
def test_negative_zero_equals_zero(key):
    if key in (
        "data.imbalance",
        "model.gaussian_std",
        "objective.vat_radius",
        "routing.temperature",
        "routing.final_temperature",
        "train.learning_rate",
        "train.final_learning_rate",
        "train.template_learning_rate",
    ):
        assert "greater than 0" in message_of(override, BASE, {key: -0.0})
    else:
        assert str(lookup(override(BASE, {key: -0.0}), key)) == "0.0"
        assert fingerprint(override(BASE, {key: -0.0})) == fingerprint(override(BASE, {key: 0.0}))


def test_fingerprints_have_not_changed():
    assert fingerprint(RunConfig()) == GOLDEN


@given(st.sampled_from(sorted(PRESETS)))
def test_a_configuration_survives_json(name):
    config = preset(name)
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


def test_spelling_a_number_otherwise_is_the_same_run():
    spelled = override(RunConfig(), {"objective.balance_weight": 20, "model.gate_hidden": [128]})
    assert fingerprint(spelled) == fingerprint(RunConfig())


@pytest.mark.parametrize(
    "given", [(13, 3, 3, 3), (1.3e308, 3e307, 3e307, 3e307), (0.59090909090909,) + (0.136363636363637,) * 3]
)
def test_shares_in_any_unit_are_the_same_prior(given):
    run = override(RunConfig(), {"model.num_experts": 4, "model.expert_prior": given})
    assert run.model.expert_prior == (0.590909090909, 0.136363636364, 0.136363636364, 0.136363636364)
    assert from_dict(to_dict(run)) == run


@pytest.mark.parametrize(
    "given", [(), (1, 1, 1), (1 / 3, 1 / 3, 1 / 3), (0.3333333333, 0.3333333333, 0.3333333334)]
)
def test_equal_shares_are_no_prior_of_their_own(given):
    bare = override(RunConfig(), {"model.num_experts": 3})
    assert fingerprint(override(bare, {"model.expert_prior": given})) == fingerprint(bare)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30))
def test_shares_of_shares_are_the_same_shares(given):
    once = ModelConfig(num_experts=len(given), expert_prior=tuple(given)).expert_prior
    assert ModelConfig(num_experts=len(given), expert_prior=once).expert_prior == once
    if once:  # equal shares are the uniform prior
        assert sum(once) == pytest.approx(1, abs=1e-9)
        assert [each / once[0] for each in once] == pytest.approx([each / given[0] for each in given])
    else:
        assert max(given) == pytest.approx(min(given), rel=1e-6)


def test_a_prior_has_a_share_an_expert():
    message = message_of(override, RunConfig(), {"model.expert_prior": (1, 2)})
    assert message == (
        "model.expert_prior has 2 shares, and model.num_experts is 10: expected one share per expert,"
        " or none for a uniform prior"
    )
    assert "may be below" in message_of(override, RunConfig(), {"model.expert_prior": [1] * 9 + [1e-300]})


def test_missing_keys_take_their_defaults():
    assert from_dict({}) == RunConfig()
    assert from_dict({"model": {"num_experts": 3}}) == override(RunConfig(), {"model.num_experts": 3})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("model.num_expert", "did you mean model.num_experts?"),
        ("routing.temprature", "did you mean routing.temperature?"),
        ("balance_weight", "did you mean objective.balance_weight?"),
        ("sed", "did you mean seed?"),
        ("qqqqqqqq", "valid: data.name, "),
        ("model", "a group of settings; expected one of its keys, such as model.num_experts"),
        ("", ""),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(key, hint):
    assert message_of(override, RunConfig(), {key: 1}).startswith(f"unknown key {key!r}: {hint}")
    assert "unknown key" in message_of(lookup, RunConfig(), key)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("routing.temperature", 0),
        ("routing.temperature", -1),
        ("routing.temperature", float("nan")),
        ("routing.temperature", float("inf")),
        ("model.num_experts", 0),
        ("model.num_experts", 2.5),
        ("model.expert_hidden", [0]),
        ("model.expert_hidden", "128"),
        ("model.activation", "swish"),
        ("objective.balance_weight", -1),
        ("objective.balance_weight", float("nan")),
        ("objective.information_weight", float("-inf")),
        ("objective.balance_weight", 10**400),
        ("objective.balancing", "cv2"),
        ("model.expert_prior", [1, 0]),
        ("model.expert_prior", [1, -1]),
        ("model.expert_prior", 1),
        ("train.epochs", 0),
        ("train.learning_rate", "fast"),
        ("data.train_size", 0),
        ("data.validation_size", -1),
        ("data.imbalance", 0),
        ("data.imbalance", 1.1),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", None),
    ],
)
def test_an_impossible_value_is_named_with_its_key(key, value):
    assert key in message_of(override, RunConfig(), {key: value})


@pytest.mark.parametrize(
    ("name", "hint"), [("mnits", "did you mean mnist?"), ("fashion_mnist", "did you mean fashion-mnist?")]
)
def test_an_unknown_data_set_is_named_with_the_nearest(name, hint):
    assert message_of(override, RunConfig(), {"data.name": name}) == f"unknown data set {name!r}: {hint}"


def test_a_final_temperature_without_a_schedule_is_refused():
    message = message_of(override, RunConfig(), {"routing.final_temperature": 0.5})
    assert message == "routing.final_temperature needs a routing.temperature_schedule other than constant"
    learned = {"routing.temperature_schedule": "learned", "routing.final_temperature": 0.5}
    assert message_of(override, RunConfig(), learned).endswith("other than learned")


def test_clusters_that_number_experts_after_the_first_pruning_are_refused():
    changes = {"train.gate_start": "clustering", "train.gate_start_end": 0.5, "train.pruning_start": 0.4}
    assert override(RunConfig(), changes).train.extra_experts == 0
    message = message_of(override, RunConfig(), changes | {"train.extra_experts": 2})
    assert "train.gate_start_end of train.pruning_start at most" in message
    override(RunConfig(), changes | {"train.extra_experts": 2, "train.gate_start_end": 0.4})


@pytest.mark.parametrize("tree", [[1, 2], "seed", None, 3])
def test_a_configuration_must_be_a_table(tree):
    assert message_of(from_dict, tree).startswith("a configuration is a table of keys")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CHANGES = st.dictionaries(st.sampled_from([*keys(), "objective"]) | st.text(max_size=12), VALUES, max_size=3)


@given(CHANGES)
def test_any_change_makes_a_configuration_or_a_one_line_error(changes):
    try:
        changed = override(RunConfig(), changes)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most changes are refused, not all
    else:
        assert from_dict(to_dict(changed)) == changed


@given(VALUES)
def test_any_tree_makes_a_configuration_or_a_one_line_error(tree):
    try:
        found = from_dict(tree)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the empty tree is fine
    else:
        assert found == RunConfig()


def test_a_member_is_applied_before_other_settings_of_its_section_in_any_order():
    changes = {"objective.balance_weight": 5, "objective": "elbo"}
    found = override(RunConfig(), changes)
    assert found == override(RunConfig(), dict(reversed(changes.items())))
    assert found.objective.balance_weight == 5


def test_members_by_name():
    assert lookup(override(RunConfig(), {"objective": "elbo"}), "objective") == "elbo"
    assert {name: member(objective) for name, objective in MEMBERS.items()} == {
        name: name for name in MEMBERS
    }
    assert member(ObjectiveConfig(information_weight=0.0, balance_weight=3.0)) == "competitive"
    assert member(ObjectiveConfig(information_weight=1.0, balance_weight=2.0)) == "free"
    assert member(ObjectiveConfig(information_weight=-0.5)) == "information"
    assert member(ObjectiveConfig(information_weight=-0.5, balance_weight=0.0)) == "free"
    assert member(preset("imsat-mnist").objective) == "information"


def test_naming_a_member_keeps_the_other_settings():
    run = override(preset("imsat-mnist"), {"objective": "elbo"})
    assert member(run.objective) == "elbo"
    assert run.objective.consistency == ("vat",)
    assert run.objective.expert_gradient == 0
    skewed = override(RunConfig(), {"model.num_experts": 2, "model.expert_prior": (3, 1)})
    elbo = override(skewed, {"objective": "elbo"})
    assert lookup(elbo, "objective") == "elbo"
    assert lookup(elbo, "model.expert_prior") == (0.75, 0.25)
    assert "did you mean elbo?" in message_of(override, RunConfig(), {"objective": "elbow"})


@pytest.mark.parametrize("key", OTHER)
def test_runs_of_a_shape_differ_in_per_run_scalars_only(key):
    same = population_key(override(BASE, {key: OTHER[key]})) == population_key(BASE)
    assert same == (key in PER_RUN)


def test_a_configuration_does_not_change():
    with pytest.raises(FrozenInstanceError):
        RunConfig().seed = 3


def _with_true(value):
    """Return a value with true in the place of its numbers; None if it has none."""
    if isinstance(value, tuple):
        inside = [_with_true(each) for each in value]
        return tuple(inside) if inside and None not in inside else None
    return True if isinstance(value, int | float) and not isinstance(value, bool) else None


@pytest.mark.parametrize("key", [key for key, value in OTHER.items() if _with_true(value) is not None])
def test_true_is_no_number(key):
    message = message_of(override, BASE, {key: _with_true(OTHER[key])})
    assert "expected a number" in message or "valid integer" in message
