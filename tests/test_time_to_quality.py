"""The benchmark of time to quality: its clock, its file, and the methods of ClustPy in it."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from moevae.config.presets import preset
from moevae.data.datasets import load_images, load_labels
from moevae.errors import RecordError
from moevae.spectral.graph import neighbor_graph
from studies.execution.record_fields import data_of
from studies.records import race as races
from studies.records.race import Race, RaceOrigin, RaceRun
from studies.records.schema import Data, Hardware

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
    return replace(images, name="mnist", train=images.train[:300]), labels


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


def asked(images, labels, budget, pretraining):
    data = data_of(images, labels)
    return Race(data=data, budget=budget, pretraining=pretraining, targets=(0.5,))


def test_labels_of_training_images_are_not_seen_and_a_run_is_not_repeated(race, data, tmp_path):
    images, labels = data
    shuffled = replace(labels, train=labels.train[::-1].copy())
    new, path = asked(images, labels, 60, 1), tmp_path / "a.json"
    (run,) = race.compete(new, images, labels, [OURS], 1, path).runs
    (same,) = race.compete(new, images, shuffled, [OURS], 1, tmp_path / "b.json").runs
    assert [point.nmi for point in run.curve] == [point.nmi for point in same.curve]
    assert len(run.curve) == preset("deformable-mnist").train.epochs
    assert run.ended
    seconds = [point.seconds for point in run.curve]
    assert seconds == sorted(seconds)
    race.compete(race.begun(path, new), images, labels, [OURS], 2, path)
    written = races.read(path)
    assert written.runs[0] == run
    assert [each.seed for each in written.runs] == [0, 1]
    assert len(written.origins) == 1
    with pytest.raises(RecordError, match=r"budget is 60.*61"):
        race.begun(path, asked(images, labels, 61, 1))


def test_a_method_without_clusters_within_its_budget_has_no_run(race, data, monkeypatch, tmp_path):
    def spends(task):
        task.clock.restart(1.0)
        task.clock.epoch(None)

    monkeypatch.setitem(race.METHODS, "slow", race.METHODS[OURS].__class__(spends))
    found = race.compete(asked(*data, 0.01, 1), *data, ["slow"], 1, tmp_path / "a.json")
    assert found.runs == []


def made(**curves):
    """A race whose methods have these curves, one list of (seconds, NMI) a seed."""
    data = Data(name="mnist", sha256="", train=60_000, validation=0, test=10_000)
    hardware = Hardware(device="cpu", device_name="", precision="float32", threads=1, cores=1, memory_gib=1)
    found = Race(data=data, budget=300, pretraining=6, targets=(0.9,))
    for name, seeds in curves.items():
        for seed, curve in enumerate(seeds):
            points = [{"seconds": seconds, "nmi": nmi, "acc": nmi} for seconds, nmi in curve]
            run = RaceRun(method=name, seed=seed, ended=True, seconds=curve[-1][0], curve=points, origin=0)
            origin = RaceOrigin(commit=None, dirty=None, hardware=hardware, versions={})
            found = found.with_run(run, origin)
    return found


def test_runs_of_one_place_share_their_origin_and_others_keep_theirs(tmp_path):
    found = made(DEC=[[(1, 0.5)], [(2, 0.6)]])
    other = found.origins[0].model_copy(update={"commit": "abc"})
    found = found.with_run(found.runs[0].model_copy(update={"seed": 2}), other)
    races.write(tmp_path / "race.json", found)
    assert races.read(tmp_path / "race.json") == found
    assert [found.origins[run.origin].commit for run in found.runs] == [None, None, "abc"]
    with pytest.raises(ValueError, match="two runs"):
        Race.model_validate({**found.model_dump(), "runs": [found.runs[0]] * 2})
    with pytest.raises(ValueError, match="origin"):
        Race.model_validate({**found.model_dump(), "origins": []})


def test_times_to_a_target_are_medians_in_which_a_failure_is_infinite(race):
    page = __import__("quality_page")
    runs = made(DEC=[[(10, 0.8), (20, 0.92)], [(10, 0.8)], [(30, 0.9)]]).runs
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
    curves = {name: [[(time or 300.0, 0.92 if time else 0.8)]] for name, time in times.items()}
    answer = page._answer(made(**curves), 0.9)
    assert "moevae, preset a, 20 s" in answer
    assert expected in answer
    reached = "DEC after 80 s" if theirs else "no other method either"
    slow = made(**curves | {name: [[(300.0, 0.8)]] for name in curves if "moevae" in name})
    assert f"not reached by moevae within 300 s, {reached}" in page._answer(slow, 0.9)
    absent = made(**{name: curve for name, curve in curves.items() if "moevae" not in name})
    assert "moevae" not in page._answer(absent, 0.9)


def test_a_shared_autoencoder_counts_for_a_method_but_leaves_no_scores_in_its_curve(race, data, monkeypatch):
    contenders = __import__("contenders")

    def autoencoder(task):
        task.clock.epoch(lambda: np.zeros(1, int))
        task.kept["autoencoder"] = "network", 12.5

    monkeypatch.setattr(contenders, "autoencoder", autoencoder)
    clock = race.Clock(60, lambda clusters: {"nmi": 0.5})
    task = race.Task(data[0], 10, 0, clock, 1, {})
    assert contenders._started(task) == "network"
    assert (clock.curve, clock.spent) == ([], 12.5)


def test_each_seed_of_a_preset_pays_for_its_graph_of_neighbors(race, data, monkeypatch):
    def fit(configs, images, on_epoch):
        neighbor_graph(images.train, images.size)

    monkeypatch.setattr("contenders.fit", fit)
    before = neighbor_graph.cache_info().misses
    for seed in range(2):
        task = race.Task(data[0], 10, seed, race.Clock(60, len), 1, {})
        race.METHODS["moevae, preset iic-mnist"].train(task)
    assert neighbor_graph.cache_info().misses == before + 2


@pytest.mark.peers
def test_methods_of_other_packages_have_curves_and_end_with_the_budget(race, data, tmp_path):
    pytest.importorskip("clustpy", reason="needs moevae[peers]")
    names = [name for name, of in race.METHODS.items() if of.packages and of.available()]
    found = race.compete(asked(*data, 4, 2), *data, names, 1, tmp_path / "peers.json").by_method()
    assert list(found) == names
    for name, (run,) in found.items():
        assert run.ended == ("(ClustPy)" not in name), name
        assert len(run.curve) > 1 or name.startswith("N2D"), name
    start = found["autoencoder, then k-means (ClustPy, scikit-learn)"][0].seconds
    assert all(found[name][0].curve[0].seconds >= start for name in ("DEC (ClustPy)", "DCN (ClustPy)"))
