"""Importance weights of samples of z, drawn in blocks of images, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from moevae.models.dispatch import Dispatch
from moevae.models.expert_bound import log_weights, reparameterize
from moevae.models.experts import Experts
from moevae.utils.rng import RunGenerators

BLOCK = 128
"""Images whose noise is drawn together, so that the noise of an image depends on its index only."""

SAMPLE_CHUNK = 32
"""Samples of z whose noise is drawn together; more samples need no more memory."""

_CACHED = 4 * BLOCK
"""Images that a core decodes at once, so that the decoded pixels stay in its cache."""

Draw = Callable[[int], Tensor]
"""A function from Z to one standard normal draw per chosen expert and image, [R, C, B, Z]."""


def images_at_once(room: int, device: torch.device) -> int:
    """Return the number of images to decode at once; it affects speed and memory only.

    Args:
        room: number of images that can be decoded at once.
        device: the device of the experts.
    """
    return min(room, _CACHED) if device.type == "cpu" else room


def block_draws(noise: RunGenerators, choices: int, batch: int) -> Draw:
    """Return a function that draws whole blocks and truncates them to the batch.

    Args:
        noise: random streams for z.
        choices: number of chosen experts, C.
        batch: number of images, B.
    """
    drawn = math.ceil(batch / BLOCK) * BLOCK
    return lambda latents: noise.normal(choices, drawn, latents)[:, :, :batch]


def row_weights(
    experts: Experts, x: Tensor, dispatch: Dispatch, draw: Draw, samples: int, chunk: int
) -> Iterator[Tensor]:
    """Yield log p_k(x, z) - log q_k(z|x) of the rows, [T] float64, one sample at a time.

    Args:
        experts: experts of all runs.
        x: images as the likelihood sees them, [R, B, D].
        dispatch: the chosen experts of the images, T rows.
        draw: the noise.
        samples: number of samples of z.
        chunk: samples that are decoded at once; it affects memory only.
    """
    rows = dispatch.images(x)  # [T, D]
    mu, logvar = experts.encode_rows(x, dispatch)
    context = experts.context_rows(x, dispatch)
    prior = experts.learned_prior()
    for start in range(0, samples, chunk):
        each = [draw(mu.shape[1]) for _ in range(start, min(start + chunk, samples))]
        draws = dispatch.rows(torch.stack(each, 3))  # [T, S, Z]
        z = reparameterize(mu, logvar, draws)
        recon = experts.recon_log_prob_rows(z, rows, dispatch, context)
        log_prior = None if prior is None else prior.log_prob_rows(z, dispatch.ends)
        yield from log_weights(recon, mu, logvar, draws, log_prior).double().unbind(1)
