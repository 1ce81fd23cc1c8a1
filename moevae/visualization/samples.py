"""Decoded samples and reconstructions, as PNG images."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moevae.models.mixture import Mixture
from moevae.utils.rng import RunGenerators


def prior_noise(model: Mixture, count: int) -> Tensor:
    """Return standard normal latents for images of each expert; they depend on the seeds only.

    Args:
        model: the population.
        count: number of images per expert.

    Returns:
        Latents, [R, K, count, Z].
    """
    shape = (model.config.num_experts, count, model.latent_size)
    return RunGenerators(model.seeds, "pictures", model.device).normal(*shape)


@torch.no_grad()
def reconstruct_by_all_experts(model: Mixture, x: Tensor) -> Tensor:
    """Reconstruct images by every expert, at the mean latent.

    Args:
        model: the population.
        x: images as the likelihood sees them, [B, D].

    Returns:
        Images with pixels in [0, 1], [R, K, B, D].
    """
    seen = x.to(model.device).expand(len(model.seeds), *x.shape)
    return model.experts.mean(model.experts.encode(seen)[0])


@torch.no_grad()
def prior_mean_images(model: Mixture) -> Tensor:
    """Return the image of each expert at z = 0, such as its template.

    Args:
        model: a model of R runs.

    Returns:
        Pixels, [R, K, D].
    """
    shape = (len(model.seeds), model.config.num_experts, 1, model.latent_size)
    return model.experts.mean(next(model.parameters()).new_zeros(shape)).squeeze(2)


@torch.no_grad()
def reconstructions(model: Mixture, x: Tensor, gray: Tensor | None = None) -> Tensor:
    """Reconstruct images by their most probable expert, at the mean latent.

    Args:
        model: the population.
        x: images as the likelihood sees them, [B, D].
        gray: the same images in grayscale, [B, D]; required unless `model.gate_input` is `target`.

    Returns:
        Images with pixels in [0, 1], [R, B, D].
    """
    images = reconstruct_by_all_experts(model, x)
    x = x.to(model.device).expand(len(model.seeds), *x.shape)
    if gray is not None:
        gray = gray.to(model.device).expand_as(x)
    chosen = model.gate_logits(x, gray).argmax(1)[:, None, :, None]  # [R, 1, B, 1]
    return images.gather(1, chosen.expand(-1, 1, -1, images.shape[-1])).squeeze(1)


def mean_images(images: Tensor, assignments: np.ndarray, num_experts: int) -> Tensor:
    """Return the mean of the images of each expert, black for an expert without images.

    Args:
        images: pixels in [0, 1], [N, D].
        assignments: expert of each image, [N].
        num_experts: K.

    Returns:
        Images with pixels in [0, 1], [K, D].
    """
    sums = np.zeros((num_experts, images.shape[1]))
    np.add.at(sums, assignments, images.cpu().numpy())
    counts = np.bincount(assignments, minlength=num_experts)
    return torch.from_numpy(sums / np.maximum(counts, 1)[:, None]).float()


def tiles(
    images: Tensor | np.ndarray, height: int, width: int, scale: int = 1, gap: int = 0, shades: int = 256
) -> bytes:
    """Arrange images in a grid and encode it as a PNG.

    Args:
        images: gray values in [0, 1], [rows, columns, height * width].
        height: height of one image, in pixels.
        width: width of one image, in pixels.
        scale: side of the square that shows one pixel, in pixels of the grid.
        gap: gray space between images, in pixels of the grid.
        shades: number of gray levels, including black and white: 256, 16 or 4. Fewer levels make the file
            smaller.

    Returns:
        The content of the PNG file.
    """
    array = np.asarray(torch.as_tensor(images).detach().cpu(), dtype=np.float64)
    step = 255 // (shades - 1)
    # By way of 256 levels, so that an image that already has these levels gives the same result.
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
