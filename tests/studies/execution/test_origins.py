"""A study has one data set and one version of the code; others are refused."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from moevae.config import schema as configs
from moevae.errors import IdentityError
from moevae.utils import identity
from moevae.utils.identity import CodeIdentity, DataIdentity
from studies import __main__ as cli
from studies.analysis import load
from studies.cli import options, report
from studies.design import design
from studies.execution import data as execution_data
from studies.execution import run as runs
from studies.execution import tasks
from studies.execution.ablation import run_study
from studies.execution.config import ExecutionConfig
from studies.execution.executors.base import in_process
from studies.execution.executors.factory import environments
from studies.execution.executors.processes import local
from studies.execution.tasks import train
from studies.records import origins, store
from studies.records.origins import Origins
from studies.records.schema import Record
from studies.testing import synthetic
from studies.testing.toys import Listener, Toy, outcome

PROFILE = """
title = "Own images"
preset = "digits"
seeds = 1
[set]
data.name = "npz:own.npz"
train.epochs = 1
train.batch_size = 16
model.num_experts = 2
model.expert_hidden = [4]
model.gate_hidden = [4]
[axes]
routing.kind = ["soft"]
"""
ABLATE = ["ablate", "--profile", "./own.toml", "--device", "cpu"]


def own(seed: int = 0, labels: int = 4, shape: tuple[int, int] = (4, 4)) -> None:
    """Write own.npz into the current folder."""
    images = np.random.default_rng(seed).random((60, *shape))
    np.savez("own.npz", images=images, **({"labels": np.arange(60) % labels} if labels else {}))


@pytest.fixture
def study(here, monkeypatch, one_thread_again):
    """A profile on images of one's own, and their file; reports are not made."""
    monkeypatch.setattr(report, "write_page", lambda folder: folder / "report.md")
    Path("own.toml").write_text(PROFILE)
    own()
    execution_data.load_data.cache_clear()
    yield Path("results/own")
    execution_data.load_data.cache_clear()


def changed(**changes) -> None:
    own(**changes)
    execution_data.load_data.cache_clear()  # as in another process


def digests(folder: Path) -> list[tuple[str, str | None]]:
    good, bad = store.read_all(folder)
    assert not bad
    return [(record.data.sha256, record.data.labels_sha256) for record in good]


def refused(command, capsys) -> str:
    capsys.readouterr()
    assert cli.main(command) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


