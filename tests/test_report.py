from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic

from moevae.config import RunConfig
from moevae.errors import RecordError
from studies.report import write_report


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_rebuilding_gives_the_same_bytes(tmp_path) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan())
    write_report(folder)
    first = contents(folder)
    (folder / "figures" / "old.png").write_bytes(b"left by an earlier version")
    write_report(folder)
    assert contents(folder) == first
    assert {"report.md", "table.csv"} <= first.keys()


def test_every_figure_of_the_page_is_there_and_no_other(tmp_path) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan())
    page = write_report(folder).read_text()
    shown = {part.split(")")[0] for part in page.split("](")[1:] if part.startswith("figures/")}
    assert shown == {f"figures/{path.name}" for path in (folder / "figures").iterdir()}
    assert len(shown) >= 4


def test_reading_needs_neither_torch_nor_optuna(tmp_path) -> None:
    folder = synthetic.write(tmp_path, synthetic.plan(seeds=[0]))
    code = (
        "import sys; sys.modules['torch'] = sys.modules['optuna'] = None;"
        "from pathlib import Path; from studies.report import write_report;"
        f"write_report(Path({str(folder)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_failed_missing_and_unread_runs_lower_n_and_are_listed(tmp_path) -> None:
    made = 0

    def make(config: RunConfig):
        nonlocal made
        made += 1
        if made == 2:
            return synthetic.failed(config, "the loss became NaN | at once"), {}
        return None if made == 6 else synthetic.record(config, pictures=False)

    folder = synthetic.write(tmp_path, synthetic.plan(), make)
    (folder / "records" / "0123456789abcdef.json").write_text('{"torn')
    page = write_report(folder).read_text()
    assert "2 (1 failed)" in page
    assert "2 (1 missing)" in page
    assert "the loss became NaN \\| at once" in page
    assert "not counted: records/0123456789abcdef.json" in page
    assert "**Partial.** 71 of 72" in page


def test_the_run_that_is_shown_is_chosen_by_the_bound_and_not_by_labels(tmp_path) -> None:
    tree = synthetic.plan(axes={"routing.kind": ["soft", "hard"]}, seeds=[0])

    def make(config: RunConfig):
        hard = config.routing.kind == "hard"
        numbers = {"mixture_elbo": -10.0 - 5 * hard, "nmi": 0.1 + 0.8 * hard, "ari": 0.1, "acc": 0.2}
        return synthetic.record(config, metrics=numbers)

    page = write_report(synthetic.write(tmp_path, tree, make)).read_text()
    assert "a choice that sees no labels): routing kind soft, seed 0" in page


def test_a_folder_without_a_study_is_refused_in_one_line(tmp_path) -> None:
    with pytest.raises(RecordError, match="no study here"):
        write_report(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(RecordError, match="not a study's description"):
        write_report(tmp_path)
    assert not (tmp_path / "report.md").exists()
