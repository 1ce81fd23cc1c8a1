"""Repeated runs are bitwise equal to their records, and the differences of others are listed."""

import json

import pytest

from moevae.config.overrides import override
from moevae.config.presets import digits
from studies.__main__ import main
from studies.cli.verify import _in_words
from studies.execution.config import ExecutionConfig
from studies.execution.tasks import train
from studies.records import store
from studies.records.schema import Record
from studies.testing.toys import TINY_PROFILE
from studies.verify import rerun

HERE = ExecutionConfig(device="cpu")
SMALL = override(digits(), {"train.epochs": 2, "data.train_size": 128, "train.batch_size": 64})


@pytest.fixture(scope="module")
def record() -> Record:
    """Of a run that was trained together with another."""
    configs = [override(SMALL, {"seed": seed}) for seed in (0, 1)]
    return train(configs, on_event=None, execution=ExecutionConfig(device="cpu", threads=1))[1].record


def test_a_record_is_repeated_bit_for_bit_alone_and_in_a_population(record, one_thread_again):
    found = rerun.repeat(record, HERE)
    assert found == rerun.RerunResult(record.fingerprint, record.commit, ())
    assert not found.wrong


def elsewhere(record: Record, nmi: float, seed: int | None = None) -> Record:
    """The record as another machine would have made it, or another seed of it."""
    tree = json.loads(record.model_dump_json())
    tree["hardware"]["device_name"] = "an abacus"
    tree["metrics"]["test"]["nmi"] = nmi
    if seed is not None:
        tree["config"]["seed"] = seed
    return Record.model_validate(tree)


@pytest.mark.parametrize(("moved", "far"), [(0.001, False), (0.05, False), (0.3, True), (-0.3, True)])
def test_on_another_machine_a_run_lies_where_one_more_seed_would(record, one_thread_again, moved, far):
    nmi = record.metrics["test"]["nmi"]
    then = elsewhere(record, nmi + moved)
    others = [then, *(elsewhere(record, nmi + moved + step, seed) for seed, step in ((7, 0.02), (8, -0.02)))]
    found = rerun.repeat(then, HERE, others)
    assert found.elsewhere.startswith("an abacus recorded, ")
    assert found.differ == ("metrics.test.nmi",)
    (shift,) = [each for each in found.moved if each.name == "nmi"]
    assert (shift.then, shift.now, shift.n) == (nmi + moved, nmi, 3)
    assert shift.spread == pytest.approx(0.02)
    assert found.wrong is shift.far is far
    assert not any(each.far for each in found.moved if each is not shift)
    alone = rerun.repeat(then, HERE, [then])
    assert not alone.wrong
    assert not alone.judged


@pytest.mark.parametrize(
    ("precision", "population", "apart"),
    [("float32", 2, False), ("bfloat16", 2, True), ("bfloat16", 1, False)],
)
def test_rounding_in_a_population_is_not_that_of_a_run_alone_in_bfloat16(
    record, precision, population, apart
):
    tree = json.loads(record.model_dump_json())
    tree["config"]["train"]["precision"] = precision
    tree["throughput"]["population"] = population
    then = Record.model_validate(tree)
    found = rerun.compare(then, then.model_copy(update={"metrics": {}}), [then])
    assert bool(found.elsewhere) == apart


def judged(values: list[float], now: float, name: str = "mixture_elbo") -> rerun.MetricShift:
    """The first of a cell's values, and what it is on this machine."""
    moved = rerun.MetricShift(name, values[0], now, None, len(values))
    return rerun._with_spread(moved, values, rerun.COMPARED[name])


def test_one_diverged_seed_does_not_hide_a_wrong_run():
    cell = [-250.0, -250.4, -249.8, -250.1, -3.8e10]
    assert not judged(cell, -250.3).far
    found = judged(cell, -260.0)
    assert found.far
    assert found.n == 4
    assert found.spread == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("name", "cell", "now"),
    [
        ("mixture_elbo", [-250.0, -3.8e10, -9.1e8, -251.0, -4.4e9], -9e9),  # no seed is far from the others
        ("mixture_elbo", [-3.8e10, -250.4, -249.8, -250.1, -250.0], -250.0),  # the record itself is
        ("nmi", [0.1, 0.6], 0.9),
        ("nmi", [0.0, 0.0, 0.0], 0.1),
    ],
)
def test_a_comparison_that_cannot_fail_is_not_counted(name, cell, now):
    found = judged(cell, now, name)
    assert found.vacuous
    assert not found.far
    repeat = rerun.RerunResult("0" * 16, None, ("metrics.test",), "an abacus recorded", (found,))
    assert not repeat.judged
    assert not repeat.wrong
    assert found.vacuous in _in_words(repeat)


