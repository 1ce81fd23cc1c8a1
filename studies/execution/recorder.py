"""Recording of each run during training: learning curves and samples of the experts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moevae.config.schema import RunConfig
from moevae.config.types import MapMethod
from moevae.data.binarization import target_images, to_float
from moevae.data.classes import MAX_TRACKED
from moevae.data.datasets import Images, Labels
from moevae.evaluation.clustering import confusion
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.label_metrics import run_metrics
from moevae.evaluation.results import Evaluation
from moevae.evaluation.sample_neighbors import SampleNeighbors
from moevae.models.mixture import Mixture
from moevae.training.results import EpochStats
from moevae.visualization import latent, maps
from moevae.visualization import samples as figures
from studies.execution.events import EpochReport, OnEvent
from studies.records.schema import Epoch

PICTURE_ROWS = 6
"""Number of epochs with samples of the experts, evenly spaced on a log scale."""
RECONSTRUCTED = 12
"""Number of test images shown with their reconstructions."""
SAMPLED = 12
"""Number of samples of a run shown with their nearest training images."""
MAPPED = 500
"""Number of test images in the map of latents."""
SHADES = 16
"""Number of gray levels of the stored pictures; 256 levels double the file size."""


@dataclass(frozen=True)
class Drawing:
    """A picture of a run with its description, see `studies.records.schema.Picture`."""

    kind: str
    content: bytes
    """A PNG file."""
    rows: list[str]
    columns: list[str]
    tile: tuple[int, int]
    experts: list[int] | None = None
    method: MapMethod | None = None


class RunRecorder:
    """Records the learning curves and samples of each run of a population."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        images: Images,
        labels: Labels | None,
        on_event: OnEvent | None,
        memory: int | None = None,
        map_method: MapMethod = "pca",
    ) -> None:
        maps.check(map_method)
        self.configs, self.images, self.labels, self.on_event = configs, images, labels, on_event
        self.memory, self.map_method = memory, map_method
        self.curves: list[list[Epoch]] = [[] for _ in configs]
        self.drawn_at = _spread(configs[0].train.epochs, PICTURE_ROWS)
        self.drawings: dict[int, Tensor] = {}
        self._latents: np.ndarray | None = None
        self._first = configs[0].model.num_experts + configs[0].train.extra_experts
        self.origins = torch.arange(configs[0].model.num_experts).repeat(len(configs), 1)  # [R, K]

    def note(self, progress: EpochStats) -> None:
        """Record the curve points and samples of an epoch, and call the listener.

        Args:
            progress: statistics of the epoch.
        """
        evaluations = self._validation(progress)
        validation = [self._scores(each) for each in evaluations] or [{} for _ in self.configs]
        alive = [  # weights may become non-finite in the step after the last finite loss
            failure is None and all(map(math.isfinite, found.values()))
            for failure, found in zip(progress.failures, validation, strict=True)
        ]
        for run, curve in enumerate(self.curves):
            if alive[run]:
                curve.append(
                    Epoch(
                        epoch=progress.epoch,
                        loss=progress.losses[run],
                        temperature=progress.temperatures[run],
                        metrics=validation[run] | self._of_training(progress, run),
                        confusion=self._confusion(evaluations[run]) if evaluations else "",
                    )
                )
        if progress.epoch in self.drawn_at:
            drawn = self._drawn(progress.model).cpu()  # [R, K, D]
            everyone = drawn.new_zeros(len(drawn), self._first, drawn.shape[2])  # including pruned experts
            self.drawings[progress.epoch] = everyone.scatter(
                1, progress.origins[..., None].expand_as(drawn), drawn
            )
        self.origins = progress.origins
        if self.on_event:
            found = list(itertools.compress(validation, alive))
            means = {name: float(np.mean([each[name] for each in found])) for name in (found or [{}])[0]}
            self.on_event(EpochReport(progress.epoch, progress.epochs, progress.losses, means))

    def state(self) -> tuple[dict[str, Tensor], list[list[dict[str, Any]]]]:
        """Return the recorded state: samples by epoch, and curves as plain data."""
        drawings = {str(epoch): drawing for epoch, drawing in self.drawings.items()}
        return drawings, [[point.model_dump() for point in curve] for curve in self.curves]

    def restore(self, drawings: Mapping[str, Tensor], curves: list[list[dict[str, Any]]]) -> None:
        """Continue from a `state` of the same configurations.

        Args:
            drawings: samples of each expert by epoch, [R, K, D] each.
            curves: points of the learning curve of each run.

        Raises:
            ValueError: the state belongs to other configurations; nothing is changed.
        """
        found = {int(epoch): drawings[epoch] for epoch in sorted(drawings, key=int)}
        size = (len(self.configs), self._first, self.images.train.shape[1])
        points = [[Epoch.model_validate(point) for point in curve] for curve in curves]
        reached = max((point.epoch for curve in points for point in curve), default=0)
        due = {epoch for epoch in self.drawn_at if epoch <= reached}
        if len(points) != len(self.configs) or not due <= found.keys() <= self.drawn_at:
            raise ValueError(f"curves of {len(points)} runs, drawings at the epochs {[*found]}")
        if any((tuple(each.shape), each.dtype) != (size, torch.float32) for each in found.values()):
            raise ValueError(f"drawings of another shape than {list(size)}")
        self.drawings, self.curves = found, points

    def pictures(self, model: Mixture, run: int, assignments: np.ndarray) -> list[Drawing]:
        """Return the pictures of a run.

        Args:
            model: the trained population.
            run: index of the run.
            assignments: its expert of each test image, [N].
        """
        count = model.config.num_experts
        experts = [str(expert) for expert in range(count)]
        samples = torch.stack(  # [epochs, K, D]
            [drawing[run][self.origins[run]] for drawing in self.drawings.values()]
        )
        seen = target_images(self.images.test[:RECONSTRUCTED], self.configs[0].data, "test")  # [B, D]
        shades = to_float(self.images.test[:RECONSTRUCTED])
        pairs = torch.stack([seen, figures.reconstructions(model, seen, shades)[run].cpu()])
        means = figures.mean_images(to_float(self.images.test), assignments, count)

        places = [str(place) for place in range(len(seen))]
        drawn = self._grid("reconstructions", pairs, ["image", "reconstruction"], places)
        found = [
            self._grid(self._kind, samples, [str(epoch) for epoch in self.drawings], experts),
            self._grid("means", means[None], ["mean"], experts),
            replace(drawn, experts=assignments[:RECONSTRUCTED].tolist()),
        ]
        return found + self._map(model, run, assignments)

    def neighbors(self, found: SampleNeighbors) -> Drawing:
        """Return the picture of the first samples of a run, their nearest training images and test images.

        Args:
            found: the samples and images.
        """
        rows = {
            "sample": found.samples,
            "nearest training image": found.neighbors,
            "test image": found.test,
        }
        images = torch.stack([each[:SAMPLED] for each in rows.values()])
        drawn = self._grid("neighbors", images, [*rows], [str(place) for place in range(images.shape[1])])
        return replace(drawn, experts=found.experts[:SAMPLED].tolist())

    def _grid(self, kind: str, images: Tensor, rows: list[str], columns: list[str]) -> Drawing:
        """Return a picture of images, [rows, columns, D]."""
        height, width = self.images.height, self.images.width
        content = figures.tiles(images, height, width, shades=SHADES)
        return Drawing(kind, content, rows, columns, (height, width))

    def _map(self, model: Mixture, run: int, assignments: np.ndarray) -> list[Drawing]:
        """Return the map of test images by their latents under all experts, if all latents are finite."""
        if self._latents is None:
            seen = target_images(self.images.test[:MAPPED], self.configs[0].data, "test")
            self._latents = latent.all_latents(model, seen).double().numpy()  # [R, N, K Z]
        points = self._latents[run]
        if not np.isfinite(points).all():
            return []
        groups, rows = [assignments[:MAPPED]], ["x", "y", "expert"]
        if self.labels is not None:
            groups, rows = [*groups, self.labels.test[:MAPPED]], [*rows, "class"]
        places = maps.project(points, self.map_method, self.configs[run].seed)
        table = maps.as_table(places, groups)
        content = figures.tiles(table[:, None] / 255, 1, table.shape[1])
        tile = (1, table.shape[1])
        return [Drawing("map", content, rows, ["images"], tile, method=self.map_method)]

    @property
    def _kind(self) -> str:
        """Kind of the drawings: templates if the experts deform them, samples otherwise."""
        return "templates" if self.configs[0].model.decoder == "deformable" else "samples"

    def _drawn(self, model: Mixture) -> Tensor:
        """Return one drawing of each expert, [R, K, D]."""
        if self._kind == "templates":
            return figures.prior_mean_images(model)
        return model.decode_prior_samples(figures.prior_noise(model, 1)).squeeze(2)

    def _of_training(self, progress: EpochStats, run: int) -> dict[str, float]:
        """Return the loss of the gate if it is separate, and the number of revived experts if any may be."""
        reached = self.configs[run].objective.expert_gradient > 0
        found = {} if reached else {"gate_loss": progress.gate_losses[run]}
        return found | ({"revived_experts": float(progress.revived[run])} if progress.revived else {})

    def _validation(self, progress: EpochStats) -> list[Evaluation]:
        if not len(self.images.validation):
            return []
        return evaluate(
            progress.model, self.configs, self.images, "validation", memory=self.memory, importance=False
        )

    def _scores(self, found: Evaluation) -> dict[str, float]:
        return run_metrics(found, self.labels, "validation", self.configs[0].data)

    def _confusion(self, found: Evaluation) -> str:
        if self.labels is None or len(self.labels.classes) > MAX_TRACKED:
            return ""
        classes = len(self.labels.classes)
        counts = confusion(found.assignments, self.labels.validation, len(found.load), classes)
        return ";".join(" ".join(map(str, row)) for row in counts)


def _spread(epochs: int, count: int) -> set[int]:
    """Return up to `count` epochs from 1 to the last, denser at the beginning."""
    return {round(epoch) for epoch in np.geomspace(1, epochs, count)}
