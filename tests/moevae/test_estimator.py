"""The estimator: a thin face on the same training, and answers that depend on the image alone."""

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from small import EVEN, config, images, same, weights

from moevae import MixtureOfVAEs, RunConfig, fit, override
from moevae.errors import CheckpointError, ConfigError, ParameterError
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained

SMALL = {key: value for key, value in EVEN.items() if key != "model.num_experts"}
MOVING = {"routing.temperature_schedule": "exponential", "routing.temperature": 3.0, "train.epochs": 3}
SHADES = images(train=150).train.numpy()  # [150, 30]
PICTURES = SHADES.reshape(-1, 5, 6)


def made(settings=None, **params):
    return MixtureOfVAEs(4, settings=SMALL | (settings or {}), random_state=0, device="cpu", **params)


@pytest.fixture(scope="module")
def fitted():
    return made({"train.learning_rate": 0.01}).fit(PICTURES)


def bits(model):
    return weights(model.mixture_, 0)


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
def test_it_has_the_numbers_of_fit(changes):
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


def test_a_warm_start_goes_on_bit_for_bit():
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
    with pytest.raises(ParameterError, match="changed the sizes"):
        model.set_params(n_components=5).fit(PICTURES)
    assert model.set_params(n_components=4).fit(PICTURES).config_.train.epochs == 4
    before = bits(model)
    with pytest.raises(ValueError, match="expected 5 x 6"):
        model.fit(PICTURES.reshape(-1, 6, 5))
    assert same(before, bits(model))
    assert model.n_iter_ == 4


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
    with pytest.raises(ParameterError, match="7 experts and is trained to keep 4; expected more epochs"):
        model.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


METHODS = ("predict", "predict_proba", "score_samples", "transform", "reconstruct")


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_depends_on_the_image_alone(fitted, method):
    answer = getattr(fitted, method)
    whole = answer(PICTURES)
    np.testing.assert_array_equal(answer(PICTURES[::-1]), whole[::-1])
    np.testing.assert_array_equal(np.concatenate([answer(PICTURES[:7]), answer(PICTURES[7:])]), whole)
    np.testing.assert_array_equal(answer(PICTURES[40:41]), whole[40:41])


@pytest.mark.parametrize("method", METHODS)
def test_every_form_of_the_images_has_the_same_answers(fitted, method):
    forms = [
        SHADES,
        PICTURES[..., None],
        torch.from_numpy(PICTURES),
        PICTURES.tolist(),
        pd.DataFrame(SHADES),
        PICTURES.astype(np.float64),
    ]
    whole = np.asarray(getattr(fitted, method)(PICTURES)).reshape(len(PICTURES), -1)
    for form in forms:
        found = getattr(fitted, method)(form)
        np.testing.assert_array_equal(np.asarray(found).reshape(len(PICTURES), -1), whole)


def test_labels_and_probabilities_agree(fitted):
    probs = fitted.predict_proba(PICTURES)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(probs.argmax(1), fitted.predict(PICTURES))
    np.testing.assert_array_equal(clone(fitted).fit_predict(PICTURES), fitted.predict(PICTURES))
    assert fitted.score(PICTURES) == pytest.approx(fitted.score_samples(PICTURES).mean())


@pytest.mark.parametrize(
    ("unit", "white"),
    [(np.uint8(255), 255), (16.0, 16), (255, 255), (1.0, 1)],
    ids=["bytes", "sixteenths", "integers", "shares"],
)
def test_units_of_the_images_change_no_number(unit, white):
    levels = np.rint(PICTURES * 255) if white == 255 else np.rint(PICTURES * 16)
    levels[0, 0, :2] = 0, levels.max()  # so that the range can be inferred
    own = (levels if white != 1 else levels / 16).astype(np.asarray(unit).dtype)
    reference = made().fit((levels / levels.max()).astype(np.float32))
    model = made().fit(own)
    assert model.value_range_ == (0, white)
    np.testing.assert_allclose(model.predict_proba(own), reference.predict_proba(levels / levels.max()))
    drawn, chosen = model.sample(6)
    other, _ = reference.sample(6)
    np.testing.assert_allclose(drawn, other * white, rtol=1e-5)
    assert drawn.shape == (6, 5, 6)
    assert model.reconstruct(own).max() > white / 4
    assert set(chosen) <= set(range(4))


