"""Pages of all kinds of studies: reproducible bytes, files that exist, and numbers of the records."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_records import (
    all_failed,
    bare,
    lost_cell,
    nothing,
    older_and_newer,
    one_class_missing,
    same,
    some_bounded,
    unlabeled,
    whole_data,
    without_elbo_terms,
)
from markdown_it import MarkdownIt

from moevae.config import overrides
from moevae.config.schema import RunConfig
from moevae.errors import RecordError
from studies.report.build import write_html, write_report
from studies.testing import synthetic

AXES = {"objective.balance_weight": [0.0, 20.0], "routing.kind": ["soft", "hard"]}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a study with all there is: failed, missing and torn records, other methods, pictures."""
    made = 0

    def make(config: RunConfig):
        nonlocal made
        made += 1
        if made == 2:
            return synthetic.failed(config, "the loss became NaN | at once"), {}
        return None if made == 6 else synthetic.record(config)

    folder = synthetic.write(tmp_path_factory.mktemp("whole"), synthetic.plan(), make)
    (folder / "records" / "0123456789abcdef.json").write_text('{"torn')
    for seed in range(3):
        config = overrides.override(overrides.from_dict(synthetic.plan()["base"]), {"seed": seed})
        synthetic.put(folder, *synthetic.baseline(config, "k-means on pixels"))
        synthetic.put(folder, *synthetic.baseline(config, "experts of true labels", oracle=True))
    write_report(folder)
    return folder


def test_rebuilding_gives_the_same_bytes(whole: Path) -> None:
    first = contents(whole)
    write_report(whole)
    assert contents(whole) == first


def test_every_file_that_the_page_names_is_there_and_no_other(whole: Path) -> None:
    tokens = MarkdownIt().enable("table").parse((whole / "report.md").read_text())
    inline = [child for token in tokens for child in token.children or []]
    named = {
        str(child.attrGet("src") or child.attrGet("href"))
        for child in inline
        if child.type in ("image", "link_open")
    }
    there = {name for name in contents(whole) if name.startswith(("figures/", "tables/", "table.csv"))}
    assert named == there
    assert all(child.content for child in inline if child.type == "image")


def test_the_html_page_holds_all_figures(whole: Path, tmp_path) -> None:
    page = write_html(whole / "report.md")
    text = page.read_text()
    assert text.count("data:image/png;base64,") == len(list((whole / "figures").iterdir()))


def test_no_effect_is_denied_where_nothing_ran(tmp_path: Path, undrawn) -> None:
    axes = {"data.name": ["mnist", "digits"], "routing.kind": ["soft", "hard"]}
    plan = synthetic.plan(axes, seeds=[0, 1])
    synthetic.write(
        tmp_path / "s", plan, lambda config: bare(config) if config.data.name == "mnist" else None
    )
    page = write_report(tmp_path / "s").read_text()
    mnist, digits = (page.index(f"On {name}:") for name in ("mnist", "digits"))
    assert mnist < digits
    assert "No effect" not in page[digits:]


def test_failed_missing_and_unread_runs_lower_n_and_are_listed(whole: Path) -> None:
    page = (whole / "report.md").read_text()
    assert "2 (1 failed)" in page
    assert "2 (1 missing)" in page
    assert "the loss became NaN \\| at once" in page
    assert "excluded: records/0123456789abcdef.json" in page
    assert "**Partial.** 71 of 72" in page


def test_all_runs_that_are_missing_are_in_a_file(tmp_path: Path) -> None:
    plan = synthetic.plan({"routing.temperature": [1.0, 2.0]}, seeds=list(range(100)))
    folder = synthetic.write(
        tmp_path, plan, lambda config: synthetic.record(config) if config.seed < 2 else None
    )
    write_report(folder)
    assert "[tables/failures.csv](tables/failures.csv)" in (folder / "report.md").read_text()
    assert len(pd.read_csv(folder / "tables" / "failures.csv")) == 196


def test_other_methods_are_in_the_table_and_an_oracle_states_it(whole: Path) -> None:
    page = (whole / "report.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|") and "k-means on pixels" in line]
    assert len(rows) == 4  # of the main table, of calibration, and against the baseline cell by NMI and ACC
    assert not re.search(r"experts of true labels(?! \(oracle\))", page)


def test_no_oracle_number_without_the_word(whole: Path) -> None:
    page = (whole / "report.md").read_text()
    section = page.split("## Unsupervised model selection")[1].split("\n## ")[0]
    assert "cost against the oracle of other seeds" in section


