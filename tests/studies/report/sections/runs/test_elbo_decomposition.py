"""The section on the ELBO decomposition adds up, and states how its bounds were estimated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pandas as pd
import pytest
from made_records import bare, bounded, one_sample, without_elbo_terms

from moevae.config.schema import RunConfig
from studies.report.build import write_report
from studies.testing import synthetic

AXES = {"objective.balance_weight": [0.0, 20.0], "routing.kind": ["soft", "hard"]}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def elbo_tables(page: str) -> list[list[dict[str, str]]]:
    """The tables of the ELBO decomposition, each row by its headings."""
    section = page.split("## ELBO decomposition")[1].split("\n## ")[0].replace("\\", "")
    blocks = [block.splitlines() for block in section.split("\n\n") if block.startswith("|")]
    return [[dict(zip(cells(head), cells(line), strict=True)) for line in rest] for head, _, *rest in blocks]


def mean(text: str) -> float:
    return float(text.split(" ")[0])


def test_a_page_states_the_samples_of_importance_weighted_bounds(tmp_path, undrawn) -> None:
    axes = {"evaluation.iwae_samples": [50, 5000], "evaluation.iwae_experts": [None, 1, 3]}
    page = write_report(synthetic.write(tmp_path, synthetic.plan(axes, seeds=[0]), bounded)).read_text()
    (samples,) = re.findall(r"The IWAE bound uses (.*?)\.", page)
    sizes = {words.split(" samples")[0] for words in samples.split(" or ")}
    assert sizes == {"50", "5,000"}
    for which in ("each expert", "the most probable expert of an image", "its 3 most probable experts"):
        assert samples.count(which) == 2


@pytest.mark.parametrize("make", [bare, bounded])
def test_the_elbo_terms_add_up_in_every_cell_and_over_experts(tmp_path, undrawn, make: Callable) -> None:
    page = write_report(synthetic.write(tmp_path, synthetic.plan(AXES), make)).read_text()
    by_cell, by_expert = elbo_tables(page)
    assert len(by_cell) == 4
    for row in by_cell:
        costs = ("kl_z (nats)", "mutual information (nats)", "marginal_kl (nats)")
        total = mean(row["reconstruction (nats)"]) - sum(mean(row[name]) for name in costs)
        assert mean(row["ELBO (nats)"]) == pytest.approx(total, abs=0.02)
        gap = mean(row["marginal ELBO (nats)"]) - mean(row["ELBO (nats)"])
        assert mean(row["gate gap (nats)"]) == pytest.approx(gap, abs=0.011)
        if make is bounded:
            found = mean(row["IWAE bound (nats)"]) - mean(row["marginal ELBO (nats)"])
            assert found == pytest.approx(0.1, abs=0.011)
        else:
            assert "IWAE bound (nats)" not in row
    frame = pd.DataFrame(
        [{name: 0.0 if text == "–" else mean(text) for name, text in row.items()} for row in by_expert]
    )
    assert len(frame) == 10
    best = max(
        (json.loads(path.read_text()) for path in (tmp_path / "records").glob("*.json")),
        key=lambda tree: (
            tree["config"]["routing"]["kind"] == "hard"
            and tree["config"]["objective"]["balance_weight"] == 20.0,
            tree["metrics"]["validation"]["mixture_elbo"],
        ),
    )
    rounded = 0.005 * len(frame) + 1e-6
    for key, name in (("recon_log_prob", "reconstruction (nats)"), ("kl_z", "kl_z (nats)")):
        assert frame[name].sum() == pytest.approx(best["metrics"]["test"][key], abs=rounded)
    own = frame["reconstruction - kl_z of its images (nats)"]
    error = 0.0005 * own.abs().max() + 0.0101
    assert (
        frame["importance"] * own - (frame["reconstruction (nats)"] - frame["kl_z (nats)"])
    ).abs().max() < error
    assert {"test.gate_gap mean", "test.marginal_kl mean"} <= set(pd.read_csv(tmp_path / "table.csv"))


def test_bounds_of_one_sample_leave_pages_and_tables(tmp_path, undrawn) -> None:
    page = write_report(synthetic.write(tmp_path, synthetic.plan(AXES), one_sample)).read_text()
    by_cell, _ = elbo_tables(page)
    assert by_cell
    assert not {"marginal ELBO (nats)", "gate gap (nats)"} & set(by_cell[0])
    for table in tmp_path.rglob("*.csv"):
        assert not [name for name in pd.read_csv(table) if "tight_elbo" in name or "amortization" in name]


def test_a_page_states_from_how_many_samples_its_marginal_bounds_are(tmp_path, undrawn) -> None:
    def make(config: RunConfig):
        tree, files = bare(config)
        tree["metrics"]["test"]["marginal_samples"] = 1000.0 if config.routing.kind == "hard" else 32.0
        return tree, files

    page = write_report(synthetic.write(tmp_path, synthetic.plan(AXES), make)).read_text()
    assert re.findall(r"estimated from (.*?) samples of z", page) == ["32 or 1,000"]


def test_records_without_elbo_terms_have_no_section(tmp_path, undrawn) -> None:
    page = write_report(synthetic.write(tmp_path, synthetic.plan(AXES), without_elbo_terms)).read_text()
    assert "## ELBO decomposition" not in page
