"""Files of the estimator."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from estimators import METHODS, PICTURES, SHADES, bits, made
from safetensors import safe_open
from sklearn.base import clone
from small import config, images, same, weights

from moevae import MixtureOfVAEs, fit
from moevae.errors import CheckpointError, ParameterError
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.training.continuation import continued


def test_a_loaded_model_prunes_no_experts(tmp_path):
    made({"train.extra_experts": 2}).fit(PICTURES).save(tmp_path / "model.safetensors")
    model = MixtureOfVAEs.load(tmp_path / "model.safetensors").set_params(warm_start=True)
    model.partial_fit(PICTURES).fit(PICTURES)
    assert model.n_iter_ == 5
    assert model.predict_proba(PICTURES).shape == (150, 4)


def test_experts_that_are_still_to_be_pruned(tmp_path):
    model = made({"train.extra_experts": 3, "train.epochs": 9}).partial_fit(PICTURES)
    assert model.predict_proba(PICTURES).shape == (150, 7)
    assert model.reconstruct(PICTURES).shape == PICTURES.shape
    assert model.sample(200)[1].max() == 6
    with pytest.raises(ParameterError, match=r"\b7\b.*\b4\b"):
        model.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_is_a_run_and_is_restored(fitted, tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    fitted.save(str(path))
    run = checkpoint.load(str(path))
    assert run.config == fitted.config_
    assert same(weights(run.model, 0), bits(fitted))
    back = MixtureOfVAEs.load(str(path), device="cpu")
    assert json.dumps(back.get_params()) == json.dumps(fitted.get_params())
    for method in METHODS:
        np.testing.assert_array_equal(getattr(back, method)(PICTURES), getattr(fitted, method)(PICTURES))
    assert back.learning_curves_ == fitted.learning_curves_
    np.testing.assert_array_equal(back.sample(3)[0], fitted.sample(3)[0])
    before = back.score(PICTURES)
    back.partial_fit(PICTURES).set_params(warm_start=True).fit(PICTURES)
    assert back.n_iter_ == 5
    assert back.score(PICTURES) > before - 0.5


def test_a_continued_run_can_be_fitted_and_continued(tmp_path):
    first = fit([config()], images())
    more = continued(first.configs[0], first.model, 1)
    trained = fit([more], images(), start=first.model)
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, Trained.of(trained, 0, images()))
    model = MixtureOfVAEs.load(path)
    assert clone(model).fit(PICTURES).n_iter_ == 1
    assert model.partial_fit(PICTURES).n_iter_ == 2


def test_names_and_parameters_of_any_kind_are_restored(tmp_path):
    path, table = tmp_path / "model.safetensors", pd.DataFrame(SHADES, columns=[f"p{i}" for i in range(30)])
    model = MixtureOfVAEs(
        np.int64(4),
        preset=config(),
        settings={"train.epochs": np.int64(1), "model.gate_hidden": np.array([9])},
        random_state=np.random.RandomState(0),
        device="cpu",
    ).fit(table)
    model.save(path)
    back = MixtureOfVAEs.load(path, device="cpu")
    assert list(back.feature_names_in_) == list(table)
    np.testing.assert_array_equal(back.predict(table), model.predict(table))
    assert clone(back).fit(table).config_ == model.config_


def test_a_file_of_the_command_line_is_a_model(tmp_path):
    run, path = config({"seed": 7}), tmp_path / "run.safetensors"
    trained = fit([run], images(train=150))
    checkpoint.save(path, Trained.of(trained, 0, images(train=150)))
    model = MixtureOfVAEs.load(path, device="cpu")
    assert model.config_ == run
    assert same(bits(model), weights(trained.model, 0))
    assert model.predict(PICTURES).shape == (150,)
    assert clone(model).fit(SHADES).config_ == run


def test_notes_of_another_kind_are_refused(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    trained = fit([fitted.config_], images(train=64))
    for notes in ("{", '{"estimator": {"params": {}}}', '{"estimator": 3}'):
        checkpoint.save(path, replace(Trained.of(trained, 0, images(train=64)), notes=notes))
        with pytest.raises(CheckpointError, match="notes of another version"):
            MixtureOfVAEs.load(path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["notes"] == '{"estimator": 3}'
