"""The benchmark of time to quality: its clock, its file, and the methods of ClustPy in it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from moevae.config.presets import preset
from moevae.data.datasets import load_images, load_labels

OURS = "moevae, preset deformable-mnist"


@pytest.fixture
def race(pytestconfig, monkeypatch):
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "bench")
    yield __import__("time_to_quality")
    for name in ("time_to_quality", "contenders", "clock", "quality_page"):
        sys.modules.pop(name, None)


@pytest.fixture
def data():
    digits = preset("digits").data
    images, labels = load_images(digits), load_labels(digits)
    return replace(images, train=images.train[:300]), labels


def test_the_time_of_scoring_is_not_counted(race):
    now = [0.0]

    def assign():
        now[0] += 30
        return np.ones(2)

    clock = race.Clock(2, lambda clusters: {"nmi": float(clusters.sum())}, lambda: now[0])
    now[0] += 1
    clock.epoch(assign)
    clock.epoch(None)
    now[0] += 1.5
    with pytest.raises(race.BudgetSpentError):
        clock.epoch(assign)
    assert clock.curve == [{"seconds": 1.0, "nmi": 2.0}, {"seconds": 2.5, "nmi": 2.0}]


def test_labels_of_training_images_are_not_seen_and_a_run_is_not_repeated(race, data, tmp_path):
    images, labels = data
    shuffled = replace(labels, train=labels.train[::-1].copy())
    found = race.compete(images, labels, [OURS], 1, 60, 1, tmp_path / "a.json")
    other = race.compete(images, shuffled, [OURS], 1, 60, 1, tmp_path / "b.json")
    (run,), (same,) = found["runs"], other["runs"]
    assert [point["nmi"] for point in run["curve"]] == [point["nmi"] for point in same["curve"]]
    assert len(run["curve"]) == preset("deformable-mnist").train.epochs
    assert run["ended"]
    seconds = [point["seconds"] for point in run["curve"]]
    assert seconds == sorted(seconds)
    again = race.compete(images, labels, [OURS], 2, 60, 1, tmp_path / "a.json")
    assert again["runs"][0] == run
    assert [each["seed"] for each in json.loads((tmp_path / "a.json").read_text())["runs"]] == [0, 1]


def test_times_to_a_target_are_medians_in_which_a_failure_is_infinite(race):
    page = __import__("quality_page")
    curve = [{"seconds": 10.0, "nmi": 0.8}, {"seconds": 20.0, "nmi": 0.92}]
    runs = [{"curve": curve}, {"curve": curve[:1]}, {"curve": [{"seconds": 30.0, "nmi": 0.9}]}]
    assert [page.first(run, 0.9) for run in runs] == [20, None, 30]
    assert page._after([20, None, 30]) == "30 s"
    assert page._after([20, None, None]) == page.NOT_REACHED


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [(80.0, "4 times as fast as DEC, 80 s"), (None, "more than 15 times as fast as any other method")],
)
def test_the_answer_compares_with_the_fastest_other_method_or_else_with_the_budget(race, theirs, expected):
    page = __import__("quality_page")
    times = {"moevae, preset a": 20.0, "moevae, preset b": 30.0, "DEC": theirs, "DCN": None}
    runs = [
        {"method": name, "curve": [{"seconds": time or 300.0, "nmi": 0.92 if time else 0.8}]}
        for name, time in times.items()
    ]
    answer = page._answer({"runs": runs, "budget": 300.0}, 0.9)
    assert "moevae, preset a, 20 s" in answer
    assert expected in answer
    reached = "DEC after 80 s" if theirs else "no other method either"
    slow = page._answer(
        {"runs": [run for run in runs if "moevae" not in run["method"]], "budget": 300.0}, 0.9
    )
    assert f"not reached by moevae within 300 s, {reached}" in slow


@pytest.mark.peers
def test_methods_of_clustpy_have_curves_and_end_with_the_budget(race, data, tmp_path):
    pytest.importorskip("clustpy", reason="needs moevae[peers]")
    found = race.compete(*data, [], 1, 4, 2, tmp_path / "peers.json")
    runs = {run["method"]: run for run in found["runs"]}
    assert len(runs) == len(race.METHODS)
    assert not found["left_out"]
    for name, run in runs.items():
        assert run["ended"] == ("ClustPy)" not in name), name
        assert len(run["curve"]) > 1, name
    start = runs["autoencoder, then k-means (ClustPy, scikit-learn)"]["seconds"]
    assert all(runs[name]["curve"][0]["seconds"] >= start for name in ("DEC (ClustPy)", "DCN (ClustPy)"))
