"""From stored pixels to what the likelihood sees."""

from __future__ import annotations

import torch
from torch import Tensor

from moevae.config.schema import DataConfig
from moevae.utils.rng import generator


def to_float(images: Tensor) -> Tensor:
    """Return pixels as float32 in [0, 1]; stored ones are uint8 or already so."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def binarize_once(images: Tensor, seed: int, split: str, chunk: int = 8192) -> Tensor:
    """Return each pixel drawn once with its gray value as probability, as float32 0 or 1; images [N, D]."""
    stream = generator(seed, f"fixed binarization of {split}")
    parts = [torch.rand(part.shape, generator=stream) < to_float(part) for part in images.cpu().split(chunk)]
    return torch.cat(parts).to(torch.float32) if parts else to_float(images)


def evaluated(images: Tensor, data: DataConfig, split: str) -> Tensor:
    """Return a split as evaluation sees it: gray, or drawn once by `split_seed`, the same for every run."""
    return to_float(images) if data.binarization == "none" else binarize_once(images, data.split_seed, split)
