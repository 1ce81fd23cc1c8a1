"""Many classes: scores stay right in bounded memory, pages show the largest, and ids are refused."""

import io
import json
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from moevae.config.overrides import override
from moevae.config.presets import digits
from moevae.config.schema import DataConfig
from moevae.data.classes import MAX_SHOWN, largest
from moevae.data.datasets import load_labels
from moevae.errors import DataError
from moevae.evaluation import calibration, class_overlap
from moevae.evaluation.clustering import clustering
from moevae.visualization import confusions
from moevae.visualization.samples import tiles
from moevae.visualization.style import labeled
from studies.report.build import write_report
from studies.testing import synthetic


def saved(tmp_path, labels) -> DataConfig:
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros((len(labels), 4, 4), dtype=np.uint8), labels=labels)
    return DataConfig(name=f"npz:{path}", train_size=None, validation_size=10)


@pytest.mark.parametrize("count", [101, 1797, 30_000])
def test_labels_that_are_ids_are_refused_in_one_line(tmp_path, count):
    config = saved(tmp_path, np.random.default_rng(0).permutation(count))
    with pytest.raises(DataError, match=rf"\b{count:,} classes\b") as caught:
        load_labels(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "images"), [(100, 100), (500, 1000), (10, 40)])
def test_classes_of_several_images_are_labels_however_many(tmp_path, count, images):
    labels = load_labels(saved(tmp_path, np.arange(images) % count))
    assert labels is not None
    assert len(labels.classes) == count


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_scores_of_many_classes_are_those_of_few_whatever_way_they_are_counted(monkeypatch, classes):
    draw = np.random.default_rng(classes)
    gate = draw.dirichlet(np.ones(5), size=400).T  # [K, N]
    labels, naming = draw.integers(0, classes, 400), draw.random(400) < 0.5
    numbers, bins = calibration.calibration_metrics(gate, labels, classes, naming)
    monkeypatch.setattr(calibration, "MAX_COUNTED", 1)
    bounded, others = calibration.calibration_metrics(gate, labels, classes, naming)
    assert bounded == pytest.approx(numbers, abs=1e-12)
    np.testing.assert_array_equal(others.images, bins.images)
    np.testing.assert_allclose(others.accuracy, bins.accuracy)


def test_thirty_thousand_classes_take_little_memory():
    draw = np.random.default_rng(1)
    labels, gate = draw.permutation(np.arange(60_000) // 2), draw.dirichlet(np.ones(10), size=60_000).T
    naming = np.arange(60_000) % 2 == 0
    tracemalloc.start()
    calibration.calibration_metrics(gate, labels, 30_000, naming)
    found = clustering(gate.argmax(0), labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28
    assert found["acc"] == pytest.approx(20 / 60_000, abs=1e-4)  # two images an expert, at most


def test_the_largest_classes_are_those_with_the_most_images():
    counts = np.array([[1, 5, 0, 2], [1, 0, 3, 2]])
    assert largest(counts, 2).tolist() == [1, 3]
    assert largest(counts).tolist() == [0, 1, 2, 3]


def test_sentences_about_many_classes_are_few():
    collapsed = np.ones((3, 800), dtype=int) * [[10], [0], [0]]
    (sentence,) = class_overlap.describe_overlap(collapsed, [str(c) for c in range(800)])
    assert sentence.endswith(f"and {800 - MAX_SHOWN} more")
    divided = class_overlap.describe_overlap(np.ones((2, 800), dtype=int), [str(c) for c in range(800)])
    assert len(divided) == MAX_SHOWN + 1


def with_many_classes(config):
    """A record of a run whose ten experts share 800 classes, most of them on one expert."""
    tree, files = synthetic.record(config)
    counts = np.zeros((10, 800), dtype=int)
    counts[config.seed] = np.arange(800) + 1
    tree["confusion"] = {"classes": [f"class {c}" for c in range(800)], "counts": counts.tolist()}
    rows = [" ".join(map(str, row)) for row in counts.tolist()]
    tree["curve"]["confusion"] = [";".join(rows) for _ in tree["curve"]["epoch"]]
    return tree, files


def test_a_page_of_many_classes_shows_the_largest(tmp_path):
    short = override(digits(), {"train.epochs": 3})
    plan = synthetic.plan({"routing.kind": ["soft"]}, seeds=(0, 1), base=short)
    page = write_report(synthetic.write(tmp_path, plan, with_many_classes)).read_text()
    section = page.split("## Merged and split classes")[1].split("\n## ")[0]
    assert f"{MAX_SHOWN} largest of 800 classes" in section
    named = {int(number) for number in re.findall(r"class (\d+)", section)}
    assert named == set(range(800 - MAX_SHOWN, 800))
    for path in (tmp_path / "figures").iterdir():
        assert max(Image.open(io.BytesIO(path.read_bytes())).size) <= 2400


@pytest.mark.parametrize("shape", [(2, 2), (10, 900), (300, 10)])
def test_figures_of_experts_and_classes_are_bounded(shape):
    counts = np.random.default_rng(0).integers(0, 9, shape)
    names = [f"a class of number {c}" for c in range(shape[1])]
    for figure in (
        confusions.confusion(counts, names),
        confusions.confusions({1: counts, 2: counts}, names),
    ):
        assert max(figure.image.size) <= 2400


@pytest.mark.parametrize(("height", "width"), [(784, 1), (1, 784), (28, 28), (100, 30)])
def test_pictures_of_slim_images_are_bounded(height, width):
    drawn = tiles(np.zeros((6, 10, height * width)), height, width)
    figure = labeled(drawn, [str(row) for row in range(6)], [str(k) for k in range(10)], ("epoch", "expert"))
    wide, tall = figure.image.size
    assert max(wide, tall) <= 2400
    assert 1 / 5 < tall / wide < 5, "slim images are stretched until they can be seen"


def test_a_record_keeps_no_table_of_very_many_classes(monkeypatch):
    from moevae.data.datasets import Labels
    from studies.execution import record_fields

    classes = tuple(map(str, range(1200)))
    labels = Labels(*(np.arange(2400) % 1200 for _ in range(3)), classes)
    gate = np.random.default_rng(0).dirichlet(np.ones(4), size=2400).T

    class Found:
        assignments, gate_probs = gate.argmax(0), gate
        posterior_assignments = assignments
        load = importance = np.full(4, 0.25)
        elbo_terms, metrics = {}, {}

    fields = record_fields.result_fields({"test": [Found()]}, 0, labels, 4, DataConfig(name="digits"))
    assert fields["confusion"] is None
    assert set(fields["metrics"]["test"]) >= {"acc", "nmi", "ari", "ece", "brier"}
    json.dumps(fields["metrics"])
