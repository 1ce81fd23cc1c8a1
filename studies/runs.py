"""From configurations to outcomes: train a population, measure it, and put down what each run left."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from moevae import devices, figures, metrics
from moevae import train as training
from moevae.config import DataConfig, RunConfig, fingerprint, to_dict
from moevae.data import Images, Labels, load_images, load_labels
from moevae.evaluation import Evaluation, Split, evaluate
from moevae.pixels import evaluated
from studies import provenance
from studies.records import (
    Confusion,
    Data,
    Epoch,
    Failure,
    Hardware,
    Outcome,
    Picture,
    Record,
    Seconds,
    Throughput,
)

PICTURE_ROWS = 6
"""Epochs at which the experts are drawn, spread evenly on a log scale."""
RECONSTRUCTED = 12
"""Test images shown beside their reconstructions."""


@dataclass(frozen=True)
class Site:
    """Where runs take place; it decides no number but the speed."""

    device: str = "auto"
    data_root: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class EpochReport:
    """What a population tells while it trains."""

    epoch: int
    """Counts from 1."""
    epochs: int
    losses: list[float]
    """Mean objective, one a run, nats per image."""
    metrics: dict[str, float]
    """On the validation split, the mean over runs that have not failed."""


def run_population(
    configs: Sequence[RunConfig],
    site: Site | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> list[Outcome]:
    """Train runs of one shape together and return one outcome each, in order.

    A run whose loss stops being a number comes back as failed; the others go on.

    Raises:
        MoevaeError: bad data, a device that is not there, configurations of different shapes.
    """
    site = site or Site()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    devices.prepare(site.threads)
    images, labels = _load(configs[0].data, site.data_root)
    diary = _Diary(configs, images, labels, on_epoch)
    fit = training.fit(configs, images, device=site.device, on_epoch=diary.note)

    begin = time.perf_counter()
    by_split = {split: evaluate(fit.model, configs, images, split) for split in _splits(images)}
    seconds = time.perf_counter() - begin
    seen = sum(len(getattr(images, split)) for split in by_split) * len(configs)
    commit, dirty = provenance.commit()
    shared = {
        "throughput": Throughput(
            train_images_per_second=fit.images_per_second,
            evaluation_images_per_second=seen / seconds,
            population=len(configs),
        ),
        "seconds": Seconds(train=fit.seconds, evaluation=seconds),
        "hardware": Hardware.model_validate(devices.describe(fit.model.device)),
        "versions": provenance.versions(),
        "commit": commit,
        "dirty": dirty,
        "data": _data(images),
        "started": started,
    }
    outcomes = []
    for run, config in enumerate(configs):
        name = fingerprint(config)
        failure = _failure(fit.failures[run], by_split, run)
        measured = {} if failure else _measured(by_split, run, labels, config.model.num_experts)
        files = {} if failure else diary.pictures(fit.model, run)
        record = Record.model_validate(
            {
                "fingerprint": name,
                "config": to_dict(config),
                "status": "failed" if failure else "complete",
                "failure": failure,
                "curve": diary.curves[run],
                "pictures": {kind: _picture(name, kind, *drawn, images) for kind, drawn in files.items()},
                **measured,
                **shared,
            }
        )
        outcomes.append(
            Outcome(
                record=record, files={_file(name, kind): content for kind, (content, *_) in files.items()}
            )
        )
    return outcomes


class _Diary:
    """What happens to each run while the population trains."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        images: Images,
        labels: Labels | None,
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> None:
        self.configs, self.images, self.labels, self.on_epoch = configs, images, labels, on_epoch
        self.curves: list[list[Epoch]] = [[] for _ in configs]
        self.drawn_at = _spread(configs[0].train.epochs, PICTURE_ROWS)
        self.drawings: dict[int, torch.Tensor] = {}

    def note(self, progress: training.Progress) -> None:
        validation = self._validation(progress)
        for run, curve in enumerate(self.curves):
            if progress.failures[run] is None:
                curve.append(
                    Epoch(
                        epoch=progress.epoch,
                        loss=progress.losses[run],
                        temperature=progress.temperatures[run],
                        metrics=validation[run],
                    )
                )
        if progress.epoch in self.drawn_at:
            noise = figures.prior_noise(progress.model, 1)
            self.drawings[progress.epoch] = progress.model.draw(noise).squeeze(2).cpu()  # [R, K, D]
        if self.on_epoch:
            alive = [metrics for run, metrics in enumerate(validation) if progress.failures[run] is None]
            names = alive[0] if alive else {}
            means = {name: float(np.mean([metrics[name] for metrics in alive])) for name in names}
            self.on_epoch(EpochReport(progress.epoch, progress.epochs, progress.losses, means))

    def pictures(self, model: training.Mixture, run: int) -> dict[str, tuple[bytes, list[str], list[str]]]:
        """Return a run's pictures by kind: PNG bytes, names of the rows, names of the columns."""
        height, width = self.images.height, self.images.width
        experts = [str(expert) for expert in range(model.config.num_experts)]
        samples = torch.stack([drawing[run] for drawing in self.drawings.values()])  # [epochs, K, D]
        rows = [str(epoch) for epoch in self.drawings]
        seen = evaluated(self.images.test[:RECONSTRUCTED], self.configs[0].data, "test")  # [B, D]
        pairs = torch.stack([seen, figures.reconstructions(model, seen)[run].cpu()])
        columns = [str(index) for index in range(len(seen))]
        return {
            "samples": (figures.tiles(samples, height, width), rows, experts),
            "reconstructions": (figures.tiles(pairs, height, width), ["image", "reconstruction"], columns),
        }

    def _validation(self, progress: training.Progress) -> list[dict[str, float]]:
        if not len(self.images.validation):
            return [{} for _ in self.configs]
        evaluations = evaluate(progress.model, self.configs, self.images, "validation")
        return [_scores(evaluation, self.labels, "validation") for evaluation in evaluations]


