"""Baselines in a study: each is fitted once, resumed, kept, and shown in a row."""

import json
import re
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from moevae.config import overrides
from moevae.config.overrides import fingerprint, from_dict
from studies.__main__ import main
from studies.analysis.load import load_study
from studies.analysis.run_counts import count_runs
from studies.design import design as designs
from studies.design.baselines import BASELINES, Chosen
from studies.execution import plan
from studies.execution.ablation import run_study
from studies.execution.executors.base import WorkerPool, in_process
from studies.execution.plan import make_plan
from studies.records import schema, store, study_file
from studies.records.schema import name_of
from studies.report.build import write_report
from studies.testing.toys import PROFILE, TINY_PROFILE, Listener, Toy, outcome
from studies.verify import check, rebuild

BOTH = Chosen(("kmeans", "oracle-experts"), ("VaDE is left out: a reason.",))


@dataclass(frozen=True)
class Fitter(Toy):
    """A toy that leaves records of baselines too, and fails or breaks at some of them."""

    refusing: str = ""

    def __call__(self, configs, /, *, on_event, method=None):
        if method is None:
            made = super().__call__(configs, on_event=on_event)
            return [schema.Outcome(record=each.record.model_copy(update={"pictures": {}})) for each in made]
        if method.name == self.refusing:
            raise RuntimeError("interrupted")
        (config,) = configs
        name = name_of(config, method)
        with (self.run_log / name).open("a") as file:
            file.write("run\n")
        made = outcome(config, failed=config.seed in self.failing).record
        update = {"fingerprint": name, "method": method, "pictures": {}, "curve": schema.Curve()}
        return [schema.Outcome(record=made.model_copy(update=update))]


class Bench:
    def __init__(self, root):
        self.folder, self.run_log, self.profile = (
            root / "results" / "toy",
            root / "run_log",
            root / "toy.toml",
        )
        self.profile.write_text(PROFILE)
        self.run_log.mkdir()
        self.fitter = Fitter(self.run_log)

    def design(self, chosen=BOTH, **options):
        return designs.load_design(str(self.profile), **options).with_baselines(chosen)

    def run(self, design, fitter=None, **options):
        with in_process() as worker_pool:
            return run_study(
                design,
                self.folder,
                fitter or self.fitter,
                worker_pool=worker_pool,
                callbacks=Listener(),
                **options,
            )

    @property
    def tree(self):
        return json.loads((self.folder / "study.json").read_text())


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def planned(design):
    return {cell.name(seed) for cell in (*design.cells, *design.baseline_cells) for seed in design.seeds}


def test_each_baseline_is_fitted_once_a_seed_and_stays_out_of_the_storage(bench):
    design = bench.design()
    assert len(design.baseline_cells) == 2
    assert len(bench.run(design).trained) == len(planned(design)) == (4 + 2) * 3
    assert bench.fitter.counts() == dict.fromkeys(planned(design), 1)
    assert bench.run(design).trained == ()
    assert bench.fitter.counts() == dict.fromkeys(planned(design), 1)
    assert check.verify(bench.folder).problems == ()
    assert rebuild.rebuild(bench.folder) == len(design.cells) == 4
    assert plan.design_of(bench.folder).command == bench.tree["command"]


def test_baselines_join_a_study_later_and_stay_when_it_continues_without_them(bench):
    bench.run(bench.design(Chosen()))
    assert "baselines" not in bench.tree
    assert len(bench.run(bench.design()).trained) == 2 * 3
    assert bench.tree["command"].endswith("--baselines kmeans,oracle-experts")
    assert len(bench.run(bench.design(Chosen(("random-gate",)))).trained) == 3
    more = bench.run(bench.design(Chosen(), seeds="4"))
    assert len(more.trained) == 4  # a seed more of the cells alone
    assert bench.tree["baselines"] == ["kmeans", "oracle-experts", "random-gate"]
    assert bench.tree["command"].endswith("--baselines kmeans,oracle-experts,random-gate --seeds 4")


def test_baselines_fitted_before_a_crash_are_kept(bench):
    design = bench.design()
    with pytest.raises(RuntimeError, match="interrupted"):
        bench.run(design, Fitter(bench.run_log, refusing=BASELINES["oracle-experts"].method.name))
    assert make_plan(design, bench.folder).pending == 3
    bench.run(design)
    assert bench.fitter.counts() == dict.fromkeys(planned(design), 1)


