"""Answers of the estimator depend on the image alone and agree with each other."""

import numpy as np
import pytest
from estimators import METHODS, PICTURES, SHADES, SMALL, made
from sklearn.base import clone

from moevae import MixtureOfVAEs


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_depends_on_the_image_alone(fitted, method):
    answer = getattr(fitted, method)
    whole = answer(PICTURES)
    np.testing.assert_array_equal(answer(PICTURES[::-1]), whole[::-1])
    np.testing.assert_array_equal(np.concatenate([answer(PICTURES[:7]), answer(PICTURES[7:])]), whole)
    np.testing.assert_array_equal(answer(PICTURES[40:41]), whole[40:41])


def test_labels_and_probabilities_agree(fitted):
    probs = fitted.predict_proba(PICTURES)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(probs.argmax(1), fitted.predict(PICTURES))
    np.testing.assert_array_equal(clone(fitted).fit_predict(PICTURES), fitted.predict(PICTURES))
    assert fitted.score(PICTURES) == pytest.approx(fitted.score_samples(PICTURES).mean())


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


class Still(np.random.RandomState):
    """A source of random numbers whose normal draws are zero, so that all samples have the same latents."""

    def standard_normal(self, size=None):
        return np.zeros(size)


@pytest.mark.parametrize("likelihood", ["autoregressive", "bernoulli"])
def test_autoregressive_pixels_of_each_sample_have_draws_of_their_own(likelihood):
    model = made({"model.likelihood": likelihood}).fit(SHADES)
    drawn = model.sample(64, component=0, random_state=Still(0))[0]
    assert (np.unique(drawn, axis=0).shape[0] == 64) == (likelihood == "autoregressive")


def test_a_mixture_of_images_is_found():
    """Three clearly different kinds of images."""
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
