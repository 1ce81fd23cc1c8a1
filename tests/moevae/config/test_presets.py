"""Presets against published numbers, and as valid configurations."""

import itertools
import math

import pytest

from moevae.config.objectives import member
from moevae.config.overrides import lookup, override
from moevae.config.presets import preset
from moevae.config.registry import DATASETS, PRESETS, RELEASES
from moevae.data.datasets import load_images, load_labels
from moevae.errors import ConfigError
from moevae.evaluation.clustering import clustering
from moevae.evaluation.evaluate import evaluate
from moevae.models.mixture import Mixture
from moevae.training.fit import fit

ARTICLE = {
    "data.name": "mnist",
    "data.binarization": "none",
    "model.num_experts": 10,
    "model.latent_dim": 10,
    "model.expert_hidden": (128,),
    "model.gate_hidden": (128,),
    "model.activation": "sigmoid",
    "model.likelihood": "gaussian",
    "model.gaussian_std": 0.5,
    "model.variance_floor": 1e-5,
    "routing.kind": "soft",
    "routing.temperature": 1.0,
    "routing.temperature_schedule": "constant",
    "objective.information_weight": 0.0,
    "objective.balance_weight": 0.1,
    "objective.balancing": "variance-of-sum",
    "train.epochs": 100,
    "train.batch_size": 100,
    "train.learning_rate": 1e-3,
}
"""The settings of Y. Zeldes' 2019 article on mixtures of variational autoencoders."""


@pytest.mark.parametrize("key", ARTICLE)
def test_zeldes2019_has_the_settings_of_the_article(key):
    assert lookup(preset("zeldes2019"), key) == ARTICLE[key]


def test_zeldes2019_has_the_constants_of_the_article():
    config = preset("zeldes2019")
    constant = 784 * (math.log(config.model.gaussian_std) + 0.5 * math.log(2 * math.pi))
    assert constant == pytest.approx(177.02, abs=0.005)
    per_expert = config.train.batch_size / config.model.num_experts
    assert config.objective.balance_weight * per_expert**2 == pytest.approx(10)  # times CV^2


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("mnist", {"gate": (784, 128, 10), "encoder": (784, 400, 40), "decoder": (20, 400, 784)}),
        ("fashion-mnist", {"gate": (784, 128, 10), "encoder": (784, 400, 40), "decoder": (20, 400, 784)}),
        ("zeldes2019", {"gate": (784, 128, 10), "encoder": (784, 128, 20), "decoder": (10, 128, 784)}),
    ],
)
def test_networks_have_the_sizes_of_their_presets(name, widths):
    sizes = preset(name).model
    model, experts = Mixture(sizes, (28, 28), (0,)), sizes.num_experts
    gate, encoder, decoder = widths["gate"], widths["encoder"], widths["decoder"]
    one = _parameters(encoder) + _parameters(decoder)
    every = experts * one + _parameters(gate)
    layers = [module for module in model.modules() if hasattr(module, "weight")]
    assert sum(layer.weight.numel() + layer.bias.numel() for layer in layers) == every


def _parameters(sizes):
    return sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(sizes))


def test_the_presets_named_after_data_are_the_competitive_member_on_drawn_pixels():
    for name in PRESETS.keys() & (DATASETS.keys() | RELEASES.keys()):
        config = preset(name)
        assert member(config.objective) == "competitive"
        assert (config.objective.balance_weight, config.objective.balancing) == (20.0, "kl")
        assert (config.data.binarization, config.model.likelihood) == ("dynamic", "bernoulli")
        assert config.data.name == name.removesuffix("-conv")


def test_digits_need_no_download(monkeypatch, tmp_path):
    monkeypatch.setenv("MOEVAE_DATA", str(tmp_path))
    assert load_images(preset("digits").data).train.shape[1] == 64
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_preset_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'zeldes2018'.*\bzeldes2019\b"):
        preset("zeldes2018")


def test_the_templates_of_digits_find_the_digits():
    """Without labels, in fewer epochs than the preset has."""
    config = override(preset("deformable-digits"), {"train.epochs": 12})
    images, labels = load_images(config.data), load_labels(config.data)
    trained = fit([config], images)
    found = evaluate(trained.model, [config], images, importance=False)[0]
    assert trained.model.config.num_experts == 10
    assert clustering(found.assignments, labels.test)["acc"] > 0.8
