"""Conversion of stored pixels to the images that the likelihood sees."""

from __future__ import annotations

import torch
from torch import Tensor

from moevae.config.schema import DataConfig
from moevae.utils.rng import generator


def to_float(images: Tensor) -> Tensor:
    """Convert stored pixels, uint8 or float32 in [0, 1], to float32 in [0, 1].

    Args:
        images: stored pixels, [N, D].
    """
    return images.float() / 255 if images.dtype == torch.uint8 else images


def binarize_once(images: Tensor, seed: int, split: str, chunk: int = 8192) -> Tensor:
    """Binarize images once: each pixel is 1 with its gray value as probability.

    Args:
        images: stored pixels, [N, D].
        seed: seed of the random draws.
        split: name of the split; each split has its own random stream.
        chunk: number of images that are processed at once.

    Returns:
        Images as float32 of 0 and 1, [N, D].
    """
    stream = generator(seed, f"fixed binarization of {split}")
    parts = [torch.rand(part.shape, generator=stream) < to_float(part) for part in images.cpu().split(chunk)]
    return torch.cat(parts).to(torch.float32) if parts else to_float(images)


def target_images(images: Tensor, data: DataConfig, split: str) -> Tensor:
    """Return the images of a split as the likelihood sees them in evaluation, the same for every run.

    Args:
        images: stored pixels, [N, D].
        data: the data configuration; it says whether images are binarized, and has the seed.
        split: name of the split.

    Returns:
        Images as float32, in grayscale or of 0 and 1, [N, D].
    """
    return to_float(images) if data.binarization == "none" else binarize_once(images, data.split_seed, split)
