"""Features of images: oriented gradients of the image, and of its ink stretched to full size."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from moevae.data.binarization import to_float
from moevae.nn.gradients import background, histograms_of_gradients

INK = 0.1
"""Difference from the background, in gray values of [0, 1], above which a pixel is ink."""

_BLOCK = 2048
"""Images that are processed at once."""


def image_features(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return gradients of images and of their stretched ink, which has neither position nor size.

    Args:
        images: stored pixels, [N, D].
        size: height and width of an image, in pixels.

    Returns:
        Features, [N, 2 F] float32, of both parts with equal norm.
    """
    boxed = [
        histograms_of_gradients(stretched_ink(to_float(part), size), size) for part in images.split(_BLOCK)
    ]
    return torch.cat([gradients(images, size), torch.cat(boxed)], 1)


@functools.lru_cache(maxsize=1)  # the parts of a population, and runs in turn, share the images
def gradients(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the histograms of oriented gradients of stored images, [N, F].

    Args:
        images: stored pixels, [N, D].
        size: height and width of an image, in pixels.
    """
    return torch.cat([histograms_of_gradients(to_float(part), size) for part in images.split(_BLOCK)])


def stretched_ink(gray: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the bounding boxes of the ink of images, resampled to the size of an image.

    Args:
        gray: pixels in [0, 1], [N, D].
        size: height and width of an image, in pixels.

    Returns:
        Images, [N, D]; an image without ink is returned unchanged.
    """
    height, width = size
    pictures = gray.view(-1, height, width)
    inked = (pictures - background(pictures)).abs() > INK
    top, bottom = _extent(inked.any(2))
    left, right = _extent(inked.any(1))
    place = torch.zeros(len(gray), 2, 3)
    place[:, 0, 0], place[:, 0, 2] = (right - left) / width, (right + left) / width - 1
    place[:, 1, 1], place[:, 1, 2] = (bottom - top) / height, (bottom + top) / height - 1
    grid = functional.affine_grid(place, [len(gray), 1, height, width], align_corners=False)
    found = functional.grid_sample(pictures.unsqueeze(1), grid, padding_mode="border", align_corners=False)
    return found.flatten(1)


def _extent(used: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range of used positions of each row; the whole range for a row without any.

    Args:
        used: [N, places] bool.

    Returns:
        Begin and end, [N] each.
    """
    begin = used.float().argmax(1)
    end = used.shape[1] - used.flip(1).float().argmax(1)
    return begin, end
