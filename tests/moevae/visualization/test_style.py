"""Figures are small files with the pixels that matplotlib draws."""

import io

import numpy as np
from PIL import Image

from moevae.visualization.style import Drawn, canvas, draw, stacked, style


def figure():
    with style():
        drawn, place = canvas((6, 4))
        place.imshow(np.random.default_rng(0).random((20, 20)))
        place.plot(np.arange(20), np.arange(20) ** 1.3 % 19, "r.-", label="a line over many colors")
        place.legend()
        return drawn


def test_a_figure_looks_as_matplotlib_draws_it_with_a_palette_and_no_other_words():
    with style():
        kept, drawn = draw(figure()).png, io.BytesIO()
        figure().savefig(drawn, format="png")
    found = Image.open(io.BytesIO(kept))
    assert (found.mode, found.info) == ("P", {})
    assert len(kept) < len(drawn.getvalue()) / 2
    apart = np.abs(
        np.asarray(found.convert("RGB"), float) - np.asarray(Image.open(drawn).convert("RGB"), float)
    )
    assert apart.mean() < 1
    assert np.quantile(apart, 0.999) < 32


def test_stacked_figures_keep_their_pixels_and_are_aligned_on_the_left():
    upper, lower = (Image.new("RGB", size, color) for size, color in (((3, 2), "red"), ((5, 4), "blue")))
    found = np.asarray(stacked([Drawn(upper), Drawn(lower)]).image)
    assert found.shape == (6, 5, 3)
    assert np.array_equal(found[:2, :3], np.asarray(upper))
    assert np.array_equal(found[2:], np.asarray(lower))
    assert (found[:2, 3:] == 255).all()
