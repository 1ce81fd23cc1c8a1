"""The estimator trains as `moevae.fit` does, at once, epoch by epoch, and continued."""

import copy
import pickle

import numpy as np
import pytest
from estimators import MOVING, PICTURES, SHADES, bits, made
from sklearn.exceptions import NotFittedError
from small import config, images, same, weights

from moevae import MixtureOfVAEs, fit, override
from moevae.errors import ParameterError


@pytest.mark.parametrize(
    "changes",
    [
        {},
        MOVING,
        {"train.extra_experts": 2},
        {"data.binarization": "static", "data.split_seed": 3},
        {"data.binarization": "none", "model.likelihood": "gaussian", "objective": "elbo"},
    ],
)
def test_the_estimator_trains_as_fit_does(changes):
    run = override(config(), {"model.gate_input": "grayscale"} | changes)
    losses = []
    trained = fit([run], images(train=150), on_epoch=lambda stats: losses.append(stats.losses[0]))
    model = made(changes).fit(SHADES)
    assert model.config_ == run
    assert same(bits(model), weights(trained.model, 0))
    assert model.learning_curves_["loss"] == losses
    assert model.n_iter_ == len(losses) == len(model.learning_curves_["temperature"])


@pytest.mark.parametrize("changes", [MOVING, {"train.extra_experts": 2, "train.epochs": 4}])
def test_partial_fits_are_one_fit(changes):
    whole, parts = made(changes).fit(PICTURES), made(changes)
    for _ in range(changes["train.epochs"]):
        parts.partial_fit(PICTURES)
        parts = pickle.loads(pickle.dumps(parts))
    assert same(bits(whole), bits(parts))
    assert whole.learning_curves_ == parts.learning_curves_


def test_a_warm_start_continues_bit_for_bit():
    twice = made({"train.epochs": 2}, warm_start=True).fit(SHADES).fit(SHADES)
    whole = made({"train.epochs": 4}).fit(SHADES)
    assert same(bits(twice), bits(whole))
    assert twice.learning_curves_ == whole.learning_curves_
    assert twice.n_iter_ == 4
    cold = made({"train.epochs": 2}).fit(SHADES).fit(SHADES)
    assert same(bits(cold), bits(made({"train.epochs": 2}).fit(SHADES)))


def test_after_the_last_epoch_schedules_keep_their_final_values():
    model = made(MOVING, warm_start=True).fit(SHADES).partial_fit(SHADES).fit(SHADES[:100])
    assert model.learning_curves_["temperature"][:2] == sorted(
        model.learning_curves_["temperature"][:2], reverse=True
    )
    assert model.learning_curves_["temperature"][2:] == [1.0] * 5


def test_a_warm_start_needs_the_same_networks(fitted):
    model = copy.deepcopy(fitted).set_params(warm_start=True)
    before = bits(model)
    with pytest.raises(ParameterError, match="warm_start"):
        model.set_params(n_components=5).fit(PICTURES)
    assert model.set_params(n_components=4).fit(PICTURES).config_.train.epochs == 4
    before = bits(model)
    with pytest.raises(ValueError, match="5 x 6"):
        model.fit(PICTURES.reshape(-1, 6, 5))
    assert same(before, bits(model))
    assert model.n_iter_ == 4


def test_diverged_training_changes_nothing(fitted):
    model, before = copy.deepcopy(fitted), bits(fitted)
    with pytest.raises(ParameterError, match=r"train\.learning_rate"):
        model.set_params(**{"train.learning_rate": 1e30}).fit(SHADES)
    assert same(bits(model), before)


def test_a_first_fit_that_fails_leaves_the_model_unfitted():
    model = made({"train.learning_rate": 1e30})
    with pytest.raises(ParameterError, match=r"train\.learning_rate"):
        model.fit(SHADES)
    with pytest.raises(NotFittedError):
        model.predict(SHADES)


def test_a_fit_on_images_of_another_size_that_fails_changes_nothing(fitted):
    model, before = copy.deepcopy(fitted), fitted.predict(SHADES)
    with pytest.raises(ParameterError):
        model.set_params(**{"train.learning_rate": 1e30}).fit(SHADES[:, :25])
    assert model.n_features_in_ == 30
    assert (model.predict(SHADES) == before).all()


def test_progress_is_shown_when_asked_for(capsys):
    made().fit(SHADES)
    assert capsys.readouterr() == ("", "")
    made(verbose=1).fit(SHADES)
    assert "epoch 2/2" in capsys.readouterr().err


def test_the_number_of_experts_is_found_if_none_is_given(tmp_path):
    centers = np.random.default_rng(0).uniform(size=(3, 36))
    noise = np.random.default_rng(1).normal(0, 0.02, (300, 36))
    X = (np.repeat(centers, 100, 0) + noise).clip(0, 1).reshape(300, 6, 6)
    model = MixtureOfVAEs(None, settings={"train.epochs": 1}, random_state=0, warm_start=True).fit(X)
    assert model.config_.model.num_experts == 3
    assert model.predict_proba(X).shape == (300, 3)
    assert model.n_components is None
    model.fit(X)  # continues with as many
    assert model.config_.model.num_experts == 3
    model.save(tmp_path / "model.pt")
    assert np.array_equal(MixtureOfVAEs.load(tmp_path / "model.pt").predict(X), model.predict(X))