def test_failures_are_kept_and_fitted_again_when_asked(bench):
    design = bench.design()
    failing = Fitter(bench.run_log, failing=frozenset({1}))
    assert len(bench.run(design, failing).failures) == 4 + 2
    assert bench.run(design).trained == ()
    assert len(bench.run(design, retry_failed=True).trained) == 4 + 2


def test_a_baseline_whose_worker_dies_too_often_is_a_failed_record(bench):
    class DiedError(Exception):
        pass

    def dying(configs, /, *, on_event, method=None):
        if method is not None:
            raise DiedError
        return bench.fitter(configs, on_event=on_event)

    def lost(configs, reason, /, *, method=None):
        made = outcome(configs[0], failed=True).record
        update = {"fingerprint": name_of(configs[0], method), "method": method}
        return [schema.Outcome(record=made.model_copy(update=update))]

    design = bench.design()
    with in_process() as plain:
        pool = WorkerPool(
            plain.executor, plain.count, plain.forward_events, worker_errors=(DiedError,), attempts=2
        )
        summary = run_study(
            design, bench.folder, dying, worker_pool=pool, callbacks=Listener(), on_worker_lost=lost
        )
    assert len(summary.failures) == 6
    assert make_plan(design, bench.folder).pending == 0


def test_a_baseline_has_a_cell_for_each_data_set(bench):
    bench.profile.write_text(PROFILE + 'data.name = ["digits", "mnist"]\n')
    design = bench.design(Chosen(("kmeans",)))
    assert [cell.config.data.name for cell in design.baseline_cells] == ["digits", "mnist"]
    assert [cell.label for cell in design.baseline_cells] == [
        "method = k-means on pixels, data.name = digits",
        "method = k-means on pixels, data.name = mnist",
    ]
    assert len({cell.key for cell in (*design.cells, *design.baseline_cells)}) == 8 + 2


def test_a_report_states_which_baselines_are_missing(bench, undrawn):
    design = bench.design()
    with pytest.raises(RuntimeError):
        bench.run(design, Fitter(bench.run_log, refusing=BASELINES["oracle-experts"].method.name))
    page = write_report(bench.folder).read_text()
    assert "12 of 12 planned runs have ended, and 3 runs of baselines have not" in page
    assert page.count("experts trained on the true labels (oracle)") == 3  # missing, seed by seed
    bench.run(design)
    page = write_report(bench.folder).read_text()
    assert "Partial" not in page
    assert "VaDE is left out: a reason." in page
    assert "n init: 10" in page
    runs = pd.read_csv(bench.folder / "tables" / "runs.csv")
    assert (runs["cell"] == "k-means on pixels").sum() == 3
    assert len(runs) == len(planned(design))


def test_a_slow_baseline_has_the_first_seeds_only(bench, undrawn, monkeypatch):
    slow = replace(BASELINES["kmeans"], most_seeds=2)
    monkeypatch.setitem(BASELINES._entries, "kmeans", slow)
    design = bench.design(Chosen(("kmeans", "oracle-experts")))
    assert design.num_runs == 12 + 2 + 3
    bench.run(design)
    good, _ = store.read_all(bench.folder)
    of_kmeans = [record for record in good if record.method and record.method.name == slow.method.name]
    assert sorted(record.config["seed"] for record in of_kmeans) == [0, 1]
    counts = count_runs(study_file.read(bench.folder), good)
    assert counts.planned == counts.complete == len(good) == 17
    assert (counts.planned_baselines, counts.complete_baselines) == (5, 5)
    assert not load_study(bench.folder).missing_baselines
    assert "Partial" not in write_report(bench.folder).read_text()
    assert not make_plan(bench.design(BOTH), bench.folder).tasks


