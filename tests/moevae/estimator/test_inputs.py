"""Forms, units and sizes of images that the estimator reads, and those that it refuses."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from estimators import METHODS, PICTURES, SHADES, made
from small import images


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
        with pytest.raises(ValueError, match=r"^value_range = "):
            made(value_range=wrong).fit(SHADES)


def test_the_type_of_an_image_determines_its_units(fitted):
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
    with pytest.raises(ValueError, match="uint8"):
        of_bytes.predict(levels)
    with pytest.warns(UserWarning, match=r"\b0\b.*\b255\b") as caught:
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
def test_wrong_images_are_refused_with_the_reason(fitted, X, error, words):
    with pytest.raises(error, match=words):
        fitted.predict(X)


def test_training_needs_two_images(fitted):
    for train in (made().fit, made().partial_fit, copy.deepcopy(fitted).partial_fit):
        with pytest.raises(ValueError, match=r"\b1 sample\b.*\b2 is required\b"):
            train(PICTURES[:1])
