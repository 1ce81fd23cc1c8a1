"""The ink box: position and size of the ink do not matter, nor does the color of the paper."""

import pytest
import torch

from moevae.spectral.features import image_features, stretched_ink

SIZE = (20, 24)


def drawing(top, left, factor=1):
    """A small drawing on black paper, [1, D]."""
    mark = torch.tensor([[0, 1, 1, 0], [1, 0.5, 0, 0], [1, 1, 0.5, 1]]).repeat_interleave(factor, 0)
    mark = mark.repeat_interleave(factor, 1)
    picture = torch.zeros(SIZE)
    picture[top : top + len(mark), left : left + mark.shape[1]] = mark
    return picture.reshape(1, -1)


def test_moved_ink_is_stretched_to_the_same_image():
    here, there = stretched_ink(drawing(2, 3), SIZE), stretched_ink(drawing(11, 15), SIZE)
    torch.testing.assert_close(here, there, rtol=0, atol=1e-5)
    inked = here.view(SIZE) > 0.1
    assert inked.any(0).all()  # the ink fills the image
    assert inked.any(1).all()


@pytest.mark.parametrize("factor", [2, 3])
def test_larger_ink_is_stretched_to_nearly_the_same_image(factor):
    here, there = stretched_ink(drawing(1, 1), SIZE), stretched_ink(drawing(2, 4, factor), SIZE)
    assert torch.corrcoef(torch.stack([here[0], there[0]]))[0, 1] > 0.9


def test_an_image_without_ink_stays_as_it_is():
    for shade in (0.0, 0.4, 1.0):
        blank = torch.full((2, 480), shade)
        torch.testing.assert_close(stretched_ink(blank, SIZE), blank)


def test_inversion_keeps_distances_between_features():
    ink = torch.cat([drawing(2, 3), drawing(8, 9), drawing(2, 3, 2)])
    black, white = (image_features((255 * each).byte(), SIZE) for each in (ink, 1 - ink))
    torch.testing.assert_close(torch.cdist(black, black), torch.cdist(white, white), rtol=1e-2, atol=0.1)
    assert black.shape == (3, 784)
