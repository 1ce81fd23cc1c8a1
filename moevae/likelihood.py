"""How likely images are under the mixture: its importance-weighted bound, in bounded memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moevae.config import RunConfig
from moevae.dispatch import Dispatch
from moevae.experts import Experts, log_weights, sampled
from moevae.seeding import Streams

BLOCK = 128
"""Images whose noise is drawn together, so that an image's noise depends on its place alone."""

_CACHED = 4 * BLOCK
"""Images that a core decodes at once: what they decode to should stay in its cache."""


@torch.no_grad()
def iwae_bounds(
    experts: Experts,
    config: RunConfig,
    seen: Tensor,
    log_joint: Tensor,
    log_prior: Tensor,
    split: str,
    room: int,
) -> Tensor:
    """Return the bound of the first images of a split in nats, [N], for one run; see `iwae_bound`.

    Args:
        experts: of this run alone: what company it trained in then changes no bit.
        config: of this run.
        seen: the split as the likelihood sees it, [N, D].
        log_joint: ELBO_k + log pi_k, by which the experts of an image are chosen, [K, N].
        log_prior: log pi, [K].
        split: its name.
        room: images that there is memory to decode at once.
    """
    asked = config.evaluation
    noise = Streams([config.seed], f"importance samples of {split}", seen.device)
    choices = min(asked.importance_experts or len(log_prior), len(log_prior))
    chunk = max(1, min(room, _CACHED if seen.device.type == "cpu" else room) // (choices * BLOCK))
    kept = seen[: asked.importance_images]
    bounds = []
    for x, likely in zip(kept.split(BLOCK), log_joint[:, : len(kept)].split(BLOCK, dim=1), strict=True):
        chosen = likely.topk(choices, dim=0).indices
        found = iwae_bound(
            experts, x[None], chosen[None], log_prior[None], noise, asked.importance_samples, chunk
        )
        bounds.append(found[0])
    return torch.cat(bounds)


@torch.no_grad()
def iwae_bound(
    experts: Experts,
    x: Tensor,
    chosen: Tensor,
    log_prior: Tensor,
    noise: Streams,
    samples: int,
    chunk: int,
) -> Tensor:
    """Return log sum_k pi_k (1/S) sum_s p_k(x, z_ks) / q_k(z_ks|x) in nats, [R, B].

    Exact over the chosen experts and sampled over z: on average it is below log p(x), and it rises with S.
    Where not all are chosen, positive terms are left out: the bound is lower, and still a bound. Burda,
    Grosse, Salakhutdinov (2016), importance weighted autoencoders. Images are encoded once.

    Args:
        experts: of all runs.
        x: images as the likelihood sees them, [R, B, D].
        chosen: different experts of an image, [R, C, B] int64.
        log_prior: log pi, [R, K].
        noise: what z comes from, a sample of whole blocks of images at a time: no chunk decides a number.
        samples: S.
        chunk: samples looked at together, a matter of memory: at most R C B chunk images are decoded at once.
    """
    _, choices, batch = chosen.shape
    drawn = math.ceil(batch / BLOCK) * BLOCK
    dispatch = Dispatch.of(chosen, log_prior.shape[1])
    rows = dispatch.images(x)  # [T, D]
    mu, logvar = experts.encode_rows(x, dispatch)
    context = experts.context_rows(rows, dispatch)
    total = torch.full(mu.shape[:1], -math.inf, dtype=torch.float64, device=x.device)
    for start in range(0, samples, chunk):
        each = [
            noise.normal(choices, drawn, mu.shape[1])[:, :, :batch]
            for _ in range(start, min(start + chunk, samples))
        ]
        draws = dispatch.rows(torch.stack(each, 3))  # [T, S, Z]
        recon = experts.recon_log_prob_rows(sampled(mu, logvar, draws), rows, dispatch, context)
        for weight in log_weights(recon, mu, logvar, draws).unbind(1):
            # One after the other: the rounding of the sum must not depend on the chunk.
            total = torch.logaddexp(total, weight.double())
    prior = log_prior.double().unsqueeze(-1).expand(-1, -1, batch).gather(1, chosen)  # [R, C, B]
    return (dispatch.choices(total) - math.log(samples) + prior).logsumexp(1)
