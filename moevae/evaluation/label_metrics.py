"""The metrics of a run, with those of labels. Labels are used after training, for scoring only."""

from __future__ import annotations

from moevae.config.registry import METRICS
from moevae.config.schema import DataConfig
from moevae.data.datasets import Labels
from moevae.data.splits import halves
from moevae.evaluation import clustering
from moevae.evaluation.calibration import ReliabilityCurve, calibration_metrics
from moevae.evaluation.results import Evaluation, Split


def run_metrics(found: Evaluation, labels: Labels | None, split: Split, data: DataConfig) -> dict[str, float]:
    """Return all metrics of one run on a split, with those of labels if there are any.

    Args:
        found: the evaluation of the run.
        labels: the labels of the data set, or None.
        split: the split that was evaluated.
        data: the data configuration.
    """
    own = {name: metric.compute(found) for name, metric in METRICS.items() if metric.compute}
    agreed = {} if labels is None else agreement(found, labels, split, data)
    return found.metrics | agreed | own


def agreement(found: Evaluation, labels: Labels, split: Split, data: DataConfig) -> dict[str, float]:
    """Return `acc`, `nmi`, `ari`, `ece` and `brier` of one run, and `posterior_acc` and `posterior_nmi`.

    The last two score the experts' posterior r in place of the gate; methods without experts have none.
    The metrics include the matching of experts with classes. For `ece` and `brier`, one half of the split
    determines the classes of the experts and the other half is scored; `data.split_seed` fixes the halves.

    Args:
        found: the evaluation of the run.
        labels: the labels of the data set.
        split: the split that was evaluated.
        data: the data configuration.
    """
    true = getattr(labels, split)
    scores = clustering.clustering(found.assignments, true) | _calibrated(found, labels, split, data)[0]
    if found.posterior_assignments is found.assignments:
        return scores
    posterior = clustering.clustering(found.posterior_assignments, true)
    return scores | {"posterior_acc": posterior["acc"], "posterior_nmi": posterior["nmi"]}


def reliability(found: Evaluation, labels: Labels, split: Split, data: DataConfig) -> ReliabilityCurve:
    """Return the reliability curve that defines `ece`.

    Args:
        found: the evaluation of the run.
        labels: the labels of the data set.
        split: the split that was evaluated.
        data: the data configuration.
    """
    return _calibrated(found, labels, split, data)[1]


def _calibrated(
    found: Evaluation, labels: Labels, split: Split, data: DataConfig
) -> tuple[dict[str, float], ReliabilityCurve]:
    true = getattr(labels, split)
    naming = halves(data, split, len(true))
    return calibration_metrics(found.gate_probs, true, len(labels.classes), naming)
