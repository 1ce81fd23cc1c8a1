"""The consensus of a small study: from kept weights, written once, shown by the report, checked by verify."""

import json
import re
import shutil

import pytest

from moevae.data.datasets import load_images, load_labels
from moevae.evaluation.clustering import clustering
from moevae.evaluation.consensus import consensus as soft_vote
from moevae.evaluation.evaluate import evaluate
from moevae.training import checkpoint
from studies import __main__ as cli
from studies.records import consensus, store, weights
from studies.verify import check

PROFILE = """
title = "Digits"
preset = "digits"
seeds = 5
[set]
train.epochs = 2
data.train_size = 300
[axes]
routing.temperature = [1]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("consensus")
    (root / "small.toml").write_text(PROFILE)
    command = [
        "ablate",
        "--profile",
        str(root / "small.toml"),
        "--results",
        str(root),
        "--keep-weights",
        "all",
    ]
    assert cli.main(command) == 0
    return root / "small"


@pytest.fixture
def study(made, tmp_path):
    return shutil.copytree(made, tmp_path / "small")


def test_groups_of_consecutive_seeds_and_their_scores(undrawn, study, capsys):
    assert cli.main(["consensus", str(study), "--runs", "2"]) == 0
    assert "2" in capsys.readouterr().out
    records = {each.config["seed"]: each for each in store.read_all(study)[0]}
    found = consensus.read(study)
    names = [[records[seed].fingerprint for seed in pair] for pair in ((0, 1), (2, 3))]
    assert [group.members for group in found.groups] == names
    for group, pair in zip(found.groups, ((0, 1), (2, 3)), strict=True):
        losses = {seed: records[seed].curve.loss[-1] for seed in pair}
        assert group.reference == records[min(pair, key=losses.get)].fingerprint
        assert group.cell == {"routing.temperature": 1.0}
        assert group.images == 359
        times = [records[seed].seconds.train + records[seed].seconds.evaluation for seed in pair]
        assert group.minutes == pytest.approx(sum(times) / 5 / 60)  # five runs trained together


def test_the_score_is_that_of_the_mean_of_aligned_gates(study):
    assert cli.main(["consensus", str(study), "--runs", "3", "--json"]) == 0
    (group,) = consensus.read(study).groups
    probs = []
    for name in group.members:
        run = checkpoint.load(weights.path_of(study, name))
        images = load_images(run.config.data)
        probs.append(evaluate(run.model, [run.config], images, importance=False)[0].gate_probs)
    together = soft_vote(probs, group.members.index(group.reference)).argmax(0)
    assert group.metrics == clustering(together, load_labels(run.config.data).test)
    assert set(group.metrics) == {"acc", "nmi", "ari"}


def test_the_same_runs_give_the_same_bytes(study):
    contents = []
    for _ in range(2):
        assert cli.main(["consensus", str(study), "--runs", "5"]) == 0
        contents.append((study / consensus.NAME).read_bytes())
    assert contents[0] == contents[1]


def test_the_report_shows_it_and_verify_compares_it_with_the_records(study, capsys):
    before = check.verify(study)
    assert cli.main(["consensus", str(study), "--runs", "2"]) == 0
    assert cli.main(["report", "small", "--results", str(study.parent)]) == 0
    page = (study / "report.md").read_text()
    section = page.split("## Consensus of runs")[1].split("\n## ")[0]
    (group, _) = consensus.read(study).groups
    assert "consensus of 2 runs" in section
    assert "its runs" in section
    report = check.verify(study)
    assert report.problems == before.problems == ()
    assert report.notes == ("consensus.json: 2 groups agree with the records",)
    capsys.readouterr()
    tree = json.loads((study / consensus.NAME).read_text())
    for change in (
        {"minutes": group.minutes + 1},
        {"members": [group.members[0], "0" * 16]},
        {"members": [group.members[0]] * 2},
        {"images": 7},
        {"reference": "0" * 16},
        {"metrics": {"acc": None}},
    ):
        changed = {**tree, "groups": [{**tree["groups"][0], **change}, tree["groups"][1]]}
        (study / consensus.NAME).write_text(json.dumps(changed))
        problems = check.verify(study).problems
        assert any(consensus.NAME in problem for problem in problems), change
        assert cli.main(["verify", str(study)]) == 1


def test_a_packed_study_without_a_storage_is_verified_with_its_consensus(study, capsys):
    assert cli.main(["consensus", str(study), "--runs", "5"]) == 0
    assert cli.main(["pack", str(study)]) == 0
    for left in study.glob("study.db*"):
        left.unlink()
    assert not check.verify(study).problems


@pytest.mark.parametrize(("runs", "message"), [("6", r"\b6\b.*\b5\b"), ("1", r"--runs 1: .*\b2\b")])
def test_too_few_runs_are_an_error_and_nothing_is_written(study, capsys, runs, message):
    assert cli.main(["consensus", str(study), "--runs", runs]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (study / consensus.NAME).exists()


def test_weights_of_another_run_are_refused(study, capsys):
    first, second = (each.fingerprint for each in store.read_all(study)[0][:2])
    shutil.copy(weights.path_of(study, first), weights.path_of(study, second))
    assert cli.main(["consensus", str(study), "--runs", "5"]) == 2
    assert first in capsys.readouterr().err
