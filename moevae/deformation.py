"""Deformable experts: each draws one learned template, and its latent z says how the template is deformed.

Experts that can draw anything have no reason to specialize. An expert that can only deform one template owns the
images that this template explains: transformation-invariant clustering (Frey, Jojic, 2003, transformation-invariant
clustering using the EM algorithm; Monnier, Groueix, Aubry, 2020, deep transformation-invariant clustering), as a
mixture of VAEs. The prior of z is standard normal; how far a unit of z deforms is learned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from moevae.config import ModelConfig
from moevae.densities import at_least_float32
from moevae.stacked import Stacked

Size = tuple[int, int]

AFFINE, DISPLACEMENT = "affine", "displacement"
LINEAR = (AFFINE, DISPLACEMENT)
"""Deformations that move pixels: their displacements add up."""

STARTING_SCALE = {AFFINE: 0.15, DISPLACEMENT: 0.08, "intensity": 0.2, "thickness": 0.5, "residual": 0.1}
"""What a unit of z does at the start: positions count in half sides of the image, intensities in their range."""


def latent_sizes(config: ModelConfig) -> dict[str, int]:
    """Return how many latents each deformation has, in their order in z."""
    own = {
        AFFINE: 6,
        DISPLACEMENT: 2 * config.displacement_grid**2,
        "intensity": 2,
        "thickness": 1,
        "residual": config.latent_dim,
    }
    return {kind: own[kind] for kind in config.deformations}


def latent_size(config: ModelConfig) -> int:
    """Return Z, the number of latents of an expert."""
    return sum(latent_sizes(config).values()) if config.decoder == "deformable" else config.latent_dim


class Deformation(Stacked):
    """Templates stacked over (R, K), deformed by latents: z [R, K, B, Z] -> intensities [R, K, B, D].

    A deformation that is not `active` leaves the template as it is; see `activate`.

    Args:
        batch: (R, K).
        size: height and width of an image, in pixels.
        config: the kinds of deformation.
    """

    basis: Tensor  # displacements of all pixels by each moving latent, [moving latents, H W 2]
    identity: Tensor  # where each pixel is, [H W 2]
    active: Tensor  # 1 where a latent deforms, else 0, [R, Z]

    def __init__(self, batch: Sequence[int], size: Size, config: ModelConfig) -> None:
        self.sizes = latent_sizes(config)
        latents, pixels = sum(self.sizes.values()), math.prod(size)
        residual = {"residual": (*batch, self.sizes["residual"], pixels)} if "residual" in self.sizes else {}
        super().__init__(template=(*batch, pixels), log_scale=(batch[0], latents), **residual)
        self.over_experts = ("template", "residual")
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
        moving = [fields[kind].flatten(1) for kind in self.sizes if kind in LINEAR]
        self.moving = torch.cat(
            [torch.arange(latents)[self.places[kind]] for kind in self.sizes if kind in LINEAR]
        )
        self.register_buffer("basis", torch.cat(moving), persistent=False)
        self.register_buffer("identity", identity.flatten(), persistent=False)
        self.register_buffer("active", torch.ones(batch[0], latents))

    @torch.no_grad()
    def reset(self, generators: Sequence[torch.Generator]) -> None:
        """Start with empty templates, all deformations active; nothing is drawn."""
        self.stored("template").zero_()
        for kind, place in self.places.items():
            self.stored("log_scale")[:, place] = math.log(STARTING_SCALE[kind])
        if "residual" in self.sizes:
            self.stored("residual").zero_()

    @torch.no_grad()
    def start_from(self, templates: Tensor) -> None:
        """Set the templates, [R, K, D], intensities in [0, 1]."""
        self.stored("template").copy_(templates)

    @torch.no_grad()
    def activate(self, progress: float, starts: Sequence[float]) -> None:
        """Switch each deformation on from its share of training.

        Args:
            progress: 0 at the first step of training and 1 at the last.
            starts: one for each deformation; empty switches all of them on.
        """
        for (_, place), start in zip(self.places.items(), starts or [0.0] * len(self.places), strict=True):
            self.active[:, place] = float(progress >= start)

    def forward(self, z: Tensor, normalize: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the deformed templates, [R, K, B, D]; z [R, K, B, Z]."""
        runs, experts, batch, _ = z.shape
        amounts = self._amounts(z.flatten(1, 2), torch.arange(runs, device=z.device))  # [R, K B, Z]
        drawn = self._drawn(self._templates(), amounts.view(runs * experts, batch, -1))
        if "residual" in self.sizes:
            drawn = drawn + (
                self._part(amounts, "residual").view(*z.shape[:3], -1) @ self.stored("residual")
            ).flatten(0, 1)
        return drawn.view(*z.shape[:3], -1)

    def sparse(self, z: Tensor, ends: Sequence[int]) -> Tensor:
        """Return the deformed templates of rows sorted by run and expert, [T, D]; z [T, Z]."""
        templates, parts = self._templates(), []
        for group, (start, end) in enumerate(itertools.pairwise([0, *ends])):
            run, expert = divmod(group, self.batch[1])
            amounts = self._amounts(z[None, start:end], torch.tensor([run], device=z.device))
            drawn = self._drawn(templates[group : group + 1], amounts)
            if "residual" in self.sizes:
                drawn = drawn + self._part(amounts, "residual") @ self.stored("residual")[run, expert]
            parts.append(drawn[0])
        return torch.cat(parts)

    def extra_repr(self) -> str:
        """Tell the sizes."""
        return f"batch={self.batch}, size={self.size}, latents={self.sizes}"

    def _templates(self) -> Tensor:
        """Return what the grid samples from, [R K, C, H, W]: the template, thicker and thinner where asked."""
        template = at_least_float32(self.stored("template")).view(-1, 1, *self.size)
        if "thickness" not in self.sizes:
            return template
        thicker = functional.max_pool2d(template, 3, 1, 1)
        thinner = -functional.max_pool2d(-template, 3, 1, 1)
        return torch.cat([template, thicker, thinner], 1)

    def _amounts(self, z: Tensor, runs: Tensor) -> Tensor:
        """Return how far each latent deforms, [R, N, Z]; z [R, N, Z], of these runs."""
        scale = at_least_float32(self.stored("log_scale")).exp() * self.active
        return at_least_float32(z) * scale[runs].unsqueeze(1)

    def _part(self, amounts: Tensor, kind: str) -> Tensor:
        return amounts[..., self.places[kind]]

    def _drawn(self, templates: Tensor, amounts: Tensor) -> Tensor:
        """Return templates [G, C, H, W] deformed by amounts [G, B, Z], [G, B, D]."""
        groups, batch, _ = amounts.shape
        moved = torch.baddbmm(  # batched: how many runs there are must not change a bit
            self.identity.expand(groups, 1, -1), amounts[..., self.moving], self.basis.expand(groups, -1, -1)
        )
        height, width = self.size
        grid = moved.view(groups, batch * height, width, 2)
        looked = functional.grid_sample(templates, grid, padding_mode="border", align_corners=False)
        looked = looked.view(groups, -1, batch, height * width)
        drawn = looked[:, 0]
        if "thickness" in self.sizes:
            amount = self._part(amounts, "thickness")
            drawn = (
                drawn
                + amount.clamp_min(0) * (looked[:, 1] - drawn)
                + (-amount).clamp_min(0) * (looked[:, 2] - drawn)
            )
        if "intensity" in self.sizes:
            contrast, brightness = self._part(amounts, "intensity").split(1, -1)
            drawn = drawn * contrast.exp() + brightness
        return drawn


