"""What labels say of an evaluation: they meet what the gate did here, after training, and decide nothing."""

from __future__ import annotations

from moevae.config.schema import DataConfig
from moevae.data.datasets import Labels
from moevae.data.splits import halves
from moevae.evaluation import clustering
from moevae.evaluation.calibration import ReliabilityCurve, calibrated
from moevae.evaluation.evaluate import Evaluation, Split


def agreement(found: Evaluation, labels: Labels, split: Split, data: DataConfig) -> dict[str, float]:
    """Return `acc`, `nmi`, `ari`, and the gate's `ece` and `brier`.

    The matching of experts with classes is part of these metrics: labels serve to score, never to choose.
    For `ece` and `brier`, one half of the split names the experts and the other half scores them; the
    halves are fixed by `data.split_seed`.
    """
    return (
        clustering.clustering(found.assignments, getattr(labels, split))
        | _calibrated(found, labels, split, data)[0]
    )


def reliability(found: Evaluation, labels: Labels, split: Split, data: DataConfig) -> ReliabilityCurve:
    """Return the gate's confidence and accuracy behind `ece`, by bins of confidence."""
    return _calibrated(found, labels, split, data)[1]


def _calibrated(
    found: Evaluation, labels: Labels, split: Split, data: DataConfig
) -> tuple[dict[str, float], ReliabilityCurve]:
    true = getattr(labels, split)
    naming = halves(data, split, len(true))
    return calibrated(found.gate_probs, true, len(labels.classes), naming)