@pytest.mark.parametrize(
    ("asked", "fitted"),
    [((("0,1,2,3"), "2,3,4"), [0, 1]), (("5,6,7", "0,1,2"), [5, 6]), (("1,", "0,1,2"), [0, 1])],
)
def test_a_slow_baseline_keeps_the_seeds_that_it_has(bench, monkeypatch, asked, fitted):
    monkeypatch.setitem(BASELINES._entries, "kmeans", replace(BASELINES["kmeans"], most_seeds=2))
    for seeds in asked:
        bench.run(bench.design(Chosen(("kmeans",)), seeds=seeds))
    good, _ = store.read_all(bench.folder)
    assert sorted(record.config["seed"] for record in good if record.method) == fitted
    counts = count_runs(study_file.read(bench.folder), good)
    assert counts.planned == len(good)
    assert not load_study(bench.folder).missing_baselines


def test_a_method_is_not_taken_for_another_whose_name_it_begins(bench, undrawn):
    design = bench.design(Chosen(("graph", "graph-unknown")))
    first = BASELINES["graph"].method.name
    assert BASELINES["graph-unknown"].method.name.startswith(first)
    with pytest.raises(RuntimeError):
        bench.run(design, Fitter(bench.run_log, refusing=first))
    bench.run(bench.design(Chosen(("graph-unknown",))))
    assert {name for name, _ in load_study(bench.folder).missing_baselines} == {first}


def test_the_command_line_fits_baselines_into_the_same_tables(tmp_path, capsys, undrawn):
    profile = tmp_path / "tiny.toml"
    profile.write_text(TINY_PROFILE)
    command = ["ablate", "--profile", str(profile), "--results", str(tmp_path), "--device", "cpu"]
    asked = ["--baselines", "kmeans,random-gate", "oracle-experts"]
    assert main([*command, *asked, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "2 cells x 2 seeds = 4 runs, and 3 baselines = 6 runs" in shown
    assert "10 runs" in shown
    assert not (tmp_path / "tiny").exists()
    assert main([*command, *asked]) == 0
    assert "10 runs trained, 0 " in capsys.readouterr().out
    assert main(["verify", "tiny", "--results", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "tiny" / "table.csv").set_index("cell")
    assert list(table.index) == [
        "1",
        "2",
        "experts trained on the true labels (oracle)",
        "k-means on pixels",
        "random fixed gate",
    ]
    assert (table["complete"] == 2).all()
    good, _ = store.read_all(tmp_path / "tiny")
    own = [record for record in good if record.method is None]
    assert all(record.fingerprint == fingerprint(from_dict(record.config)) for record in own)
    assert main([*command, "--seeds", "3"]) == 0
    assert (
        "3 runs of baselines missing; --baselines kmeans,random-gate,oracle-experts"
        in capsys.readouterr().err
    )
    assert main([*command, "--baselines", "kmean"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(r"'kmean'.*\bkmeans\b", last)


LATENTS = PROFILE.replace(
    "routing.temperature = [0.5, 1]", "model.latent_dim = [3, 6]\n[reference]\nmodel.latent_dim = 6"
)


def test_a_setting_that_follows_an_axis_has_the_reference_cell_s_value(tmp_path):
    bench = Bench(tmp_path)
    bench.profile.write_text(LATENTS)
    (cell,) = bench.design(Chosen(("pca-gmm",))).baseline_cells
    assert cell.method.settings["components"] == cell.config.model.latent_dim == 6
    bench.profile.write_text(PROFILE)
    (cell,) = bench.design(Chosen(("pca-gmm",))).baseline_cells
    assert cell.method == BASELINES["pca-gmm"].method  # its name is that of committed records


def test_records_from_before_that_setting_had_a_value_count(tmp_path):
    bench = Bench(tmp_path)
    bench.profile.write_text(LATENTS)
    design = bench.design(Chosen(("pca-gmm",)), seeds="2")
    bench.run(design)
    before = BASELINES["pca-gmm"].method
    for record in store.read_all(bench.folder)[0]:
        if record.method:
            old = schema.name_of(overrides.from_dict(record.config), before)
            changed = record.model_copy(update={"method": before, "fingerprint": old})
            store.write_record(bench.folder, schema.Outcome(record=changed))
            store.path_of(bench.folder, record.fingerprint).unlink()
    assert make_plan(design, bench.folder).pending == 0
    assert check.verify(bench.folder).problems == ()
    assert make_plan(bench.design(Chosen(("pca-gmm",)), seeds="3"), bench.folder).pending == 4 + 1