def test_a_given_range(fitted):
    model = made(value_range=(-1, 3)).fit(SHADES * 4 - 1)
    assert model.value_range_ == (-1, 3)
    np.testing.assert_array_equal(model.predict(np.full((1, 30), 6)), model.predict(np.full((1, 30), 3)))
    with pytest.raises(ValueError, match=r"value_range = \(0, 0\.5\)"):
        made(value_range=(0, 0.5)).fit(SHADES)
    for wrong in ((1, 0), (0, np.nan), 5, "ab"):
        with pytest.raises(ValueError, match="expected None or two numbers"):
            made(value_range=wrong).fit(SHADES)


def test_the_type_of_an_image_tells_its_units(fitted):
    levels = np.rint(PICTURES * 255)
    ways = [levels.astype(np.uint8), (levels / 255).astype(np.float32), levels.astype(np.int64)]
    of_bytes, of_shares = made().fit(ways[0]), made().fit(ways[1])
    for model in (of_bytes, of_shares):
        expected = model.predict_proba(ways[0])
        for way in ways[:2] if model is of_shares else ways:
            np.testing.assert_allclose(model.predict_proba(way), expected, atol=1e-6)
            np.testing.assert_allclose(
                model.reconstruct(way), model.reconstruct(ways[1]) * (1 if way.dtype.kind == "f" else 255)
            )
    with pytest.raises(ValueError, match=r"fitted to uint8 of 0\.\.255"):
        of_bytes.predict(levels)
    with pytest.warns(UserWarning, match="X ranges from 0 to 255") as caught:
        clipped = of_shares.predict_proba(levels)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(clipped, of_shares.predict_proba(levels.clip(0, 1)))
    of_shares.predict(PICTURES * 1.9)  # as a scaler that was fitted to other images gives them


@pytest.mark.parametrize(("count", "size"), [(16, (4, 4)), (15, (1, 15)), (1, (1, 1))])
def test_rows_of_pixels_have_a_size(count, size):
    model = made().fit(SHADES[:, :count])
    assert model.image_size_ == size
    assert model.reconstruct(SHADES[:9, :count]).shape == (9, count)
    assert model.sample(2)[0].shape == (2, count)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (images(), TypeError, "images.train.numpy"),
        (PICTURES[0], ValueError, r"such as X\[None\]"),
        (PICTURES[:, :4], ValueError, "images of 4 x 6 pixels; expected 5 x 6"),
        (np.stack([PICTURES] * 3, -1), ValueError, r"X\.mean\(-1\)"),
        (PICTURES[:, None], ValueError, r"X\[:, 0\]"),
        (PICTURES[None, None], ValueError, "expected grayscale"),
        (SHADES[:, :29], ValueError, "expecting 30 features"),
        (np.full((2, 5, 6), np.nan), ValueError, "NaN"),
        ([[1.0, 2.0], [1.0]], ValueError, "inhomogeneous"),
    ],
)
def test_wrong_images_are_refused_in_words(fitted, X, error, words):
    with pytest.raises(error, match=words):
        fitted.predict(X)


def test_one_image_is_too_few_for_training(fitted):
    for train in (made().fit, made().partial_fit, copy.deepcopy(fitted).partial_fit):
        with pytest.raises(ValueError, match="minimum of 2 is required"):
            train(PICTURES[:1])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"n_components": 0}, "n_components = 0"),
        ({"n_components": 2.0}, "expected an integer"),
        ({"preset": "mnits"}, "mnist"),
        ({"preset": 3}, "expected a name"),
        ({"settings": [("train.epochs", 3)]}, "expected a dict"),
        ({"settings": {"train.epoch": 3}}, "train.epochs"),
        ({"settings": {"train.epochs": 0}}, "train.epochs"),
        ({"settings": {"seed": 3}}, "determined by random_state"),
        ({"settings": {"model.num_experts": 3}}, "determined by n_components"),
        ({"settings": {"data.train_size": 3}}, "determined by X"),
        ({"device": "abacus"}, "abacus"),
        ({"random_state": -1}, "random_state = -1; expected"),
        ({"random_state": 2**63}, "random_state = 9223372036854775808; expected"),
        ({"settings": {"train": {"epochs": 3}}}, r"expected one of its keys, such as train\.epochs"),
    ],
)
def test_wrong_parameters_are_refused_in_words(params, words):
    model = MixtureOfVAEs(**params)
    with pytest.raises(ValueError, match=words) as caught:
        model.fit(SHADES)
    assert isinstance(caught.value, ConfigError)
    assert not hasattr(model, "mixture_")


