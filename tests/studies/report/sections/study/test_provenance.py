"""The origin of numbers and the images that they refer to, as shown on a page."""

from __future__ import annotations

from moevae.config import overrides
from moevae.config.schema import RunConfig
from studies.report.build import write_report
from studies.testing import synthetic


def bare(config: RunConfig):
    return synthetic.record(config, pictures=False)


def without_validation(config: RunConfig):
    tree, files = bare(config)
    tree["data"]["validation"] = 0
    del tree["metrics"]["validation"]
    return tree, files


def test_bounds_on_other_validation_images_choose_no_run(tmp_path, undrawn) -> None:
    def make(config: RunConfig):
        easy = config.data.imbalance < 1
        numbers = {"mixture_elbo": -10.0 - 5 * easy, "nmi": 0.5, "ari": 0.1, "acc": 0.2}
        tree, files = synthetic.record(config, metrics=numbers)
        tree["metrics"]["validation"]["mixture_elbo"] = -12.0 + 5 * easy
        return tree, files

    folder = synthetic.write(tmp_path, synthetic.plan({"data.imbalance": [0.5, 1.0]}, seeds=[0]), make)
    page = write_report(folder).read_text()
    assert "**The best run**, validation ELBO -12.00 nats: cell 2 (imbalance 1), seed 0" in page


def test_the_commits_and_the_time_of_baselines_are_reported(tmp_path, undrawn) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan({"routing.kind": ["soft"]}, seeds=[0]), bare)
    alone = _what_was_run(write_report(folder).read_text())
    tree, files = synthetic.baseline(overrides.from_dict(synthetic.plan()["base"]), "k-means on pixels")
    synthetic.put(folder, {**tree, "commit": "f" * 40}, files)
    both = _what_was_run(write_report(folder).read_text())
    assert "f" * 12 in both["commit"]
    assert alone["commit"] in both["commit"]
    assert "runs of baselines" not in alone
    assert both["runs of baselines"] == "1 complete"
    seconds = [float(fields["time"].split()[0].replace(",", "")) for fields in (alone, both)]
    assert seconds[0] < seconds[1]


def _what_was_run(page: str) -> dict[str, str]:
    section = page.split("## Setup")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


def test_a_page_says_whether_the_digest_of_labels_is_known(tmp_path, undrawn) -> None:
    def levels_shown(name: str, known: dict[int, str | None]) -> set[str]:
        def make(config: RunConfig):
            tree, files = bare(config)
            tree["data"].pop("labels_sha256", None)
            tree["data"] |= {"labels_sha256": known[config.seed]} if config.seed in known else {}
            return tree, files

        plan = synthetic.plan({"routing.kind": ["soft"]}, seeds=[0, 1, 2])
        shown = _what_was_run(write_report(synthetic.write(tmp_path / name, plan, make)).read_text())["data"]
        return {each.rsplit("labels ", 1)[1] for each in shown.split("; ")}

    older = {"a" * 16 + " (1 run)", "not recorded (2 runs)"}
    assert levels_shown("older", {0: "a" * 64}) == older
    assert levels_shown("unlabeled", dict.fromkeys(range(3))) == {"none"}


def test_a_page_states_where_no_images_were_held_out(tmp_path, undrawn) -> None:
    axes = {"routing.temperature": [1.0, 2.0]}
    for name, making, words in (
        ("some", bare, "or of the validation split"),
        ("none", without_validation, "held out"),
    ):
        page = write_report(synthetic.write(tmp_path / name, synthetic.plan(axes), making)).read_text()
        section = page.split("## Unsupervised model selection")[1].split("\n## ")[0]
        assert words in section


def test_a_page_has_no_selection_where_no_rule_can_choose(tmp_path, undrawn) -> None:
    """Losses of different objectives do not compare, and without validation images there is no other rule."""
    plan = synthetic.plan({"objective.balance_weight": [0.0, 20.0]})
    page = write_report(synthetic.write(tmp_path, plan, without_validation)).read_text()
    assert "model selection" not in page


def test_cells_whose_runs_are_the_same_are_named(tmp_path, undrawn) -> None:
    def make(config: RunConfig):
        same = config.routing.temperature < 2  # as where a setting does nothing at some level
        nmi = 0.1 if same else 0.2
        metrics = {"mixture_elbo": -20.0 - config.seed, "nmi": nmi, "ari": nmi, "acc": nmi}
        return synthetic.record(config, pictures=False, metrics=metrics)

    def page_of(name: str, temperatures: list[float]) -> str:
        plan = synthetic.plan({"routing.temperature": temperatures}, seeds=range(2))
        return write_report(synthetic.write(tmp_path / name, plan, make)).read_text()

    assert "Cells 1, 2 and 4 have the same test metrics" in page_of("some", [0.5, 1.0, 2.0, 1.5])
    assert "have the same test metrics" not in page_of("none", [1.0, 2.0])


def test_energy_is_reported_where_devices_report_it(tmp_path, undrawn) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=(0, 1)))
    assert "energy" not in write_report(folder).read_text()
    for path in (folder / "records").glob("*.json"):
        synthetic.change(path, lambda tree: tree["throughput"].update(population=2))
        synthetic.change(path, lambda tree: tree.update(energy_joules=5000.0))
    energy = _what_was_run(write_report(folder).read_text())["energy"]
    assert energy.startswith("10.0 kJ")
    assert "4 runs" in energy
