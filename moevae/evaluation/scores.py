"""Scores of trained runs on a split: all metrics, with those of labels if there are any."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moevae.config.schema import RunConfig
from moevae.data.datasets import Images, Labels
from moevae.errors import DataError
from moevae.evaluation import clustering, evaluate
from moevae.evaluation.all_images import score_all_images
from moevae.evaluation.label_metrics import run_metrics
from moevae.evaluation.results import Evaluation, Split
from moevae.models.mixture import Mixture


@dataclass(frozen=True)
class ConfusionCounts:
    """Number of images of each class that each expert wins."""

    classes: tuple[str, ...]
    counts: list[list[int]]
    """Counts by expert and class, [K, classes]."""


@dataclass(frozen=True)
class Score:
    """Scores of one run on one split."""

    config: RunConfig
    split: Split
    metrics: dict[str, float]
    load: list[float]
    """Share of the images that each expert wins, [K]."""
    importance: list[float]
    """Mean gate probability of each expert, [K]."""
    confusion: ConfusionCounts | None
    """None if there are no labels."""
    elbo_terms: dict[str, list[float]]
    """Contribution of each expert to recon_log_prob and kl_z, [K] each."""
    images_per_second: float
    """Images evaluated per second, summed over the runs of the population."""

    @property
    def broken(self) -> str | None:
        """Description of the first metric that is not finite; None if all are finite."""
        bad = (f"{name} became {value}" for name, value in self.metrics.items() if not math.isfinite(value))
        return next(bad, None)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON, without the configuration; a metric that is not finite is None."""
        numbers = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return {
            "metrics": numbers,
            "load": self.load,
            "importance": self.importance,
            "confusion": asdict(self.confusion) if self.confusion else None,
            "elbo_terms": self.elbo_terms,
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
    on_images: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Evaluate each run of a population on a split; see `moevae.evaluation.evaluate.evaluate`.

    With `evaluation.all_images`, the scores of the test split include those of all images.

    Args:
        model: the trained population.
        configs: its configurations, one per run.
        images: the data set.
        labels: its labels; None omits the metrics that need labels.
        split: the split to evaluate.
        memory: memory limit for one forward pass, in bytes; None sets no limit.
        importance: whether to compute the bounds that need many samples.
        on_images: called during the computation of `iwae_bound` with the number of images so far and of all,
            over all runs.

    Raises:
        DataError: the split is empty.
        ConfigError: the memory limit is too low.
    """
    count = len(getattr(images, split))
    if not count:
        raise DataError(
            f"{images.name}: the {split} split is empty (set data.validation_size above 0 to hold out images)"
        )
    begin = time.perf_counter()
    found = evaluate.evaluate(
        model, configs, images, split, memory=memory, importance=importance, on_images=on_images
    )
    speed = count * len(configs) / (time.perf_counter() - begin)
    whole: list[dict[str, float]] = [{} for _ in configs]
    if split == "test":
        whole = score_all_images(model, configs, images, labels, memory)
    scores = []
    for config, run, more in zip(configs, found, whole, strict=True):
        counted = None if labels is None else _confusion(run, labels, split)
        elbo_terms = {name: values.tolist() for name, values in run.elbo_terms.items()}
        scores.append(
            Score(
                config,
                split,
                run_metrics(run, labels, split, config.data) | more,
                run.load.tolist(),
                run.importance.tolist(),
                counted,
                elbo_terms,
                speed,
            )
        )
    return scores


def describe_marginal_samples(scores: Sequence[Score]) -> str:
    """Describe how marginal_elbo and gate_gap are estimated; empty if they were not computed.

    Args:
        scores: scores of runs.

    Returns:
        Lines of at most 79 characters.
    """
    key = "marginal_samples"
    counts = sorted({round(each.metrics[key]) for each in scores if key in each.metrics})
    samples = f"{' or '.join(f'{count:,}' for count in counts)} samples of z per image and expert"
    text = f"marginal_elbo and gate_gap: {samples}, bias corrected by the delta method"
    return textwrap.fill(text, width=79, subsequent_indent="  ") if counts else ""


def _confusion(run: Evaluation, labels: Labels, split: Split) -> ConfusionCounts:
    counts = clustering.confusion(run.assignments, getattr(labels, split), len(run.load), len(labels.classes))
    return ConfusionCounts(labels.classes, counts.tolist())