def test_reading_needs_neither_torch_nor_optuna(tmp_path) -> None:
    folder = synthetic.write(tmp_path / "study", synthetic.plan({"routing.kind": ["soft"]}, seeds=[0]), bare)
    code = (
        "import sys; from pathlib import Path; from studies.report import build as report;"
        f"report.write_html(report.write_report(Path({str(folder)!r})));"
        f"report.write_index(Path({str(tmp_path)!r}), asked=True);"
        "assert not {'torch', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_run_that_is_shown_is_chosen_by_the_bound_and_not_by_labels(tmp_path, undrawn) -> None:
    def make(config: RunConfig):
        hard = config.routing.kind == "hard"
        numbers = {"mixture_elbo": -10.0 - 5 * hard, "nmi": 0.1 + 0.8 * hard, "ari": 0.1, "acc": 0.2}
        return synthetic.record(config, metrics=numbers)

    folder = synthetic.write(tmp_path, synthetic.plan({"routing.kind": ["soft", "hard"]}, seeds=[0]), make)
    page = write_report(folder).read_text()
    assert re.search(
        r"\*\*The best run\*\*, validation ELBO -\d+\.\d+ nats: cell 1 \(routing kind soft\), seed 0", page
    )


def test_scores_of_all_images_are_shown_with_their_number(tmp_path: Path, undrawn) -> None:
    axes = {"routing.kind": ["soft", "hard"]}
    page = write_report(synthetic.write(tmp_path / "some", synthetic.plan(axes), whole_data)).read_text()
    table = page[page.index("## Results") : page.index("## How to read the numbers")]
    assert re.search(r"NMI of all images \| +ACC of all images", table)
    assert "0.834 ± 0.000" in table
    assert "0.912 ± 0.000" in table
    assert "70,000 images" in page
    never = write_report(synthetic.write(tmp_path / "none", synthetic.plan(axes), bare)).read_text()
    assert "all images" not in never


@pytest.mark.parametrize(
    "make",
    [
        same,
        unlabeled,
        one_class_missing,
        lost_cell,
        nothing,
        all_failed,
        older_and_newer,
        without_elbo_terms,
        some_bounded,
    ],
)
@pytest.mark.parametrize(
    "seeds", [[0], pytest.param([0, 1, 2], marks=pytest.mark.slow)], ids=["n = 1", "n = 3"]
)
def test_a_page_is_written_whatever_the_records_are(
    tmp_path, undrawn, make: Callable, seeds: list[int]
) -> None:
    page = write_report(synthetic.write(tmp_path, synthetic.plan(AXES, seeds=seeds), make)).read_text()
    assert not re.search(r"\bnan\b|\binf\b|None\b", page.replace("became NaN", ""))


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"routing.kind": ["soft"]},
        {"routing.temperature": [0.5, 1.0, 2.0]},
        {**AXES, "routing.temperature": [1.0, 2.0], "model.expert_hidden": [[32], [64, 32]]},
        {"objective": ["elbo", "competitive"]},
        {"model.likelihood": ["bernoulli", "gaussian"], "routing.kind": ["soft", "hard"]},
        {"data.name": ["npz:/a|b/*c*_d_.npz", "mnist"], "routing.kind": ["soft", "hard"]},
    ],
    ids=lambda axes: ", ".join(axes) or "no axis",
)
def test_a_page_is_written_whatever_the_axes_are(tmp_path, undrawn, axes: dict) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan(axes), bare)
    page = write_report(folder).read_text()
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(page)
    for value in axes.get("data.name", []):
        assert f"<h2>{value}</h2>" in html


def test_cells_of_a_search_that_match_nothing_are_shown(tmp_path, undrawn) -> None:
    cells = [{"objective.balance_weight": 1.5 * i, "routing.temperature": 0.3 + i} for i in range(6)]
    axes = {key: [cell[key] for cell in cells] for key in cells[0]}
    folder = synthetic.write(
        tmp_path, synthetic.plan(axes, cells=cells, baseline=cells[0], seeds=[0, 1]), bare
    )
    page = write_report(folder).read_text()
    assert "## Effect of" not in page
    assert "## Analysis of variance" not in page
    assert "0.3" in page


def test_a_section_with_nothing_to_show_is_left_out(tmp_path, undrawn) -> None:
    keys = ("objective.balance_weight", "routing.temperature", "objective.information_weight")
    cells = [dict(zip(keys, (1.5 * i, 0.3 + i, 0.1 * i), strict=True)) for i in range(4)]
    axes = {key: [cell[key] for cell in cells] for key in keys}
    plan = synthetic.plan(axes, cells=cells, baseline=cells[0], seeds=[0, 1])
    page = write_report(synthetic.write(tmp_path, plan, bare)).read_text()
    assert "## Balance weight and temperature" not in page


def test_a_search_by_labels_states_that_labels_chose_its_cells(tmp_path, undrawn) -> None:
    seen = "labels of the validation split selected these cells (oracle)"
    never = "training and the selection of runs use no labels"
    axes = {"routing.kind": ["soft", "hard"]}
    search = {"space": {}, "objectives": ["nmi"]}
    plans = [synthetic.plan(axes, search={**search, "oracle": oracle}) for oracle in (False, True)]
    blind = write_report(synthetic.write(tmp_path / "a", plans[0], bare))
    assert never in blind.read_text()
    assert seen not in blind.read_text()
    page = write_report(synthetic.write(tmp_path / "b", plans[1], bare))
    assert seen in page.read_text()
    assert never not in page.read_text()


def test_each_row_states_the_command_that_makes_it(tmp_path, undrawn) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan(AXES, seeds=[3]), bare)
    page = write_report(folder).read_text()
    commands = re.findall(r"python -m moevae train --preset (\S+) --seed 3((?: --set \S+)*)", page)
    assert len(commands) == 4
    from moevae.config.presets import preset

    rebuilt = set()
    for name, changes in commands:
        pairs = dict(part.split("=") for part in changes.replace("--set", "").split())
        values = {key: value if value.isalpha() else json.loads(value) for key, value in pairs.items()}
        rebuilt.add(overrides.fingerprint(overrides.override(preset(name), {**values, "seed": 3})))
    assert rebuilt == {path.stem for path in (folder / "records").glob("*.json")}


def test_a_folder_without_a_study_is_refused_and_nothing_is_written(tmp_path) -> None:
    with pytest.raises(RecordError, match=r"study\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_page_reports_the_calibration_of_the_gate(whole: Path) -> None:
    page = (whole / "report.md").read_text()
    section = page.split("## Calibration of the gate")[1].split("\n## ")[0]
    assert "all 3 runs of cell" in section
    assert re.search(r"\| +ECE \| +Brier \|", section)
