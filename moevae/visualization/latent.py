"""Images of the latent space: interpolations, traversals, and nearest training images.

`moevae.models.mixture` has the legend of shapes. Nothing here is random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moevae.distributions import kl_standard_normal
from moevae.models.mixture import Mixture


@torch.no_grad()
def all_latents(model: Mixture, x: Tensor, chunk: int = 1024) -> Tensor:
    """Return the mean latents of images under every expert.

    The latents of the assigned expert alone would not do: each expert has a latent space of its own.

    Args:
        model: the population.
        x: images as the likelihood sees them, [N, D].
        chunk: number of images per forward pass.

    Returns:
        Means of q_k(z|x), [R, N, K Z].
    """
    parts = []
    for part in x.split(chunk):
        mu, _ = model.experts.encode(part.to(model.device).expand(len(model.seeds), *part.shape))
        parts.append(mu.transpose(1, 2).flatten(2).cpu())  # [R, B, K Z]
    return torch.cat(parts, 1)


def pairs_by_expert(assignments: Tensor, num_experts: int, order: Tensor) -> Tensor:
    """Select two images that are assigned to each expert.

    Args:
        assignments: expert of each image, [R, N].
        num_experts: K.
        order: indices of the images, in order of preference, [R, N].

    Returns:
        Indices of the images, [R, K, 2]; -1 for an expert with fewer than two images.
    """
    ranked = assignments.gather(1, order)
    pairs = torch.full((len(assignments), num_experts, 2), -1)
    for run, expert in torch.cartesian_prod(torch.arange(len(pairs)), torch.arange(num_experts)).tolist():
        own = order[run][ranked[run] == expert][:2]
        if len(own) == 2:
            pairs[run, expert] = own
    return pairs


@torch.no_grad()
def interpolations(model: Mixture, first: Tensor, second: Tensor, steps: int) -> Tensor:
    """Interpolate between two images in the latent space of each expert.

    The interpolation is linear between the mean latents of the images. The first and the last image are the
    reconstructions of the two images.

    Args:
        model: the population.
        first: first image of each expert, as the likelihood sees it, [R, K, D].
        second: second image of each expert, [R, K, D].
        steps: number of images, at least 2.

    Returns:
        Images with pixels in [0, 1], [R, K, steps, D].
    """
    start, end = (_own_latents(model, images.to(model.device)) for images in (first, second))  # [R, K, Z]
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None]  # [steps, 1]
    return model.experts.mean((1 - share) * start.unsqueeze(2) + share * end.unsqueeze(2))


@torch.no_grad()
def traversals(model: Mixture, values: Tensor) -> Tensor:
    """Decode latents in which one latent changes and the others are 0.

    Args:
        model: the population.
        values: values of the changing latent, in standard deviations of the prior, [V].

    Returns:
        Images with pixels in [0, 1], [R, K, Z, V, D].
    """
    runs, experts, latent = len(model.seeds), model.config.num_experts, model.latent_size
    dtype = next(model.parameters()).dtype
    axes = torch.eye(latent, dtype=dtype, device=model.device)
    walks = axes.unsqueeze(1) * values.to(axes).view(1, -1, 1)  # [Z, V, Z]
    flat = walks.view(-1, latent).expand(runs, experts, -1, latent).contiguous()  # [R, K, Z V, Z]
    return model.experts.mean(flat).unflatten(2, (latent, len(values)))


@torch.no_grad()
def latent_kl(model: Mixture, x: Tensor, assignments: Tensor, chunk: int = 1024) -> Tensor:
    """Return the KL divergence of q(z|x) from N(0, 1) per latent, averaged over the images of an expert.

    N(0, 1) is the prior, unless the prior is learned.

    Args:
        model: the population.
        x: images as the likelihood sees them, [N, D].
        assignments: expert of each image, [R, N].
        chunk: number of images per forward pass.

    Returns:
        Divergences in nats per image, [R, K, Z]; 0 for an expert without images.
    """
    runs, experts = len(model.seeds), model.config.num_experts
    total = torch.zeros(runs, experts, model.latent_size, dtype=torch.float64, device=model.device)
    owned = torch.nn.functional.one_hot(assignments.to(model.device), experts).double()  # [R, N, K]
    for part, own in zip(x.split(chunk), owned.split(chunk, 1), strict=True):
        mu, logvar = model.experts.encode(part.to(model.device).expand(runs, *part.shape))
        each = kl_standard_normal(mu.unsqueeze(-1), logvar.unsqueeze(-1))  # [R, K, B, Z]
        total += (each * own.transpose(1, 2).unsqueeze(-1)).sum(2)
    return total / owned.sum(1).clamp_min(1).unsqueeze(-1)


def nearest_images(samples: Tensor, images: Tensor, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """Find the nearest image of each sample.

    Distances are Euclidean and exact: the distance of an image from itself is 0. The first of several nearest
    images is returned.

    Args:
        samples: samples with pixels in [0, 1], [M, D].
        images: images in grayscale, in [0, 1], [N, D].
        chunk: number of images that are compared at once.

    Returns:
        Indices of the nearest images and their distances, [M] each.
    """
    best = samples.new_full((len(samples),), torch.inf)
    place = torch.zeros(len(samples), dtype=torch.int64, device=samples.device)
    for number, part in enumerate(images.split(chunk)):
        distances = torch.cdist(samples, part, compute_mode="donot_use_mm_for_euclid_dist")  # [M, chunk]
        low, where = distances.min(1)
        closer = low < best
        best = torch.where(closer, low, best)
        place = torch.where(closer, where + number * chunk, place)
    return place, best


def _own_latents(model: Mixture, images: Tensor) -> Tensor:
    """Return the mean latent of the image of each expert, [R, K, Z]; images [R, K, D]."""
    mu, _ = model.experts.encode(images)  # [R, K, K, Z]: by expert, then image
    # Contiguous: the memory layout, which affects rounding, must not depend on the number of runs.
    return mu.diagonal(dim1=1, dim2=2).transpose(1, 2).contiguous()
