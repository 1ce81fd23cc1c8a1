"""The catalogue of metrics, and the registration of a new one."""

import numpy as np
import pytest
import torch
from small import config

from moevae.config.registry import METRICS
from moevae.data.datasets import load_images, load_labels
from moevae.evaluation.metrics import Metric
from moevae.evaluation.scores import score
from moevae.models.mixture import Mixture


@pytest.fixture
def largest():
    METRICS.register("largest_share")(
        Metric("largest share", pages=("routing",), scale="0 to 1", compute=lambda run: float(run.load.max()))
    )
    yield "largest_share"
    METRICS.unregister("largest_share")


def _scores():
    run = config()
    images = load_images(run.data)
    model = Mixture(run.model, images.size, [run.seed])
    return score(model, [run], images, load_labels(run.data), "test")[0]


def test_a_registered_metric_is_computed_for_every_run_and_shown_where_declared(largest):
    from moevae.cli import results_table
    from studies.analysis import metrics

    found = _scores()
    assert found.metrics[largest] == max(found.load)
    assert found.to_dict()["metrics"][largest] == max(found.load)
    assert "largest_share" in results_table.table([found], ["one"])
    assert metrics.shown_on("routing")[-1].key == f"test.{largest}"
    assert all(measure.key != f"test.{largest}" for measure in metrics.shown_on("leading", "bounds"))


def test_values_stay_within_the_ends_of_the_catalogue_and_labels_are_named():
    torch.manual_seed(0)
    found = _scores()
    for name, value in found.metrics.items():
        if name in METRICS:
            low, high = METRICS[name].ends
            assert np.isnan(value) or low <= value <= high, name
    run = config()
    images = load_images(run.data)
    unlabeled = score(Mixture(run.model, images.size, [0]), [run], images, None, "test")[0].metrics
    assert found.metrics.keys() - unlabeled.keys() == {
        name for name, metric in METRICS.items() if metric.labels and not name.startswith("all_")
    }
