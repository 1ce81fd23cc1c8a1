"""What the experts know, as images: ways between two images, walks along latents, and what they copied.

Shapes: R runs, K experts, Z latent, D pixels, N images. No randomness: what is asked for twice comes twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moevae.distributions import kl_standard_normal
from moevae.models.mixture import Mixture


def own_pairs(assignments: Tensor, num_experts: int, order: Tensor) -> Tensor:
    """Return two images of each expert's own, [R, K, 2] places; -1 twice where it has fewer than two.

    Args:
        assignments: the expert of each image, [R, N].
        num_experts: how many experts there are.
        order: places of the images, [R, N], the first to be taken first.
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
    """Return the way from one image to another inside each expert, [R, K, steps, D], both ends included.

    The way is straight in the expert's latent space, between the images' mean latents; its ends are the
    reconstructions of the two images.

    Args:
        model: the population.
        first: an image for each expert, as the likelihood sees it, [R, K, D].
        second: another one, [R, K, D].
        steps: images on the way, at least two.
    """
    start, end = (_own_latents(model, images.to(model.device)) for images in (first, second))  # [R, K, Z]
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None]  # [steps, 1]
    return model.experts.mean((1 - share) * start.unsqueeze(2) + share * end.unsqueeze(2))


@torch.no_grad()
def traversals(model: Mixture, values: Tensor) -> Tensor:
    """Return each expert's walk along each latent, the others at the prior's mean, [R, K, Z, V, D].

    Args:
        model: the population.
        values: of the latent that changes, in standard deviations of the prior, [V].
    """
    runs, experts, latent = len(model.seeds), model.config.num_experts, model.latent_size
    dtype = next(model.parameters()).dtype
    axes = torch.eye(latent, dtype=dtype, device=model.device)
    walks = axes.unsqueeze(1) * values.to(axes).view(1, -1, 1)  # [Z, V, Z]
    flat = walks.view(-1, latent).expand(runs, experts, -1, latent).contiguous()  # [R, K, Z V, Z]
    return model.experts.mean(flat).unflatten(2, (latent, len(values)))


@torch.no_grad()
def latent_kl(model: Mixture, x: Tensor, assignments: Tensor, chunk: int = 1024) -> Tensor:
    """Return what each latent tells of an expert's own images, in nats an image, [R, K, Z].

    The divergence of q(z|x) from the prior, dimension by dimension; 0 for an expert without images.

    Args:
        model: the population.
        x: images as the likelihood sees them, [N, D].
        assignments: the expert of each image, [R, N].
        chunk: images looked at together.
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
    """Return the place of the image nearest to each sample, and how far it is: [M] each, the first of equals.

    Distances are Euclidean, on gray pixels in [0, 1], and exact: an image is at distance 0 from itself.

    Args:
        samples: [M, D].
        images: [N, D].
        chunk: images looked at together.
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
    """Return the mean latent of each expert's own image, [R, K, Z]; images [R, K, D]."""
    mu, _ = model.experts.encode(images)  # [R, K, K, Z]: by expert, then image
    # Contiguous: the layout in memory, and with it rounding, must not depend on the number of runs.
    return mu.diagonal(dim1=1, dim2=2).transpose(1, 2).contiguous()