def test_a_number_that_differs_is_named(record, one_thread_again):
    tree = json.loads(record.model_dump_json())
    tree["metrics"]["test"]["nmi"] += 1e-9
    tree["curve"]["loss"][1] -= 1e-9
    tree["pictures"]["samples"]["sha256"] = "0" * 64
    found = rerun.repeat(Record.model_validate(tree), HERE).differ
    assert set(found) == {"metrics.test.nmi", "curve.loss.1", "pictures.samples.sha256"}


def test_a_migrated_record_is_repeated(record, one_thread_again):
    migrated = record.model_copy(update={"migrated_from": "0" * 16})
    assert not rerun.repeat(migrated, HERE).differ


def test_fields_that_an_older_record_lacks_are_not_compared(record, one_thread_again):
    tree = json.loads(record.model_dump_json())
    del tree["reliability"], tree["metrics"]["test"]["gate_gap"]
    assert not rerun.repeat(Record.model_validate(tree), HERE).differ


def test_bounds_that_are_no_longer_written_are_not_missed(record, one_thread_again):
    tree = json.loads(record.model_dump_json())
    retired = {"tight_elbo": -20.0, "amortization_gap": 0.5}
    for metrics in tree["metrics"].values():
        metrics |= retired
    for name, value in retired.items():
        tree["curve"]["metrics"][name] = [value for _ in tree["curve"]["epoch"]]
    assert not rerun.repeat(Record.model_validate(tree), HERE).differ


def test_differences_are_reported_by_their_paths():
    kept = {"a": [1, {"b": 2.0}], "c": None, "d": [1, 2]}
    assert not list(rerun.differences(kept, kept | {"later": 5}))
    found = {"a": [1, {"b": 2.5}], "d": [1]}
    assert list(rerun.differences(kept, found)) == ["a.1.b", "d"]


def test_the_command_trains_runs_again_and_reports_the_result(tmp_path, capsys, undrawn, one_thread_again):
    (tmp_path / "tiny.toml").write_text(TINY_PROFILE)
    place = ["--results", str(tmp_path)]
    baselines = ["--baselines", "kmeans"]
    assert (
        main(["ablate", "--profile", str(tmp_path / "tiny.toml"), "--device", "cpu", *baselines, *place]) == 0
    )
    capsys.readouterr()
    command = ["verify", "tiny", "--rerun", "9", "--device", "cpu", *place]
    assert main(command) == 0
    assert capsys.readouterr().out.count("repeated: bitwise equal\n") == 6
    records, _ = store.read_all(tmp_path / "tiny")
    good = [record for record in records if record.method is None and record.metrics["test"]["nmi"] > 0]
    tree = good[0].model_dump(mode="json")
    tree["metrics"]["test"]["nmi"] += 1e-9
    store.path_of(tmp_path / "tiny", good[0].fingerprint).write_bytes(store.with_digest(tree))
    assert main([*command, "--json"]) == 1
    output = json.loads(capsys.readouterr().out)
    assert [each["fingerprint"] for each in output["rerun"] if each["differ"]] == [good[0].fingerprint]
    tree["hardware"]["device_name"] = "an abacus"
    store.path_of(tmp_path / "tiny", good[0].fingerprint).write_bytes(store.with_digest(tree))
    assert main(["rebuild-storage", "tiny", *place]) == 0
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "repeated: rounding differs (an abacus recorded, " in out
    assert out.endswith("; rounding differs, 1 of 6 repeated runs are within the spread over seeds\n")
    assert main(["verify", "tiny", "--rerun", "-1", *place]) == 2
    assert "--rerun -1" in capsys.readouterr().err