def test_diverged_training_changes_nothing(fitted):
    model, before = copy.deepcopy(fitted), bits(fitted)
    with pytest.raises(ParameterError, match=r"training diverged.*learning_rate"):
        model.set_params(**{"train.learning_rate": 1e30}).fit(SHADES)
    assert same(bits(model), before)


def test_settings_are_parameters():
    model = made({"train.epochs": 1})
    assert model.get_params()["train.epochs"] == 1
    assert "train.epochs" not in model.get_params(deep=False)
    twin = clone(model).set_params(**{"train.learning_rate": 0.5, "objective": "elbo", "n_components": 3})
    assert twin.settings == model.settings | {"train.learning_rate": 0.5, "objective": "elbo"}
    assert (model.n_components, twin.n_components) == (4, 3)
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


def test_no_seed_is_a_new_one():
    free = clone(made()).set_params(random_state=None)
    seeds = {clone(free).fit(SHADES).config_.seed for _ in range(2)}
    assert len(seeds) == 2
    given = {clone(free).set_params(random_state=np.random.RandomState(1)).fit(SHADES).config_.seed}
    assert given == {int(np.random.RandomState(1).randint(2**31 - 1))}


def test_samples(fitted):
    drawn, chosen = fitted.sample(300, component=2)
    assert (chosen == 2).all()
    assert 0 <= drawn.min() <= drawn.max() <= 1
    np.testing.assert_array_equal(fitted.sample(5)[0], fitted.sample(5)[0])
    assert not np.array_equal(fitted.sample(5)[0], fitted.sample(5, random_state=1)[0])
    np.testing.assert_array_equal(fitted.sample(300, component=2)[0][:130], drawn[:130])
    skewed = made({"model.expert_prior": [8, 1, 1, 1e-6]}).fit(SHADES).sample(2000)[1]
    np.testing.assert_allclose(np.bincount(skewed, minlength=4) / 2000, [0.8, 0.1, 0.1, 0], atol=0.03)
    for wrong in ({"n_samples": 0}, {"component": 4}, {"component": -1}, {"component": "3"}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} = "):
            fitted.sample(**wrong)


def test_a_file_is_a_run_and_comes_back(fitted, tmp_path):
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


def test_names_and_parameters_of_any_kind_come_back(tmp_path):
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


def test_it_works_in_scikit_learn(fitted):
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


def test_progress_is_shown_when_asked_for(capsys):
    made().fit(SHADES)
    assert capsys.readouterr() == ("", "")
    made(verbose=1).fit(SHADES)
    assert "epoch 2/2" in capsys.readouterr().err


def test_importing_moevae_imports_neither_torch_nor_scikit_learn():
    code = "import sys, moevae; assert not {'torch', 'sklearn', 'pandas', 'pydantic'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_mixture_of_images_is_found():
    """Three kinds of images that any eye tells apart."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, 300)
    pictures = (random.random((300, 6, 6)) < 0.05).astype(float)
    for row, kind in enumerate(kinds):
        pictures[row, 2 * kind : 2 * kind + 2] = 1
    settings = SMALL | {"train.epochs": 30, "train.learning_rate": 0.01, "objective": "information"}
    model = MixtureOfVAEs(3, settings=settings, random_state=0, device="cpu")
    found = model.fit_predict(pictures)
    assert [len(set(found[kinds == kind])) for kind in range(3)] == [1, 1, 1]
    assert len(set(found)) == 3


def test_the_number_of_experts_is_found_if_none_is_given(tmp_path):
    centers = np.random.default_rng(0).uniform(size=(3, 36))
    noise = np.random.default_rng(1).normal(0, 0.02, (300, 36))
    X = (np.repeat(centers, 100, 0) + noise).clip(0, 1).reshape(300, 6, 6)
    model = MixtureOfVAEs(None, settings={"train.epochs": 1}, random_state=0, warm_start=True).fit(X)
    assert model.config_.model.num_experts == 3
    assert model.predict_proba(X).shape == (300, 3)
    assert model.n_components is None
    model.fit(X)  # goes on with as many
    assert model.config_.model.num_experts == 3
    model.save(tmp_path / "model.pt")
    assert np.array_equal(MixtureOfVAEs.load(tmp_path / "model.pt").predict(X), model.predict(X))
