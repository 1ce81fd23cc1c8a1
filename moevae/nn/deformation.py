"""Deformable experts: a decoder that deforms one learned template as its latents z specify.

An expert that can decode any image has no reason to specialize. An expert that can only deform one template
wins the images that this template explains. This is transformation-invariant clustering as a mixture of VAEs.
The prior of z is standard normal; the effect of one unit of z is learned.

References:
    Frey, Jojic (2003), transformation-invariant clustering using the EM algorithm.
    Monnier, Groueix, Aubry (2020), deep transformation-invariant clustering.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from moevae.config.schema import ModelConfig
from moevae.distributions import at_least_float32
from moevae.nn.grouped_linear import grouped_linear
from moevae.nn.stacked import Stacked

Size = tuple[int, int]

AFFINE, DISPLACEMENT = "affine", "displacement"
DISPLACING = (AFFINE, DISPLACEMENT)
"""Deformations that displace pixels; their displacements add up."""

INITIAL_SCALE = {AFFINE: 0.15, DISPLACEMENT: 0.08, "intensity": 0.2, "thickness": 0.5, "residual": 0.025}
"""Initial effect of one unit of z: displacements in half sides of the image, intensities in [0, 1].

The optimizer changes residual images and templates at the same learning rate. The small scale of `residual`
makes the drawn images change more slowly by the former than by the latter: by a factor of 40 per unit of z.
"""


def latent_sizes(config: ModelConfig) -> dict[str, int]:
    """Return the number of latents of each deformation, in their order in z.

    Args:
        config: sizes and kinds of the networks.
    """
    own = {
        AFFINE: 6,
        DISPLACEMENT: 2 * config.displacement_grid**2,
        "intensity": 2,
        "thickness": 1,
        "residual": config.latent_dim,
    }
    return {kind: own[kind] for kind in config.deformations}


def latent_size(config: ModelConfig) -> int:
    """Return Z, the number of latents of an expert.

    Args:
        config: sizes and kinds of the networks.
    """
    return sum(latent_sizes(config).values()) if config.decoder == "deformable" else config.latent_dim


class Deformation(Stacked):
    """Templates stacked over (R, K), deformed by latents: z [R, K, B, Z] -> intensities [R, K, B, D].

    A deformation that is not `active` has no effect; see `activate`.

    Args:
        batch: axes of the stack, (R, K).
        size: height and width of an image, in pixels.
        config: the model; it names the deformations.
    """

    basis: Tensor
    """Displacements of all pixels by one unit of each latent that displaces, [latents, H W 2]."""
    identity: Tensor
    """Positions of the pixels, [H W 2]."""
    active: Tensor
    """1 for an active latent and 0 for an inactive one, [R, Z]."""

    def __init__(self, batch: Sequence[int], size: Size, config: ModelConfig) -> None:
        self.sizes = latent_sizes(config)
        latents, pixels = sum(self.sizes.values()), math.prod(size)
        residual = {"residual": (*batch, self.sizes["residual"], pixels)} if "residual" in self.sizes else {}
        super().__init__(template=(*batch, pixels), log_scale=(batch[0], latents), **residual)
        self.expert_parameters = ("template", *residual)
        self.batch, self.size = tuple(batch), size
        ends = itertools.accumulate(self.sizes.values())
        self.places = {
            kind: slice(end - count, end) for (kind, count), end in zip(self.sizes.items(), ends, strict=True)
        }
        identity = pixel_positions(size)
        fields = {
            AFFINE: _affine_fields(identity),
            DISPLACEMENT: _smooth_fields(config.displacement_grid, size),
        }
        displacements = [fields[kind].flatten(1) for kind in self.sizes if kind in DISPLACING]
        self.register_buffer("basis", torch.cat(displacements), persistent=False)
        self.register_buffer("identity", identity.flatten(), persistent=False)
        self.register_buffer("active", torch.ones(batch[0], latents))

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Set the templates to zero and activate all deformations; use no random numbers.

        Args:
            generators: one per run, R.
        """
        self.unpadded("template").zero_()
        for kind, place in self.places.items():
            self.unpadded("log_scale")[:, place] = math.log(INITIAL_SCALE[kind])
        if "residual" in self.sizes:
            self.unpadded("residual").zero_()

    @torch.no_grad()
    def set_templates(self, templates: Tensor) -> None:
        """Set the templates.

        Args:
            templates: intensities in [0, 1], [R, K, D].
        """
        self.unpadded("template").copy_(templates)

    def learned_images(self) -> list[nn.Parameter]:
        """Return the learned images: templates and residual images."""
        return [self.get_parameter(f"_{name}") for name in self.expert_parameters]

    @torch.no_grad()
    def activate(self, progress: float, starts: Sequence[float]) -> None:
        """Activate the deformations that have started.

        Args:
            progress: fraction of training, 0 at the first step and 1 at the last.
            starts: fraction at which each deformation starts; empty activates all of them.
        """
        for (_, place), start in zip(self.places.items(), starts or [0.0] * len(self.places), strict=True):
            self.active[:, place] = float(progress >= start)

    def forward(self, z: Tensor, normalize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the deformed templates.

        Args:
            z: latents, [R, K, B, Z].
            normalize: not supported; None.

        Returns:
            Intensities, [R, K, B, D].
        """
        return next(self.in_chunks(z, z.shape[0] * z.shape[1]))[1].view(*z.shape[:3], -1)

    def in_chunks(self, z: Tensor, groups: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield the deformed templates of a few experts at a time, which bounds the memory of displacements.

        Args:
            z: latents, [R, K, B, Z].
            groups: maximum number G of groups (run, expert) that are deformed together.

        Yields:
            The indices of the groups among the R K groups, and their intensities, [G, B, D].
        """
        scale = self._scale().repeat_interleave(self.batch[1], 0)  # [R K, Z]
        by_kind = self._by_kind(at_least_float32(z).flatten(0, 1) * scale.unsqueeze(1))
        weights, templates = self._added_weights(by_kind), self._templates().flatten(0, 1)
        added = self._added().flatten(0, 1)
        for start in range(0, len(templates), groups):
            here = slice(start, start + groups)
            undeformed = templates[here].unsqueeze(1)  # all rows of an expert deform the same image
            if weights.shape[-1]:
                undeformed = torch.baddbmm(undeformed, weights[here], added[here])
            yield here, self._deformed(undeformed, {kind: each[here] for kind, each in by_kind.items()})

    def sparse(self, z: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the deformed templates of rows that are sorted by run and expert.

        Args:
            z: latents, as many rows of each run, [T, Z].
            ends: row at which each group (run, expert) ends, R K numbers.

        Returns:
            Intensities, [T, D].
        """
        by_run = at_least_float32(z).view(self.batch[0], -1, z.shape[-1])
        by_kind = self._by_kind(by_run * self._scale().unsqueeze(1))
        weights = self._added_weights(by_kind).flatten(0, 1)
        undeformed = grouped_linear(weights, self._added(), self._templates(), ends)
        return self._deformed(undeformed.view(*by_run.shape[:2], -1), by_kind).flatten(0, 1)

    def extra_repr(self) -> str:
        """Return the sizes that `print` shows."""
        return f"batch={self.batch}, size={self.size}, latents={self.sizes}"

    def _scale(self) -> Tensor:
        """Return the effect of one unit of each latent, [R, Z]; 0 for an inactive latent."""
        return at_least_float32(self.unpadded("log_scale")).exp() * self.active

    def _by_kind(self, amounts: Tensor) -> dict[str, Tensor]:
        """Split scaled latents by deformation; amounts [G, B, Z], for G runs or experts of runs."""
        # One split: in the backward pass, each separate slice would allocate a full gradient.
        return dict(zip(self.sizes, amounts.split(list(self.sizes.values()), -1), strict=True))

    def _templates(self) -> Tensor:
        """Return the templates, [R, K, D]."""
        return at_least_float32(self.unpadded("template"))

    def _added(self) -> Tensor:
        """Return the images that latents add to a template before it is displaced, [R, K, images, D].

        Displacing is linear in the intensities. So thickness and residual change the template first, and only
        one image per row is displaced. The images of thickness are the changes of
        the template when it becomes thicker and thinner, by the morphology of gray images.
        """
        template, parts = self._templates(), []
        if "thickness" in self.sizes:
            pictures = template.reshape(-1, 1, *self.size)
            thicker = functional.max_pool2d(pictures, 3, 1, 1)
            thinner = -functional.max_pool2d(-pictures, 3, 1, 1)
            changed = torch.cat([thicker - pictures, thinner - pictures], 1)
            parts.append(changed.view(*self.batch, 2, -1))
        if "residual" in self.sizes:
            parts.append(at_least_float32(self.unpadded("residual")))
        return torch.cat(parts, 2) if parts else template.new_zeros(*self.batch, 0, template.shape[-1])

    def _added_weights(self, amounts: dict[str, Tensor]) -> Tensor:
        """Return the weights of the images of `_added`, [G, B, images]; amounts [G, B, latents] by kind."""
        weights = []
        if "thickness" in amounts:
            amount = amounts["thickness"]
            weights += [amount.clamp_min(0), (-amount).clamp_min(0)]
        if "residual" in amounts:
            weights.append(amounts["residual"])
        if weights:
            return torch.cat(weights, -1)
        return next(iter(amounts.values()))[..., :0]

    def _deformed(self, undeformed: Tensor, amounts: dict[str, Tensor]) -> Tensor:
        """Displace the pixels of images and change their intensities.

        Args:
            undeformed: images, [G, B, D], or one for all rows of a group, [G, 1, D].
            amounts: scaled latents of each deformation, [G, B, latents].

        Returns:
            Intensities, [G, B, D].
        """
        groups, images, pixels = undeformed.shape
        height, width = self.size
        moving = torch.cat([amounts[kind] for kind in self.sizes if kind in DISPLACING], -1)
        moved = torch.baddbmm(  # batched: the result must not depend on the number of runs
            self.identity.expand(groups, 1, -1), moving, self.basis.expand(groups, -1, -1)
        )
        drawn = functional.grid_sample(
            undeformed.view(groups * images, 1, height, width),
            moved.view(groups * images, -1, width, 2),
            padding_mode="border",
            align_corners=False,
        ).view(groups, -1, pixels)
        if "intensity" in amounts:
            contrast, brightness = amounts["intensity"].split(1, -1)
            drawn = drawn * contrast.exp() + brightness
        return drawn


def pixel_positions(size: Size) -> Tensor:
    """Return x and y of the center of each pixel, [H, W, 2]; the image spans -1 to 1.

    Args:
        size: height and width of an image, in pixels.
    """
    height, width = size
    across = torch.linspace(-1 + 1 / width, 1 - 1 / width, width)
    down = torch.linspace(-1 + 1 / height, 1 - 1 / height, height)
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([x, y], -1)


def blurred(images: Tensor, size: Size) -> Tensor:
    """Blur images with the kernel (1, 2, 1) / 4 in both directions.

    Args:
        images: [N, D].
        size: height and width of an image, in pixels.

    Returns:
        Images, [N, D].
    """
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
    pictures = functional.pad(images.view(-1, 1, *size), (1, 1, 1, 1), mode="replicate")
    across = functional.conv2d(pictures, kernel.view(1, 1, 1, 3))
    return functional.conv2d(across, kernel.view(1, 1, 3, 1)).flatten(1)


def _affine_fields(positions: Tensor) -> Tensor:
    """Return the displacement fields of the six parameters of an affine map, [6, H, W, 2]."""
    x, y = positions.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    of_x = [torch.stack([field, zero], -1) for field in (x, y, one)]
    of_y = [torch.stack([zero, field], -1) for field in (x, y, one)]
    return torch.stack([*of_x, *of_y])


def _smooth_fields(grid: int, size: Size) -> Tensor:
    """Return the displacement field of each grid point, by bicubic interpolation, [2 grid^2, H, W, 2]."""
    points = torch.eye(grid**2).view(-1, 1, grid, grid)
    fields = functional.interpolate(points, size=size, mode="bicubic", align_corners=True).squeeze(1)
    zero = torch.zeros_like(fields)
    return torch.cat([torch.stack([fields, zero], -1), torch.stack([zero, fields], -1)])
