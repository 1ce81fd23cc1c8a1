"""What trained runs are worth on a split, with labels where there are any, and how that is shown."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels
from moevae.errors import DataError
from moevae.evaluation import clustering, evaluate
from moevae.evaluation.evaluate import Evaluation, Split
from moevae.evaluation.label_metrics import agreement
from moevae.models.mixture import Mixture


@dataclass(frozen=True)
class ConfusionCounts:
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
    confusion: ConfusionCounts | None
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
        raise DataError(
            f"{images.name}: the {split} split is empty (set data.validation_size above 0 to hold out images)"
        )
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


def about_marginal(scores: Sequence[Score]) -> str:
    """Return what marginal_elbo and gate_gap are estimated from; nothing where they were not computed."""
    key = "marginal_samples"
    counts = sorted({round(each.metrics[key]) for each in scores if key in each.metrics})
    samples = f"{' or '.join(f'{count:,}' for count in counts)} samples of z per image and expert"
    told = f"marginal_elbo and gate_gap: {samples}, bias corrected by the delta method"
    return textwrap.fill(told, width=79, subsequent_indent="  ") if counts else ""


def _confusion(run: Evaluation, labels: Labels, split: Split) -> ConfusionCounts:
    counts = clustering.confusion(run.assignments, getattr(labels, split), len(run.load), len(labels.classes))
    return ConfusionCounts(labels.classes, counts.tolist())
