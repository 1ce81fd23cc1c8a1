"""Pictures of what the experts draw, as PNG bytes."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moevae.models.mixture import Mixture
from moevae.utils.rng import RunGenerators


def prior_noise(model: Mixture, count: int) -> Tensor:
    """Return latents for `count` images of each expert, [R, K, count, Z]: each run's own, always the same."""
    shape = (model.config.num_experts, count, model.latent_size)
    return RunGenerators(model.seeds, "pictures", model.device).normal(*shape)


@torch.no_grad()
def reconstructions(model: Mixture, x: Tensor, gray: Tensor | None = None) -> Tensor:
    """Return each image as its likeliest expert sees it, at the mean latent, [R, B, D].

    Args:
        model: the population.
        x: images as the likelihood sees them, [B, D].
        gray: the same images gray, [B, D]; needed where the gate looks at them.
    """
    runs = len(model.seeds)
    seen = model.gate_input(x, gray).to(model.device).expand(runs, *x.shape)
    x = x.to(model.device).expand(runs, *x.shape)
    images = model.experts.mean(model.experts.encode(x)[0])  # [R, K, B, D]
    chosen = model.gate(seen).argmax(1)[:, None, :, None]  # [R, 1, B, 1]
    return images.gather(1, chosen.expand(-1, 1, -1, images.shape[-1])).squeeze(1)


def tiles(
    images: Tensor | np.ndarray, height: int, width: int, scale: int = 1, gap: int = 0, shades: int = 256
) -> bytes:
    """Return a PNG of images laid side by side.

    Args:
        images: gray values in [0, 1], [rows, columns, height * width].
        height: of one image, pixels.
        width: of one image, pixels.
        scale: pixels of the picture for one of the image.
        gap: pixels of the picture between images, gray.
        shades: gray levels, black and white among them: 256, 16 or 4; fewer make a smaller file.
    """
    array = np.asarray(torch.as_tensor(images).detach().cpu(), dtype=np.float64)
    step = 255 // (shades - 1)
    # By way of 256 shades, so that a picture drawn with them rounds to the very same.
    fine = np.rint(array.clip(0, 1) * 255)
    pixels = (np.rint(fine / step) * step).astype(np.uint8).reshape(*array.shape[:2], height, width)
    tiles = pixels.repeat(scale, 2).repeat(scale, 3)
    spaced = np.pad(tiles, [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=128)
    rows, columns, tall, wide = spaced.shape
    gray = spaced.transpose(0, 2, 1, 3).reshape(rows * tall, columns * wide)
    gray = gray[: rows * tall - gap, : columns * wide - gap]
    buffer = io.BytesIO()
    Image.fromarray(gray, mode="L").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
