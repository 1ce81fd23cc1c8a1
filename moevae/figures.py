"""Pictures of what the experts draw, as PNG bytes."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moevae.model import Mixture
from moevae.seeding import Streams


def prior_noise(model: Mixture, count: int) -> Tensor:
    """Return latents for `count` images of each expert, [R, K, count, Z]: each run's own, always the same."""
    shape = (model.config.num_experts, count, model.config.latent_dim)
    return Streams(model.seeds, "pictures", model.device).normal(*shape)


@torch.no_grad()
def reconstructions(model: Mixture, x: Tensor) -> Tensor:
    """Return each image as its likeliest expert sees it, at the mean latent, [R, B, D]; x [B, D]."""
    x = x.to(model.device).expand(len(model.seeds), *x.shape)
    images = model.experts.mean(model.experts.encode(x)[0])  # [R, K, B, D]
    chosen = model.gate(x).argmax(1)[:, None, :, None]  # [R, 1, B, 1]
    return images.gather(1, chosen.expand(-1, 1, -1, images.shape[-1])).squeeze(1)


def tiles(images: Tensor | np.ndarray, height: int, width: int, scale: int = 1) -> bytes:
    """Return a PNG of images laid side by side.

    Args:
        images: gray values in [0, 1], [rows, columns, height * width].
        height: of one image, pixels.
        width: of one image, pixels.
        scale: pixels of the picture for one of the image.
    """
    array = np.asarray(torch.as_tensor(images).detach().cpu(), dtype=np.float64)
    rows, columns = array.shape[:2]
    grid = (
        array.reshape(rows, columns, height, width)
        .transpose(0, 2, 1, 3)
        .reshape(rows * height, columns * width)
    )
    gray = np.rint(grid.clip(0, 1) * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    buffer = io.BytesIO()
    Image.fromarray(gray, mode="L").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
