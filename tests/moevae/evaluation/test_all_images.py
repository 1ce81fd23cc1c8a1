"""Scores of all images: the same assignments as those of each split, put together."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score
from small import ODD, config, images, mixture

from moevae.data.datasets import Labels
from moevae.evaluation.all_images import assign_all_images, score_all_images
from moevae.evaluation.evaluate import evaluate
from moevae.evaluation.memory import image_bytes
from moevae.evaluation.results import SPLITS
from moevae.evaluation.scores import score
from moevae.models.mixture import Mixture

ASKED = {"evaluation.all_images": True}


def untrained(**changes):
    run = config(ODD | ASKED | changes)
    return run, mixture(run).float()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.gate_input": "grayscale"},
        {"data.binarization": "none", "model.gate_network": "posterior", "routing.temperature": 0.5},
    ],
)
def test_assignments_are_those_of_the_evaluation_of_each_split(changes):
    run, model = untrained(**changes)
    data = images(train=300)
    parts = [evaluate(model, [run], data, split, importance=False)[0].assignments for split in SPLITS]
    expected = np.concatenate(parts)
    assert np.unique(expected).size > 1
    assert np.array_equal(assign_all_images(model, run, data), expected)
    least = 128 * image_bytes(run, model.size)
    assert np.array_equal(assign_all_images(model, run, data, memory=least), expected)


def named(data, seed=0):
    source = np.random.default_rng(seed)
    return Labels(*(source.integers(3, size=len(getattr(data, split))) for split in SPLITS), tuple("abc"))


def test_scores_of_all_images_are_of_their_union():
    run, model = untrained()
    data = images()
    labels = named(data)
    (found,) = score_all_images(model, [run], data, labels)
    true = np.concatenate([labels.train, labels.validation, labels.test])
    made = assign_all_images(model, run, data)
    assert found["all_images"] == len(true) == 96 + 50 + 70
    assert found["all_nmi"] == pytest.approx(normalized_mutual_info_score(true, made))
    for split in SPLITS:  # the ACC of a union is at most the mean of the ACC of its parts
        assert found["all_acc"] != score(model, [run], data, labels, split)[0].metrics["acc"]
    parts = [score(model, [run], data, labels, split)[0].metrics["acc"] for split in SPLITS]
    assert found["all_acc"] <= np.average(parts, weights=[96, 50, 70])


def test_a_run_has_the_scores_that_it_has_alone():
    run, _ = untrained()
    runs = [run, config(ODD | ASKED, seed=1, **{"routing.temperature": 3.0})]
    data = images()
    both = Mixture(run.model, (5, 6), (0, 1))
    alone = [score_all_images(both.select_run(at), [runs[at]], data, named(data))[0] for at in range(2)]
    assert score_all_images(both, runs, data, named(data)) == alone
    assert alone[0] != alone[1]


def test_scores_of_all_images_depend_on_the_setting():
    run, model = untrained()
    data, never = images(), config(ODD)
    labels = named(data)

    def names(own, split, known):
        return score(model, [own], data, known, split)[0].metrics.keys()

    more = {"all_acc", "all_nmi", "all_images"}
    assert names(run, "test", labels) - names(never, "test", labels) == more
    assert names(run, "validation", labels) == names(never, "validation", labels)
    assert names(run, "test", None) == names(never, "test", None)
