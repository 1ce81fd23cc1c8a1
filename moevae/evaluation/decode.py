"""Images of latents, each decoded by one expert."""

from __future__ import annotations

import math

import numpy as np
import torch

from moevae.evaluation.log_weights import BLOCK
from moevae.models.mixture import Mixture
from moevae.nn.sequential import sigmoids_alone


@torch.no_grad()
def decode(
    model: Mixture, latents: np.ndarray, experts: np.ndarray, pixels: np.ndarray | None = None
) -> np.ndarray:
    """Return the mean image of each latent under a given expert.

    The result for a latent does not depend on other latents.

    Args:
        model: a population of one run.
        latents: z, [N, Z].
        experts: expert of each latent, [N].
        pixels: draws on [0, 1) that sample autoregressive pixels, [N, D]; see `Experts.mean`. Other
            likelihoods ignore them. None shares draws between all images.

    Returns:
        Images with values in [0, 1], [N, D] float32.
    """
    count, device = len(latents), model.device
    images = np.zeros((count, math.prod(model.size)), np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        z = torch.zeros(BLOCK, latents.shape[1])  # blocks of one size have the same rounding
        z[: len(latents[part])] = torch.from_numpy(latents[part])
        every = z.to(device).expand(1, model.config.num_experts, -1, -1).contiguous()
        uniform = None
        if pixels is not None:
            uniform = torch.zeros(BLOCK, pixels.shape[1])
            uniform[: len(latents[part])] = torch.from_numpy(pixels[part])
            uniform = uniform.to(device).expand(*every.shape[:-1], -1)
        with sigmoids_alone(model):
            decoded = model.experts.mean(every, alone=True, uniform=uniform)[0]  # [K, B, D]
        rows = torch.arange(len(latents[part]), device=device)
        images[part] = decoded[torch.from_numpy(experts[part]).to(device), rows].cpu().numpy()
    return images