CHANGES = {
    "images": {"seed": 1},
    "shape": {"shape": (2, 8)},
    "labels": {"labels": 3},
    "no labels": {"labels": 0},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_study_whose_file_changed_is_refused(study, capsys, change):
    assert cli.main(ABLATE) == 0
    before = digests(study)
    changed(**change)
    for more in ([], ["--seeds", "2"], ["--seeds", "2", "--dry-run"]):
        line = refused([*ABLATE, *more], capsys)
        assert "own.npz" in line
        assert "--name" in line
    assert digests(study) == before


def test_a_study_continues_once_its_file_is_restored(study, capsys):
    assert cli.main(ABLATE) == 0
    before = digests(study)
    changed(seed=1)
    refused([*ABLATE, "--seeds", "2"], capsys)
    changed()
    assert cli.main([*ABLATE, "--seeds", "2"]) == 0
    assert digests(study) == before * 2


def test_a_refusal_names_both_digests(study, capsys):
    assert cli.main(ABLATE) == 0
    ((then, labels),) = digests(study)
    changed(seed=1, labels=3)
    line = refused(ABLATE, capsys)
    assert cli.main([*ABLATE, "--name", "other"]) == 0
    ((now, others),) = digests(Path("results/other"))
    assert {then, labels, now, others}.isdisjoint({None})
    assert all(digest[: identity.DIGEST_DIGITS] in line for digest in (then, labels, now, others))


def test_verify_compares_the_file_and_the_records(study, capsys):
    assert cli.main([*ABLATE, "--seeds", "2"]) == 0
    assert cli.main(["verify", "own"]) == 0
    changed(seed=1)
    capsys.readouterr()
    assert cli.main(["verify", "own", "--rerun", "2", "--json"]) == 1
    output = json.loads(capsys.readouterr().out)
    assert output["rerun"] == []
    assert len(output["problems"]) == 1 + 2
    Path("own.npz").unlink()
    assert cli.main(["verify", "own"]) == 0


def relabeled(record: Record, **data) -> None:
    """Write the record again, as if its data had been others."""
    tree = record.model_dump(mode="json")
    tree["data"] |= data
    store.path_of(Path("results/own"), record.fingerprint).write_bytes(store.with_digest(tree))


def test_records_of_two_data_sets_are_reported_by_verify_and_refused_by_the_plan(study, capsys):
    assert cli.main([*ABLATE, "--seeds", "3"]) == 0
    good, _ = store.read_all(study)
    relabeled(good[0], sha256="0" * 64)
    capsys.readouterr()
    assert cli.main(["verify", "own"]) == 1
    digest = "0" * identity.DIGEST_DIGITS
    assert digest in capsys.readouterr().out
    assert digest in refused(ABLATE, capsys)


@pytest.mark.parametrize("data", [{"sha256": "0" * 64}, {"labels_sha256": "0" * 64}, {"size": [1, 16]}])
def test_a_page_counts_the_runs_of_one_data_set_alone(study, data):
    assert cli.main([*ABLATE, "--seeds", "3"]) == 0
    assert len(load.load_study(study).runs) == 3
    good, _ = store.read_all(study)
    relabeled(good[1], **data)
    loaded = load.load_study(study)
    assert good[1].fingerprint not in {run.record.fingerprint for run in loaded.runs}
    assert len(loaded.runs) == 2
    (unreadable,) = loaded.unread
    assert good[1].fingerprint in unreadable


def test_records_from_before_labels_had_a_digest_count(study):
    assert cli.main([*ABLATE, "--seeds", "2"]) == 0
    for path in (study / "records").glob("*.json"):
        synthetic.change(path, lambda tree: [tree["data"].pop(key) for key in ("labels_sha256", "size")])
    good, _ = store.read_all(study)
    assert {origins.data_identity(record).labels for record in good} == {None}
    assert cli.main([*ABLATE, "--seeds", "3"]) == 0
    assert cli.main(["verify", "own"]) == 0
    assert len(load.load_study(study).runs) == 3


def known(config) -> DataIdentity:
    return origins.data_identity(outcome(config).record)


def test_what_a_worker_sends_back_is_of_the_study_s_data_and_code(tmp_path):
    config = configs.RunConfig()
    code = CodeIdentity("a" * 64, "2.0")
    good = outcome(config).record.model_copy(update={"source": code.source, "versions": {"torch": "2.0"}})
    begun = Origins(code, files={config.data.name: known(config)})
    begun.check_record(good)
    other = good.data.model_copy(update={"sha256": "1" * 64})
    for update in ({"source": None}, {"source": "b" * 64}, {"versions": {"torch": "2.1"}}, {"data": other}):
        with pytest.raises(IdentityError) as caught:
            begun.check_record(good.model_copy(update=update))
        assert "\n" not in str(caught.value)
    begun.check_record(good)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_module_that_changed_while_a_study_runs_is_refused_once_a_run_imports_it(
    tmp_path, monkeypatch, allowed
):
    """Baselines are imported when the first is fitted, after all cells: hours after the start."""
    name = f"changing{allowed}".lower()
    (tmp_path / name).mkdir()
    for module in ("__init__", "late"):
        (tmp_path / name / f"{module}.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(origins, "PACKAGES", (name,))
    place = ExecutionConfig(device="cpu", origins=Origins(origins.code(), allow_mixed_code=allowed))

    def first(configs, execution, on_event):
        return []

    def second(configs, execution, on_event):
        return [importlib.import_module(f"{name}.late").VALUE]

    monkeypatch.setattr(runs, "run_population", first)
    assert train([], on_event=None, execution=place) == []
    (tmp_path / name / "late.py").write_text("VALUE = 22\n")
    assert train([], on_event=None, execution=place) == []
    monkeypatch.setattr(runs, "run_population", second)
    with pytest.raises(IdentityError, match=f"{name}/late.py"):
        train([], on_event=None, execution=place)


def test_a_study_that_continues_with_other_code_reports_it_and_so_does_verify(
    study, capsys, caplog, monkeypatch
):
    assert cli.main(ABLATE) == 0
    ((before,), _) = store.read_all(study)
    assert cli.main(ABLATE) == 0
    assert cli.main(["verify", "own", "--json"]) == 0
    assert not [line for line in caplog.messages if before.source[: identity.DIGEST_DIGITS] in line]
    newer = CodeIdentity("b" * 64, origins.code().torch)
    monkeypatch.setattr(options, "code", lambda: newer)
    monkeypatch.setattr(origins, "code", lambda: newer)
    capsys.readouterr()
    assert cli.main([*ABLATE, "--seeds", "2"]) == 0
    (message,) = [line for line in caplog.messages if before.source[: identity.DIGEST_DIGITS] in line]
    assert newer.source[: identity.DIGEST_DIGITS] in message
    capsys.readouterr()
    assert cli.main(["verify", "own", "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert all(source[: identity.DIGEST_DIGITS] in note for source in (before.source, newer.source))


def test_other_code_is_reported_once_where_it_is_allowed(caplog):
    config = configs.RunConfig()
    lax = Origins(CodeIdentity("a" * 64, "2.0"), allow_mixed_code=True)
    for _ in range(2):
        lax.check_record(outcome(config).record.model_copy(update={"source": "b" * 64}))
    (message,) = [line for line in caplog.messages if "b" * identity.DIGEST_DIGITS in line]
    assert "a" * identity.DIGEST_DIGITS in message


def test_an_engine_publishes_no_record_of_other_data(tmp_path):
    from studies.testing.toys import PROFILE as TOYS

    (tmp_path / "toy.toml").write_text(TOYS)
    (tmp_path / "run_log").mkdir()
    begun = Origins(files={"digits": DataIdentity("1" * 64)})
    with in_process() as force, pytest.raises(IdentityError):
        run_study(
            design.load_design(str(tmp_path / "toy.toml")),
            tmp_path / "study",
            Toy(tmp_path / "run_log"),
            worker_pool=force,
            callbacks=Listener(),
            origins=begun,
        )
    assert not list((tmp_path / "study").glob("records/*.json"))


def expectations(name: str) -> dict[str, tuple[Origins, str | None]]:
    """Yield expectations of a driver, and a word of the error if a worker differs."""
    files, code = origins.user_data_identities([configs.DataConfig(name=name)]), origins.code()
    other, newer = CodeIdentity("b" * 64, code.torch), CodeIdentity(code.source, "0")
    return {
        "like": (Origins(code, files=files), None),
        "data": (Origins(code, files={name: DataIdentity("1" * 64)}), "own.npz"),
        "source": (Origins(other, files=files), "--allow-mixed-code"),
        "torch": (Origins(newer, files=files), "--allow-mixed-code"),
        "allowed": (Origins(other, allow_mixed_code=True, files=files), None),
    }


@pytest.mark.parametrize("case", ["like", "data", "source", "torch", "allowed"])
def test_workers_compare_data_and_code_with_the_driver(study, case):
    (cell,) = design.load_design("./own.toml").cells
    expected, word = expectations(cell.config.data.name)[case]
    place = ExecutionConfig(device="cpu", threads=1, origins=expected)
    if word is None:
        (made,) = train([cell.run(0)], on_event=None, execution=place)
        assert made.record.source == origins.code().source
        return
    with pytest.raises(IdentityError, match=re.escape(word)) as caught:
        train([cell.run(0)], on_event=None, execution=place)
    assert "\n" not in str(caught.value)


def test_a_worker_reads_a_file_again_that_was_replaced_after_a_refusal(study):
    (cell,) = design.load_design("./own.toml").cells
    place = ExecutionConfig(
        device="cpu", threads=1, origins=Origins(files=origins.user_data_identities([cell.config.data]))
    )
    own(seed=1)
    with pytest.raises(IdentityError):
        train([cell.run(0)], on_event=None, execution=place)
    own()  # in the same process, whose cache has the other file
    assert len(train([cell.run(0)], on_event=None, execution=place)) == 1


@pytest.mark.slow
def test_a_worker_process_refuses_as_this_one_does(study):
    (cell,) = design.load_design("./own.toml").cells
    with local(environments("1", "cpu")) as force:
        for expected, word in expectations(cell.config.data.name).values():
            place = ExecutionConfig(device="cpu", threads=1, origins=expected)
            asked = force.executor.submit(train, [cell.run(0)], on_event=None, execution=place)
            error = asked.exception()
            assert (error is None) if word is None else (word in str(error))


def test_a_baseline_is_fitted_to_the_study_s_data_alone(study):
    from studies.design.baselines import BASELINES

    (cell,) = design.load_design("./own.toml").cells
    expected = Origins(files={cell.config.data.name: DataIdentity("1" * 64)})
    place = ExecutionConfig(device="cpu", threads=1, origins=expected)
    with pytest.raises(IdentityError):
        tasks.train([cell.run(0)], on_event=None, execution=place, method=BASELINES["kmeans"].method)


def test_the_precision_that_was_trained_in_is_recorded(study):
    assert cli.main([*ABLATE, "--set", "train.precision=bfloat16", "--name", "short"]) == 0
    assert cli.main(ABLATE) == 0
    for name, precision in (("short", "bfloat16"), ("own", "float32")):
        ((record,), _) = store.read_all(Path("results") / name)
        assert record.hardware.precision == record.precision == precision


def test_records_of_one_precision_for_all_hardware_show_the_configured_one(tmp_path, undrawn):
    from studies.report.build import write_report

    plan = synthetic.plan({"train.precision": ["bfloat16"]}, seeds=[0])
    folder = synthetic.write(tmp_path, plan, lambda config: synthetic.record(config, pictures=False))
    ((record,), _) = store.read_all(folder)
    assert (record.hardware.precision, record.precision) == ("float32", "bfloat16")
    section = write_report(folder).read_text().split("## Setup")[1].split("\n## ")[0]
    assert "bfloat16, " in section
    assert "float32, " not in section


def test_a_study_in_this_process_trains_as_its_workers_would(study):
    torch.set_num_threads(2)
    assert cli.main(ABLATE) == 0
    ((record,), _) = store.read_all(study)
    assert record.hardware.threads == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_two_threads_a_study_of_mnists_sizes_has_the_bits_of_its_workers(study, tmp_path):
    """Red if a run in this process takes the threads that torch has."""
    images = np.random.default_rng(0).integers(0, 256, (1500, 28, 28), dtype=np.uint8)
    np.savez("own.npz", images=images, labels=np.arange(1500) % 10)
    profile = PROFILE.replace('"digits"', '"mnist"').replace("[4]", "[100]")
    Path("own.toml").write_text(profile.replace("batch_size = 16", "batch_size = 256"))
    torch.set_num_threads(2)
    fields = {"metrics", "load", "importance", "confusion", "curve", "pictures"}
    found = []
    for place, more in (("here", []), ("there", ["--workers", "1"])):
        assert cli.main([*ABLATE, "--results", place, *more]) == 0
        ((record,), _) = store.read_all(tmp_path / place / "own")
        found.append(record.model_dump(include=fields))
    assert found[0] == found[1]
