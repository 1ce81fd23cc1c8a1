"""The leaderboard against numbers computed from the records by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from moevae.config import overrides
from moevae.errors import RecordError
from studies.__main__ import main
from studies.records import consensus, race
from studies.records.consensus import ConsensusGroup
from studies.report import leaderboard, leaderboard_entries
from studies.report.index import write_index
from studies.report.leaderboard import ALL, TEST
from studies.report.leaderboard_entries import Baseline, Entries, Entry, RaceEntry
from studies.testing import synthetic

RESULTS = Path(__file__).parents[3] / "results"


def entry(**fields):
    return Entry(**{"study": "s", "method": "ours", "clusters": "given", "labels": "none", **fields})


def listed(entries, **baselines):
    return Entries(entry=entries, baseline=baselines)


def made(config):
    tree, _ = synthetic.record(config, pictures=False)
    tree["metrics"]["test"] |= {"acc": config.seed / 10, "all_acc": 0.5, "all_nmi": 0.25}
    return tree, {}


@pytest.fixture
def results(tmp_path):
    axes = {"data.name": ["mnist", "digits"], "routing.temperature": [1.0, 2.0]}
    synthetic.write(tmp_path / "s", synthetic.plan(axes, seeds=[1, 2, 6]), made)
    return tmp_path


def test_a_row_is_the_mean_and_the_interval_of_the_records(results):
    test, whole = leaderboard.rows(results, listed([entry(cell={"routing.temperature": 2.0})]))
    values = np.array([0.1, 0.2, 0.6])
    low, high = scipy.stats.t.interval(0.95, 2, values.mean(), scipy.stats.sem(values))
    assert (test.data, test.scored, test.n, test.acc_lowest) == ("mnist", TEST, 3, 0.1)
    assert test.acc == pytest.approx(values.mean())
    assert (test.acc_low, test.acc_high) == pytest.approx((max(low, 0), min(high, 1)))
    records = [json.loads(path.read_bytes()) for path in (results / "s" / "records").glob("*.json")]
    own = [
        each
        for each in records
        if each["config"]["data"]["name"] == "mnist" and each["config"]["routing"]["temperature"] == 2
    ]
    assert test.nmi == pytest.approx(np.mean([each["metrics"]["test"]["nmi"] for each in own]))
    minutes = [
        each["data"]["train"]
        * each["config"]["train"]["epochs"]
        / each["throughput"]["train_images_per_second"]
        for each in own
    ]
    assert test.minutes == pytest.approx(np.median(minutes) / 60)
    assert (whole.scored, whole.acc, whole.nmi, whole.acc_low) == (ALL, 0.5, 0.25, None)


def test_an_entry_selects_exactly_one_cell_and_has_no_row_without_its_study(results):
    for cell, count in (({"routing.temperature": 3.0}, 0), ({"model.num_experts": 2}, 2)):
        with pytest.raises(RecordError, match=rf"\b{count} cells\b"):
            leaderboard.rows(results, listed([entry(cell=cell)]))
        assert len(leaderboard.rows(results, listed([entry(cell=cell), entry()]), lenient=True)) == 2
    assert leaderboard.rows(results, listed([entry(study="absent")])) == []


def test_of_equal_methods_the_one_with_more_runs_has_the_row(results):
    synthetic.write(results / "t", synthetic.plan({"data.name": ["mnist"]}, seeds=[1, 2]), made)
    for order in (["s", "t"], ["t", "s"]):
        found = leaderboard.rows(results, listed([entry(study=name) for name in order]))
        assert [row.n for row in found] == [3, 3]
        assert {row.study for row in found} == {"s"}


def test_a_baseline_has_the_range_of_its_clusters_and_what_the_file_notes_of_it(results):
    for seed in (1, 2):
        base = overrides.from_dict(synthetic.plan()["base"])
        config = overrides.override(base, {"data.name": "mnist", "seed": seed})
        tree, files = synthetic.baseline(config, "theirs")
        count = 3 + seed
        tree["load"] = tree["importance"] = [1 / count] * count
        synthetic.put(results / "s", tree | {"confusion": None, "elbo_terms": {}}, files)
    noted = {"theirs": Baseline(clusters="found", labels="training images")}
    own = entry(cell={"routing.temperature": 2.0}, baselines=True)
    found = leaderboard.rows(results, listed([own], **noted))
    assert [(row.clusters, row.labels, row.n) for row in found if row.baseline] == [
        ("4 to 5, found", "training images", 2)
    ]
    found = leaderboard.rows(results, listed([own]))  # not the rows that were noted with the other notes
    assert [(row.clusters, row.labels) for row in found if row.baseline] == [("4 to 5, given", "none")]


def test_a_consensus_has_a_row_with_all_minutes_of_its_runs(results):
    folder = results / "s"
    records = [json.loads(path.read_bytes()) for path in (folder / "records").glob("*.json")]
    cell = {"data.name": "mnist", "routing.temperature": 2.0}
    own = [
        each
        for each in records
        if each["config"]["data"]["name"] == "mnist" and each["config"]["routing"]["temperature"] == 2
    ]
    members = [each["fingerprint"] for each in own]
    group = ConsensusGroup(
        cell=cell,
        members=members,
        reference=members[0],
        images=10,
        assignments_sha256="0" * 64,
        metrics={"acc": 0.9, "nmi": 0.8, "ari": 0.7},
        minutes=31.0,
    )
    consensus.write(folder, consensus.Consensus(groups=[group]))
    found = leaderboard.rows(results, listed([entry(cell={"routing.temperature": 2.0})]))
    (row,) = [each for each in found if each.minutes == 31]
    assert (row.n, row.acc, row.nmi, row.scored, row.acc_low) == (1, 0.9, 0.8, TEST, None)
    assert not [
        each
        for each in leaderboard.rows(results, listed([entry(cell={"routing.temperature": 1.0})]))
        if each.minutes == 31
    ]


def test_a_race_has_a_row_of_each_method_of_other_packages_with_the_scores_at_its_end(results):
    origin = race.RaceOrigin(
        commit="abc",
        dirty=False,
        hardware={
            "device": "cpu",
            "device_name": "",
            "precision": "float32",
            "threads": 2,
            "cores": 2,
            "memory_gib": 1,
        },
        versions={},
    )
    made = race.Race(
        data={"name": "mnist", "sha256": "", "train": 50, "validation": 0, "test": 10},
        budget=90,
        pretraining=6,
        targets=(0.9,),
    )
    for seed, acc in enumerate((0.2, 0.5, 0.8)):
        for method in ("DEC", "moevae, preset a"):
            curve = [{"seconds": 1, "nmi": 1, "acc": 1}, {"seconds": 60 * seed, "nmi": acc / 2, "acc": acc}]
            run = race.RaceRun(method=method, seed=seed, ended=True, seconds=60 * seed, curve=curve, origin=0)
            made = made.with_run(run, origin)
    race.write(results / "race.json", made)
    named = RaceEntry(file="race.json", page="throughput.md", number=10, clusters="given", labels="not known")
    chosen = Entries(entry=(), race=(named, named.model_copy(update={"file": "absent.json"})))
    (row,) = leaderboard.rows(results, chosen)
    low, high = scipy.stats.t.interval(0.95, 2, 0.5, scipy.stats.sem([0.2, 0.5, 0.8]))
    assert (row.method, row.n, row.trained, row.minutes, row.baseline) == ("DEC", 3, 50, 2, True)
    assert (row.acc, row.acc_lowest, row.nmi, row.nmi_lowest) == pytest.approx((0.5, 0.2, 0.25, 0.1))
    assert (row.acc_low, row.acc_high) == pytest.approx((max(low, 0), min(high, 1)))
    assert (row.labels, row.clusters) == ("not known", "10, given")
    assert "6 epochs" in row.protocol
    assert "budget of 1.5 minutes" in row.protocol
    (results / "race.json").write_text("{}")
    with pytest.raises(RecordError, match=r"race\.json"):
        leaderboard.rows(results, chosen)
    assert leaderboard.rows(results, chosen, lenient=True) == []


def test_literature_is_separate_from_what_is_measured(results, monkeypatch):
    monkeypatch.setattr(leaderboard_entries, "entries", lambda: listed([entry()]))
    text = write_index(results, asked=True).read_text()
    measured, published = text.split("not reproduced")
    assert "ours" in measured
    assert "ours" not in published.split("## Studies")[0]
    assert "VaDE" not in measured
    assert "VaDE" in published


def test_the_committed_entries_have_their_cells(capsys):
    assert main(["leaderboard", "--results", str(RESULTS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ours = {row["study"] for row in found["measured"] if not row["baseline"]}
    assert ours == {
        each.study for each in leaderboard_entries.entries().entry if (RESULTS / each.study).is_dir()
    }
    chosen = {row["method"]: row["labels"] for row in found["measured"] if row["baseline"]}
    known = leaderboard_entries.entries()
    noted = {name: each.labels for name, each in known.baseline.items()}
    for each in known.race:
        if (path := RESULTS / each.file).is_file():
            noted |= dict.fromkeys(race.read(path).by_method(), each.labels)
    assert chosen == {name: noted.get(name, "none") for name in chosen}


def test_no_study_of_the_leaderboard_is_one_line(tmp_path, capsys):
    assert main(["leaderboard", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
