"""`explore`: pictures of the experts and latents of a trained run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from moevae.cli.evaluate import check
from moevae.cli.options import Explore
from moevae.cli.sample import draw
from moevae.config.types import MapMethod
from moevae.data.binarization import target_images, to_float
from moevae.data.datasets import Images, Labels, load_images, load_labels
from moevae.errors import CheckpointError, ConfigError
from moevae.evaluation import clustering
from moevae.evaluation.evaluate import evaluate
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.utils import devices
from moevae.utils.io import npz_bytes, why_unwritable, write_atomically
from moevae.utils.rng import RunGenerators
from moevae.visualization import confusions, maps, style
from moevae.visualization import latent as exploration
from moevae.visualization import samples as figures

MAX_PAIRS = 20
"""Maximum number of samples per expert."""
STEPS = 9
"""Number of images of an interpolation."""
REACH, STRIDE = 3.0, 0.5
"""Range of a traversal on both sides, and its step, in standard deviations of the prior."""
MAX_LATENTS = 20
"""Maximum number of latents in the traversals of an expert: those with the highest KL."""
MAX_MAPPED = 10_000
"""Maximum number of test images in the map."""

Arrays = dict[str, np.ndarray]
"""Data of the pictures, by name; each function adds its own."""


def explore(options: Explore) -> int:
    """Write a folder of PNGs and print their paths.

    Args:
        options: options of the command.

    Raises:
        ConfigError: an option is outside its range.
        CheckpointError: a file cannot be written.
    """
    folder = options.output or options.checkpoint.with_name(f"{options.checkpoint.stem}-explored")
    if not 1 <= options.count <= MAX_PAIRS:
        raise ConfigError(f"--count {options.count}: expected 1 to {MAX_PAIRS}")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise ConfigError(f"--seed {options.seed}: expected 0 to 2^63 - 1")
    if problem := why_unwritable(folder):
        raise ConfigError(f"--output {folder}: {problem}")
    maps.check(options.map)
    trained = checkpoint.load(options.checkpoint)
    config = trained.config
    count = config.model.num_experts
    if options.expert is not None and not 0 <= options.expert < count:
        raise ConfigError(f"--expert {options.expert}: expected 0 to {count - 1}, the experts of this run")
    devices.prepare()
    images = load_images(config.data, options.data_root)
    check(options.checkpoint, trained, config.data, images)
    experts = range(count) if options.expert is None else [options.expert]
    seed = config.seed if options.seed is None else options.seed
    (found,) = evaluate(trained.model, [config], images, importance=False)
    assignments = torch.from_numpy(found.assignments)[None]  # [1, N]
    seen = target_images(images.test, config.data, "test")  # [N, D]
    arrays: dict[str, np.ndarray] = {"experts": np.array(experts)}
    pictures = _neighbors(trained, images, options.count, seed, experts, arrays)
    pictures |= _interpolations(trained, seen, assignments, seed, experts, arrays)
    pictures |= _traversals(trained, seen, assignments, experts, arrays)
    pictures |= _reconstructions(trained, images, seen, found.assignments, options.count, arrays)
    pictures |= _competition(trained, seen, found.assignments, options.count, arrays)
    labels = load_labels(config.data, options.data_root)
    pictures |= _experts(trained, images, found.assignments, labels, arrays)
    pictures |= _map(trained, seen, found.assignments, labels, options.map, seed, arrays)
    pictures["arrays.npz"] = npz_bytes(arrays)
    for name, content in pictures.items():
        try:
            write_atomically(folder / name, content)
        except OSError as error:
            raise CheckpointError(f"--output {folder}: cannot be written ({error.strerror})") from None
        print(folder / name)
    return 0


def _neighbors(
    trained: Trained, images: Images, count: int, seed: int, experts: Sequence[int], arrays: Arrays
) -> dict[str, bytes]:
    """Draw samples of each expert above their nearest training images."""
    samples = draw(trained.model, count, seed)[list(experts)]  # [experts, count, D]
    train = to_float(images.train)
    places, distances = exploration.nearest_images(samples.flatten(0, 1), train)
    arrays["samples"] = _shaped(trained, samples)
    arrays["nearest"] = places.view(samples.shape[:2]).numpy()
    arrays["nearest_distances"] = distances.view(samples.shape[:2]).numpy()
    pairs = torch.stack([samples, train[places].view_as(samples)], dim=1).flatten(0, 1)
    rows = [words for expert in experts for words in (f"expert {expert}", "nearest")]
    columns = [str(number) for number in range(1, count + 1)]
    title = f"Samples and their nearest training images\n(median distance {distances.median():.2f})"
    return {"neighbors.png": _grid(trained, pairs, rows, columns, ("", "sample"), title)}


def _interpolations(
    trained: Trained,
    seen: Tensor,
    assignments: Tensor,
    seed: int,
    experts: Sequence[int],
    arrays: Arrays,
) -> dict[str, bytes]:
    """Draw an interpolation for each expert between two of its test images, which are at both ends."""
    order = RunGenerators([seed], "pairs of images").permutations(len(seen))
    pairs = exploration.pairs_by_expert(assignments, trained.config.model.num_experts, order)  # [1, K, 2]
    first, second = seen[pairs].unbind(2)  # [1, K, D]
    inner = exploration.interpolations(trained.model, first, second, STEPS)  # [1, K, STEPS, D]
    rows_of_images = torch.cat([first.unsqueeze(2), inner, second.unsqueeze(2)], dim=2)[0]
    able = [expert for expert in experts if pairs[0, expert, 0] >= 0]
    idle = [str(expert) for expert in experts if expert not in able]
    if idle:
        print(f"fewer than two test images: no interpolation for expert {', '.join(idle)}")
    if not able:
        return {}
    arrays["interpolations"] = _shaped(trained, rows_of_images[able])
    arrays["interpolated_experts"] = np.array(able)
    shares = [f"{step / (STEPS - 1):.3g}".lstrip("0") or "0" for step in range(STEPS)]
    rows = [str(expert) for expert in able]
    title = "Interpolations between two test images in the latent space of each expert"
    names = ("expert", "share of the second image's latents")
    content = _grid(trained, rows_of_images[able], rows, ["image", *shares, "image"], names, title)
    return {"interpolations.png": content}


def _traversals(
    trained: Trained, seen: Tensor, assignments: Tensor, experts: Sequence[int], arrays: Arrays
) -> dict[str, bytes]:
    """Draw traversals of the latents of each expert, those with the largest KL divergence first."""
    values = torch.linspace(-REACH, REACH, 1 + math.ceil(2 * REACH / STRIDE))
    traversals = exploration.traversals(trained.model, values)[0]  # [K, Z, V, D]
    latent_kl = exploration.latent_kl(trained.model, seen, assignments)[0]  # [K, Z]
    arrays["traversals"] = _shaped(trained, traversals[list(experts)])
    arrays["traversal_values"] = values.numpy()
    arrays["latent_kl"] = latent_kl[list(experts)].cpu().numpy()
    columns = [f"{value:g}" for value in values.tolist()]
    pictures = {}
    for expert in experts:
        order = latent_kl[expert].argsort(descending=True, stable=True)[:MAX_LATENTS]
        rows = [f"{latent} ({latent_kl[expert, latent]:.2f})" for latent in order.tolist()]
        pictures[f"traversals-expert-{expert}.png"] = _grid(
            trained,
            traversals[expert, order],
            rows,
            columns,
            ("latent (KL in nats)", "value of the latent, the others at 0"),
            "Traversals of "
            + ("" if len(order) == len(latent_kl[expert]) else f"{MAX_LATENTS} of ")
            + f"the latents of expert {expert}",
        )
    return pictures


def _reconstructions(
    trained: Trained, images: Images, seen: Tensor, assignments: np.ndarray, count: int, arrays: Arrays
) -> dict[str, bytes]:
    """Draw test images above their reconstructions by their assigned experts."""
    shown = slice(count)
    rebuilt = figures.reconstructions(trained.model, seen[shown], to_float(images.test[shown]))[0].cpu()
    pairs = torch.stack([seen[shown], rebuilt])
    arrays["reconstructions"] = _shaped(trained, rebuilt)
    names = [str(expert) for expert in assignments[shown]]
    title = "Test images and their reconstructions"
    content = _grid(trained, pairs, ["image", "reconstruction"], names, ("", "expert"), title)
    return {"reconstructions.png": content}


def _competition(
    trained: Trained, seen: Tensor, assignments: np.ndarray, count: int, arrays: Arrays
) -> dict[str, bytes]:
    """Draw test images as every expert reconstructs them, with the squared errors."""
    images = seen[:count]
    drawn = figures.reconstruct_by_all_experts(trained.model, images)[0].transpose(0, 1).cpu()  # [B, K, D]
    errors = (drawn - images.unsqueeze(1)).square().sum(-1)  # [B, K]
    arrays |= {"drawn_by_every_expert": _shaped(trained, drawn), "errors_of_every_expert": errors.numpy()}
    notes = [["", *(f"{error:.1f}" for error in each)] for each in errors.tolist()]
    content = figures.tiles(torch.cat([images.unsqueeze(1), drawn], 1), trained.height, trained.width)
    columns = ["image", *(str(expert) for expert in range(drawn.shape[1]))]
    rows = [str(expert) for expert in assignments[:count]]
    title = "Test images as every expert reconstructs them\n(below: sum of squared errors)"
    names = ("assigned expert", "expert")
    return {"competition.png": style.labeled(content, rows, columns, names, title, notes).png}


def _experts(
    trained: Trained, images: Images, assignments: np.ndarray, labels: Labels | None, arrays: Arrays
) -> dict[str, bytes]:
    """Draw what each expert draws at z = 0 above the mean of its test images, and, with labels, the confusion
    of experts and classes, both in one order of the experts."""
    count = trained.config.model.num_experts
    drawn = figures.prior_mean_images(trained.model)[0].cpu()  # [K, D]
    means = figures.mean_images(to_float(images.test), assignments, count)
    arrays |= {"prior_mean_images": _shaped(trained, drawn), "means": _shaped(trained, means)}
    order, pictures = np.arange(count), {}
    if labels is not None:
        counts = clustering.confusion(assignments, labels.test, count, len(labels.classes))
        order, arrays["confusion"] = confusions.by_class(counts), counts
        pictures["confusion.png"] = confusions.confusion(counts, labels.classes).png
    columns = [str(expert) for expert in order]
    title = "Each expert at z = 0,\nand the mean of its test images"
    content = _grid(
        trained, torch.stack([drawn, means])[:, order], ["expert", "mean"], columns, ("", "expert"), title
    )
    return {"experts.png": content, **pictures}


def _map(
    trained: Trained,
    seen: Tensor,
    assignments: np.ndarray,
    labels: Labels | None,
    method: MapMethod,
    seed: int,
    arrays: Arrays,
) -> dict[str, bytes]:
    """Draw test images by their latents, colored by expert and by class."""
    seen, assignments = seen[:MAX_MAPPED], assignments[:MAX_MAPPED]
    places = maps.project(exploration.all_latents(trained.model, seen)[0].numpy(), method, seed)
    arrays |= {"map": places, "assignments": assignments}
    experts = [str(expert) for expert in range(trained.config.model.num_experts)]
    panels: list[maps.Panel] = [("expert", assignments, experts)]
    if labels is not None:
        panels.append(("class", labels.test[:MAX_MAPPED], labels.classes))
    title = f"{len(seen):,} test images by their latents under all experts ({method.upper()})"
    return {"map.png": maps.draw(places, panels, title).png}


def _shaped(trained: Trained, images: Tensor) -> np.ndarray:
    """Return images as an array, [..., H, W]."""
    return images.unflatten(-1, (trained.height, trained.width)).cpu().numpy()


def _grid(
    trained: Trained,
    images: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    title: str,
) -> bytes:
    content = figures.tiles(images, trained.height, trained.width)
    return style.labeled(content, rows, columns, names, title).png