@functools.lru_cache(maxsize=2)
def _load(data: DataConfig, root: str | None) -> tuple[Images, Labels | None]:
    place = Path(root) if root else None
    return load_images(data, place), load_labels(data, place)


def _splits(images: Images) -> list[Split]:
    return ["validation", "test"] if len(images.validation) else ["test"]


def _scores(evaluation: Evaluation, labels: Labels | None, split: Split) -> dict[str, float]:
    """Return the metrics of a split, with the clustering ones where there are labels."""
    if labels is None:
        return evaluation.metrics
    return evaluation.metrics | metrics.clustering(evaluation.assignments, getattr(labels, split))


def _measured(
    by_split: dict[Split, list[Evaluation]], run: int, labels: Labels | None, experts: int
) -> dict[str, object]:
    test = by_split["test"][run]
    confusion = None
    if labels is not None:
        counts = metrics.confusion(test.assignments, labels.test, experts, len(labels.classes))
        confusion = Confusion(classes=list(labels.classes), counts=counts.tolist())
    return {
        "metrics": {split: _scores(found[run], labels, split) for split, found in by_split.items()},
        "load": test.load.tolist(),
        "importance": test.importance.tolist(),
        "confusion": confusion,
    }


def _failure(
    failure: training.Failure | None, by_split: dict[Split, list[Evaluation]], run: int
) -> Failure | None:
    if failure:
        return Failure.model_validate(asdict(failure))
    for split, found in by_split.items():
        for name, value in found[run].metrics.items():
            if not math.isfinite(value):
                return Failure(reason=f"{name} on the {split} split became {value}")
    return None


def _picture(
    name: str, kind: str, content: bytes, rows: list[str], columns: list[str], images: Images
) -> Picture:
    return Picture(
        file=_file(name, kind),
        sha256=hashlib.sha256(content).hexdigest(),
        rows=rows,
        columns=columns,
        tile=(images.height, images.width),
    )


def _file(name: str, kind: str) -> str:
    return f"{name}-{kind}.png"


def _data(images: Images) -> Data:
    sizes = {split: len(getattr(images, split)) for split in ("train", "validation", "test")}
    return Data(name=images.name, sha256=images.sha256, **sizes)


def _spread(epochs: int, count: int) -> set[int]:
    """Return up to `count` epochs from 1 to the last, dense at the beginning."""
    return {round(epoch) for epoch in np.geomspace(1, epochs, count)}
