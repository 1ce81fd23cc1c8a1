"""Figures are small files with the pixels that matplotlib draws."""

import io

import numpy as np
from PIL import Image

from moevae.visualization.style import canvas, png, style


def figure():
    with style():
        drawn, place = canvas((6, 4))
        place.imshow(np.random.default_rng(0).random((20, 20)))
        place.plot(np.arange(20), np.arange(20) ** 1.3 % 19, "r.-", label="a line over many colors")
        place.legend()
        return drawn


def test_a_figure_looks_as_matplotlib_draws_it_with_a_palette_and_no_other_words():
    with style():
        kept, drawn = png(figure()), io.BytesIO()
        figure().savefig(drawn, format="png")
    found = Image.open(io.BytesIO(kept))
    assert (found.mode, found.info) == ("P", {})
    assert len(kept) < len(drawn.getvalue()) / 2
    apart = np.abs(
        np.asarray(found.convert("RGB"), float) - np.asarray(Image.open(drawn).convert("RGB"), float)
    )
    assert apart.mean() < 1
    assert np.quantile(apart, 0.999) < 32
