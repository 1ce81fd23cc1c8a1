"""What trained runs are worth on a split, with labels where there are any, and how that is shown."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels
from moevae.errors import DataError
from moevae.evaluation import class_overlap, clustering, evaluate
from moevae.evaluation.evaluate import Evaluation, Split
from moevae.evaluation.label_metrics import agreement
from moevae.models.mixture import Mixture
from moevae.utils import devices

UNITS = {
    "mixture_elbo": "nats/image",
    "marginal_elbo": "nats/image",
    "hard_elbo": "nats/image",
    "iwae_bound": "nats/image",
    "gate_gap": "nats/image",
    "recon_log_prob": "nats/image",
    "kl_z": "nats/image",
    "kl_gate": "nats/image",
    "temperature": "",
    "gate_information": "nats",
    "kl_importance": "nats",
    "effective_experts": "experts",
    "dead_experts": "experts",
    "acc": "0 to 1",
    "nmi": "0 to 1",
    "ari": "up to 1",
    "ece": "0 to 1",
    "brier": "0 to 2",
}
ABOUT_LABELS = (
    "acc, nmi, ari and the gate's calibration (ece and brier: lower is better)\n"
    "compare with the labels, which training never sees"
)
_COLUMNS = 5
"""Columns of numbers that 80 characters have room for."""


@dataclass(frozen=True)
class Confusion:
    """How many images of each class each expert won."""

    classes: tuple[str, ...]
    counts: list[list[int]]
    """By expert and class."""


@dataclass(frozen=True)
class Score:
    """One run on one split."""

    config: RunConfig
    split: Split
    metrics: dict[str, float]
    load: list[float]
    """Share of images won by each expert."""
    importance: list[float]
    """Mean gate probability of each expert."""
    confusion: Confusion | None
    """None where there are no labels."""
    ledger: dict[str, list[float]]
    """Each expert's part in recon_log_prob and kl_z."""
    images_per_second: float
    """Evaluated images of the whole population, per second."""

    @property
    def broken(self) -> str | None:
        """The first metric that is not a finite number, in words; None where all are."""
        bad = (f"{name} became {value}" for name, value in self.metrics.items() if not math.isfinite(value))
        return next(bad, None)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON tells of it; a metric that is not finite is null."""
        numbers = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return {
            "metrics": numbers,
            "load": self.load,
            "importance": self.importance,
            "confusion": asdict(self.confusion) if self.confusion else None,
            "ledger": self.ledger,
            "evaluation_images_per_second": self.images_per_second,
        }


def score(
    model: Mixture,
    configs: Sequence[RunConfig],
    images: Images,
    labels: Labels | None,
    split: Split,
    memory: int | None = None,
    *,
    importance: bool = True,
) -> list[Score]:
    """Measure each run of a population on a split, in so many bytes of memory; see `evaluation.evaluate`.

    Raises:
        DataError: the split is empty.
        ConfigError: too little memory.
    """
    count = len(getattr(images, split))
    if not count:
        raise DataError(f"{images.name}: the {split} split is empty (data.validation_size = 0 keeps none)")
    begin = time.perf_counter()
    found = evaluate.evaluate(model, configs, images, split, memory=memory, importance=importance)
    speed = count * len(configs) / (time.perf_counter() - begin)
    scores = []
    for config, run in zip(configs, found, strict=True):
        agreed = {} if labels is None else agreement(run, labels, split, config.data)
        counted = None if labels is None else _confusion(run, labels, split)
        ledger = {name: values.tolist() for name, values in run.ledger.items()}
        scores.append(
            Score(
                config,
                split,
                run.metrics | agreed,
                run.load.tolist(),
                run.importance.tolist(),
                counted,
                ledger,
                speed,
            )
        )
    return scores


def table(scores: Sequence[Score], names: Sequence[str]) -> str:
    """Return metrics by named run, with units; seeds of one cell get their mean and deviation (ddof = 1)."""
    columns = list(zip(names, (each.metrics for each in scores), strict=True))
    shown = [name for name in UNITS if any(name in each.metrics for each in scores)]
    if len(scores) > 1 and are_seeds_of_one_cell(scores):
        values = {name: [each.metrics[name] for each in scores] for name in shown}
        columns.append(("mean", {name: fmean(some) for name, some in values.items()}))
        columns.append(("std", {name: stdev(some) for name, some in values.items()}))
    blocks = [columns[start : start + _COLUMNS] for start in range(0, len(columns), _COLUMNS)]
    return "\n\n".join(
        tabulate(
            [[name, UNITS[name], *(_shown(name, metrics) for _, metrics in block)] for name in shown],
            headers=["", "unit", *(head for head, _ in block)],
            disable_numparse=True,
            colalign=("left", "left", *("right" for _ in block)),
        )
        for block in blocks
    )


def about_marginal(scores: Sequence[Score]) -> str:
    """Return what marginal_elbo and gate_gap are estimated from; nothing where they were not computed."""
    key = "marginal_samples"
    counts = sorted({round(each.metrics[key]) for each in scores if key in each.metrics})
    samples = f"{' or '.join(f'{count:,}' for count in counts)} samples of z per image and expert"
    told = f"marginal_elbo and gate_gap: {samples}, corrected for their bias by the delta method"
    return textwrap.fill(told, width=79, subsequent_indent="  ") if counts else ""


def are_seeds_of_one_cell(scores: Sequence[Score]) -> bool:
    """Whether the runs differ in their seeds, and in nothing else."""
    cells = {replace(each.config, seed=0) for each in scores}
    return len(cells) == 1 and len({each.config.seed for each in scores}) == len(scores)


def loads(scores: Sequence[Score], names: Sequence[str]) -> str:
    """Return the share of images that each expert won, a paragraph a run."""
    return "\n".join(
        textwrap.fill(
            " ".join(f"{share:.0%}" for share in each.load),
            width=79,
            initial_indent=f"load of experts 0 to {len(each.load) - 1}, {name}: ",
            subsequent_indent="  ",
        )
        for each, name in zip(scores, names, strict=True)
    )


def shared(scores: Sequence[Score], names: Sequence[str]) -> str:
    """Return which experts took several classes and who divides classes, a paragraph a run."""
    told = {
        name: class_overlap.in_words(np.array(each.confusion.counts), each.confusion.classes)
        for each, name in zip(scores, names, strict=True)
        if each.confusion
    }
    return "\n".join(
        textwrap.fill(f"{name}: {'; '.join(sentences)}", width=79, subsequent_indent="  ")
        for name, sentences in told.items()
        if sentences
    )


def hardware(device: torch.device, precision: str = "float32") -> str:
    """Return where numbers of speed come from, such as `cpu (AMD EPYC, float32, 2 threads)`."""
    about = devices.describe(device, precision)
    threads = f"{about['threads']} thread{'' if about['threads'] == 1 else 's'}"
    return f"{about['device']} ({about['device_name']}, {about['precision']}, {threads})"


def _confusion(run: Evaluation, labels: Labels, split: Split) -> Confusion:
    counts = clustering.confusion(run.assignments, getattr(labels, split), len(run.load), len(labels.classes))
    return Confusion(labels.classes, counts.tolist())


def _shown(name: str, values: dict[str, float]) -> str:
    if name not in values:
        return ""
    digits = 2 if UNITS[name] in ("nats/image", "experts") else 3
    return f"{values[name]:.{digits}f}"
