"""`sample`: draw images from the experts of a trained run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from moevae.cli.options import Sample
from moevae.errors import CheckpointError, ConfigError
from moevae.models.mixture import Mixture
from moevae.training import checkpoint
from moevae.utils.io import npz_bytes, why_unwritable, write_atomically
from moevae.utils.rng import RunGenerators
from moevae.visualization import samples

MAX_IMAGES = 1000
"""Maximum number of images per expert."""
GAP = 4
"""Space between images, in pixels of the picture."""
WIDE = 56
"""Approximate default width of an image, in pixels of the picture."""


def sample(options: Sample) -> int:
    """Write decoded samples of one expert, or of all, as PNG or npz; print the path.

    Args:
        options: options of the command.

    Raises:
        ConfigError: an option is outside its range.
        CheckpointError: the file cannot be written.
    """
    path = options.output or _default_output(options.checkpoint, options.expert)
    _check(options, path)
    trained = checkpoint.load(options.checkpoint)
    experts = trained.config.model.num_experts
    if options.expert is not None and not 0 <= options.expert < experts:
        raise ConfigError(f"--expert {options.expert}: expected 0 to {experts - 1}, the experts of this run")
    seed = trained.config.seed if options.seed is None else options.seed
    images = draw(trained.model, options.count, seed)  # [K, count, D]
    if path.suffix.lower() == ".npz":
        chosen = torch.arange(experts) if options.expert is None else torch.tensor([options.expert])
        arrays = {"images": images[chosen].unflatten(-1, (trained.height, trained.width)), "experts": chosen}
        content = npz_bytes({name: value.numpy() for name, value in arrays.items()})
    else:
        rows = images.transpose(0, 1) if options.expert is None else _square(images[options.expert])
        scale = options.scale or max(1, round(WIDE / max(trained.height, trained.width)))
        content = samples.tiles(rows, trained.height, trained.width, scale, GAP)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(f"--output {path}: cannot be written ({error.strerror})") from None
    columns = "" if path.suffix.lower() == ".npz" else ", in columns from the left"
    every = f"each of the experts 0 to {experts - 1}{columns}"
    drawn = every if options.expert is None else f"expert {options.expert}"
    print(f"{path}: {options.count} images of {drawn}")
    return 0


def draw(model: Mixture, count: int, seed: int) -> Tensor:
    """Return decoded samples of each expert.

    Args:
        model: a model of a single run.
        count: number of samples of each expert.
        seed: seed of the samples.

    Returns:
        Pixels, [K, count, D].
    """
    stream = RunGenerators([seed], "pictures", model.device)
    noise = stream.normal(model.config.num_experts, count, model.latent_size)
    uniform = RunGenerators([seed], "components of pictures", model.device).uniform(count)[0]
    draws: Iterable[Tensor | None] = itertools.repeat(None)
    if model.experts.context is not None:
        pixels = RunGenerators([seed], "pixels of pictures", model.device)
        draws = pixels.uniform(model.config.num_experts, count, math.prod(model.size)).split(256, dim=2)
    with torch.no_grad():
        parts = zip(model.experts.prior_samples(noise, uniform).split(256, dim=2), draws, strict=False)
        return torch.cat([model.experts.mean(z, uniform=drawn)[0] for z, drawn in parts], dim=1)


def _check(options: Sample, path: Path) -> None:
    if not 1 <= options.count <= MAX_IMAGES:
        raise ConfigError(f"--count {options.count}: expected 1 to {MAX_IMAGES}")
    if options.scale is not None and not 1 <= options.scale <= 32:
        raise ConfigError(f"--scale {options.scale}: expected 1 to 32")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise ConfigError(f"--seed {options.seed}: expected 0 to 2^63 - 1")
    if path.suffix.lower() not in (".png", ".npz"):
        raise ConfigError(f"--output {path}: expected a name that ends in .png (a picture) or .npz (arrays)")
    problem = why_unwritable(path.parent)
    if problem:
        raise ConfigError(f"--output {path}: {problem}")


def _default_output(path: Path, expert: int | None) -> Path:
    return path.with_name(f"{path.stem}-{'experts' if expert is None else f'expert-{expert}'}.png")


def _square(images: Tensor) -> Tensor:
    """Arrange images, [N, D], in about as many rows as columns; the rest of the grid is black."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    blank = images.new_zeros(rows * columns - len(images), images.shape[1])
    return torch.cat([images, blank]).view(rows, columns, -1)
