"""Scores of the assignments of all images: training, validation and test images together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from moevae.config.schema import RunConfig
from moevae.data.binarization import target_images, to_float
from moevae.data.datasets import Images, Labels
from moevae.evaluation import clustering
from moevae.evaluation import memory as budget
from moevae.evaluation.log_weights import BLOCK
from moevae.evaluation.results import SPLITS, Split
from moevae.models.gate import gate_log_probs
from moevae.models.mixture import Mixture
from moevae.training.schedules import temperatures
from moevae.utils import devices

CHUNK = 8 * BLOCK
"""Largest number of images per pass through the gate."""


def score_all_images(
    model: Mixture,
    configs: Sequence[RunConfig],
    images: Images,
    labels: Labels | None,
    memory: int | None = None,
) -> list[dict[str, float]]:
    """Return `all_acc`, `all_nmi` and the number of images, `all_images`, of each run.

    The dictionaries are empty without labels, or without `evaluation.all_images`.

    Args:
        model: the trained population.
        configs: its configurations, one per run.
        images: the data set.
        labels: its labels, or None.
        memory: memory limit for a pass through the experts, in bytes; None sets no limit.
    """
    if labels is None or not configs[0].evaluation.all_images:
        return [{} for _ in configs]
    true = np.concatenate([getattr(labels, split) for split in SPLITS])
    found = []
    for run, config in enumerate(configs):
        made = assign_all_images(model.select_run(run), config, images, memory)
        scores = clustering.clustering(made, true)
        found.append({"all_acc": scores["acc"], "all_nmi": scores["nmi"], "all_images": float(len(made))})
    return found


def assign_all_images(
    model: Mixture, config: RunConfig, images: Images, memory: int | None = None
) -> np.ndarray:
    """Return the most probable expert of each image under the gate, [N].

    The images are those of the training, the validation and the test split, in this order.

    Args:
        model: a trained run, as a population of one run.
        config: its configuration.
        images: the data set.
        memory: memory limit for a pass through the experts, in bytes; None sets no limit.
    """
    return np.concatenate([gate_probs(model, config, images, split, memory).argmax(0) for split in SPLITS])


@torch.no_grad()
@devices.cpu_settings()
def gate_probs(
    model: Mixture, config: RunConfig, images: Images, split: Split, memory: int | None = None
) -> np.ndarray:
    """Return q(k|x) of the images of a split, as the gate reads them in evaluation, [K, N].

    Args:
        model: a trained run, as a population of one run.
        config: its configuration.
        images: the data set.
        split: the split; without images, N is 0.
        memory: memory limit for a pass through the experts, in bytes; None sets no limit.

    Raises:
        ConfigError: the memory limit is below the memory of one block of images.
    """
    step = CHUNK
    if memory is not None:
        step = min(step, budget.images(memory, config, model.size) // BLOCK * BLOCK)
    temperature = temperatures([config], 1.0, model.gate)
    stored = getattr(images, split)
    seen = stored if config.model.gate_input != "target" else target_images(stored, config.data, split)
    parts = [torch.zeros(model.config.num_experts, 0)]
    for part in seen.split(step) if len(seen) else ():
        x = to_float(part.to(model.device)).unsqueeze(0)
        parts.append(gate_log_probs(model.gate_logits(x, x), temperature)[0].exp().cpu())
    return torch.cat(parts, -1).numpy()
