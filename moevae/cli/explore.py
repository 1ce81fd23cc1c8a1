"""`explore`: pictures of what the experts of a trained run know."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from moevae.cli.evaluate import check
from moevae.cli.options import Explore
from moevae.cli.sample import draw
from moevae.data.binarization import evaluated, to_float
from moevae.data.datasets import Images, load_images
from moevae.errors import CheckpointError, ConfigError
from moevae.evaluation.evaluate import evaluate
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.utils import devices
from moevae.utils.io import why_unwritable, write_atomically
from moevae.utils.rng import RunGenerators
from moevae.visualization import latent as exploration
from moevae.visualization import samples as figures
from moevae.visualization import style

MOST_PAIRS = 20
"""Samples of each expert that a picture has room for."""
STEPS = 9
"""Images on the way from one image to another."""
REACH, STRIDE = 3.0, 0.5
"""How far a latent is walked to both sides, and its step: in standard deviations of the prior."""


def explore(options: Explore) -> int:
    """Write a folder of PNGs and print their paths."""
    folder = options.output or options.checkpoint.with_name(f"{options.checkpoint.stem}-explored")
    if not 1 <= options.count <= MOST_PAIRS:
        raise ConfigError(f"--count {options.count}: between 1 and {MOST_PAIRS}")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise ConfigError(f"--seed {options.seed}: between 0 and 2^63 - 1")
    if hindrance := why_unwritable(folder):
        raise ConfigError(f"--output {folder}: {hindrance}")
    trained = checkpoint.load(options.checkpoint)
    config = trained.config
    count = config.model.num_experts
    if options.expert is not None and not 0 <= options.expert < count:
        raise ConfigError(f"--expert {options.expert}: this run has experts 0 to {count - 1}")
    devices.prepare()
    images = load_images(config.data, options.data_root)
    check(options.checkpoint, trained, config.data, images)
    experts = range(count) if options.expert is None else [options.expert]
    seed = config.seed if options.seed is None else options.seed
    (found,) = evaluate(trained.model, [config], images, importance=False)
    assignments = torch.from_numpy(found.assignments)[None]  # [1, N]
    seen = evaluated(images.test, config.data, "test")  # [N, D]
    pictures = _neighbors(trained, images, options.count, seed, experts)
    pictures |= _ways(trained, seen, assignments, seed, experts)
    pictures |= _walks(trained, seen, assignments, experts)
    for name, content in pictures.items():
        try:
            write_atomically(folder / name, content)
        except OSError as error:
            raise CheckpointError(f"--output {folder}: cannot be written ({error.strerror})") from None
        print(folder / name)
    return 0


def _neighbors(
    trained: Trained, images: Images, count: int, seed: int, experts: Sequence[int]
) -> dict[str, bytes]:
    """Draw samples of each expert above the training images nearest to them."""
    samples = draw(trained.model, count, seed)[list(experts)]  # [experts, count, D]
    train = to_float(images.train)
    places, distances = exploration.nearest_images(samples.flatten(0, 1), train)
    pairs = torch.stack([samples, train[places].view_as(samples)], dim=1).flatten(0, 1)
    rows = [words for expert in experts for words in (f"expert {expert}", "nearest")]
    columns = [str(number) for number in range(1, count + 1)]
    title = f"Samples, and the training images nearest to them\n(median distance {distances.median():.2f})"
    return {"neighbors.png": _grid(trained, pairs, rows, columns, ("", "sample"), title)}


def _ways(
    trained: Trained, seen: Tensor, assignments: Tensor, seed: int, experts: Sequence[int]
) -> dict[str, bytes]:
    """Draw each expert's way between two test images of its own, the images themselves at both ends."""
    order = RunGenerators([seed], "pairs of images").permutations(len(seen))
    pairs = exploration.own_pairs(assignments, trained.config.model.num_experts, order)  # [1, K, 2]
    first, second = seen[pairs].unbind(2)  # [1, K, D]
    inner = exploration.interpolations(trained.model, first, second, STEPS)  # [1, K, STEPS, D]
    ways = torch.cat([first.unsqueeze(2), inner, second.unsqueeze(2)], dim=2)[0]
    able = [expert for expert in experts if pairs[0, expert, 0] >= 0]
    idle = [str(expert) for expert in experts if expert not in able]
    if idle:
        print(f"fewer than two test images: no interpolation for expert {', '.join(idle)}")
    if not able:
        return {}
    shares = [f"{step / (STEPS - 1):.3g}".lstrip("0") or "0" for step in range(STEPS)]
    rows = [str(expert) for expert in able]
    title = "From one test image to another, inside each expert"
    names = ("expert", "share of the second image's latents")
    content = _grid(trained, ways[able], rows, ["image", *shares, "image"], names, title)
    return {"interpolations.png": content}


def _walks(trained: Trained, seen: Tensor, assignments: Tensor, experts: Sequence[int]) -> dict[str, bytes]:
    """Draw each expert's walks along its latents, those that tell most of its images first."""
    values = torch.linspace(-REACH, REACH, 1 + math.ceil(2 * REACH / STRIDE))
    walks = exploration.traversals(trained.model, values)[0]  # [K, Z, V, D]
    told = exploration.latent_kl(trained.model, seen, assignments)[0]  # [K, Z]
    columns = [f"{value:g}" for value in values.tolist()]
    pictures = {}
    for expert in experts:
        order = told[expert].argsort(descending=True, stable=True)
        rows = [f"{latent} ({told[expert, latent]:.2f})" for latent in order.tolist()]
        pictures[f"traversals-expert-{expert}.png"] = _grid(
            trained,
            walks[expert, order],
            rows,
            columns,
            ("latent (nats it tells)", "value of the latent, the others at 0"),
            f"Expert {expert} along each of its latents",
        )
    return pictures


def _grid(
    trained: Trained,
    images: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    title: str,
) -> bytes:
    content = figures.tiles(images, trained.height, trained.width)
    return style.labeled(content, rows, columns, names, title)
