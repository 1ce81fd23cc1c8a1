"""Parameters of the estimator, and its place in scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from estimators import PICTURES, SHADES, made
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from small import config

from moevae import MixtureOfVAEs, RunConfig, override
from moevae.errors import ConfigError


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n_components": 0}, "n_components = 0"),
        ({"n_components": 2.0}, r"n_components = 2\.0"),
        ({"preset": "mnits"}, "mnist"),
        ({"preset": 3}, r"preset.*\bint\b"),
        ({"settings": [("train.epochs", 3)]}, r"settings.*\blist\b.*\bdict\b"),
        ({"settings": {"train.epoch": 3}}, "train.epochs"),
        ({"settings": {"train.epochs": 0}}, "train.epochs"),
        ({"settings": {"seed": 3}}, r"\bseed\b.*\brandom_state\b"),
        ({"settings": {"model.num_experts": 3}}, r"model\.num_experts.*\bn_components\b"),
        ({"settings": {"data.train_size": 3}}, r"data\.train_size.*\bX\b"),
        ({"settings": {"data.image_size": 28}}, r"data\.image_size.*\bX\b"),
        ({"device": "abacus"}, "abacus"),
        ({"random_state": -1}, "random_state"),
        ({"random_state": 2**63}, "random_state"),
        ({"settings": {"train": {"epochs": 3}}}, r"train\.epochs"),
    ],
)
def test_wrong_parameters_are_refused_with_the_reason(params, words):
    model = MixtureOfVAEs(**params)
    with pytest.raises(ValueError, match=words) as caught:
        model.fit(SHADES)
    assert isinstance(caught.value, ConfigError)
    assert not hasattr(model, "mixture_")


def test_settings_are_parameters():
    model = made({"train.epochs": 1})
    assert model.get_params()["train.epochs"] == 1
    assert "train.epochs" not in model.get_params(deep=False)
    other = clone(model).set_params(**{"train.learning_rate": 0.5, "objective": "elbo", "n_components": 3})
    assert other.settings == model.settings | {"train.learning_rate": 0.5, "objective": "elbo"}
    assert (model.n_components, other.n_components) == (4, 3)
    assert "objective" not in model.settings
    with pytest.raises(ValueError, match=r"train\.learning_rate"):
        model.set_params(**{"train.learnin_rate": 0.5})
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(epochs=3)
    assert clone(MixtureOfVAEs(preset=RunConfig())).preset == RunConfig()


def test_a_run_config_is_a_preset():
    run = config({"train.learning_rate": 0.02})
    model = MixtureOfVAEs(4, preset=run, random_state=3, device="cpu").fit(SHADES)
    assert model.config_ == override(run, {"seed": 3})
    assert made(preset="digits").fit(SHADES).config_.train.learning_rate == 5e-3


def test_without_a_random_state_each_fit_has_another_seed():
    free = clone(made()).set_params(random_state=None)
    seeds = {clone(free).fit(SHADES).config_.seed for _ in range(2)}
    assert len(seeds) == 2
    given = {clone(free).set_params(random_state=np.random.RandomState(1)).fit(SHADES).config_.seed}
    assert given == {int(np.random.RandomState(1).randint(2**31 - 1))}


def test_the_estimator_works_in_pipelines_and_searches(fitted):
    labels = fitted.predict(PICTURES) % 2
    pipeline = make_pipeline(clone(fitted), LogisticRegression()).fit(SHADES, labels)
    assert pipeline.predict(SHADES[:5]).shape == (5,)
    grid = {"n_components": [2, 3], "train.learning_rate": [1e-3, 1e-2]}
    search = GridSearchCV(made({"train.epochs": 1}), grid, cv=2).fit(SHADES)
    assert search.best_params_["train.learning_rate"] == 1e-2
    assert search.best_estimator_.settings["train.learning_rate"] == 1e-2
    assert list(fitted.get_feature_names_out()) == [f"mixtureofvaes{i}" for i in range(4)]
    assert list(clone(fitted).set_output(transform="pandas").fit_transform(SHADES)) == list(
        fitted.get_feature_names_out()
    )


def test_importing_moevae_imports_neither_torch_nor_scikit_learn():
    code = "import sys, moevae; assert not {'torch', 'sklearn', 'pandas', 'pydantic'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