def pixel_positions(size: Size) -> Tensor:
    """Return x and y of each pixel's center, [H, W, 2]; the image reaches from -1 to 1."""
    height, width = size
    across = torch.linspace(-1 + 1 / width, 1 - 1 / width, width)
    down = torch.linspace(-1 + 1 / height, 1 - 1 / height, height)
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([x, y], -1)


def blurred(images: Tensor, size: Size) -> Tensor:
    """Return images smoothed by the binomial kernel (1, 2, 1) / 4 in both directions, [N, D]; images [N, D]."""
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
    pictures = functional.pad(images.view(-1, 1, *size), (1, 1, 1, 1), mode="replicate")
    across = functional.conv2d(pictures, kernel.view(1, 1, 1, 3))
    return functional.conv2d(across, kernel.view(1, 1, 3, 1)).flatten(1)


def _affine_fields(positions: Tensor) -> Tensor:
    """Return the displacements of an affine map's six parameters, [6, H, W, 2]."""
    x, y = positions.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    of_x = [torch.stack([field, zero], -1) for field in (x, y, one)]
    of_y = [torch.stack([zero, field], -1) for field in (x, y, one)]
    return torch.stack([*of_x, *of_y])


def _smooth_fields(grid: int, size: Size) -> Tensor:
    """Return displacements that each move one point of a grid, interpolated by cubic convolution, [2 grid^2, H, W, 2]."""
    points = torch.eye(grid**2).view(-1, 1, grid, grid)
    fields = functional.interpolate(points, size=size, mode="bicubic", align_corners=True).squeeze(1)
    zero = torch.zeros_like(fields)
    return torch.cat([torch.stack([fields, zero], -1), torch.stack([zero, fields], -1)])
