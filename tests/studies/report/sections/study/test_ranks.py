"""Ranks across data sets: cells stay apart in the figure, however long their names are."""

from studies.report import plots
from studies.report.build import write_report
from studies.testing import synthetic

AXES = {
    "data.name": ["mnist", "digits"],
    "objective.balance_weight": [20.0, 80.0],
    "train.learning_rate_schedule": ["constant", "cosine"],
    "train.kl_warmup": [0.0, 0.25, 0.125],
}


def test_cells_whose_names_begin_alike_have_different_labels(tmp_path, undrawn, monkeypatch):
    drawn, real = [], plots.ranks
    monkeypatch.setattr(
        plots, "ranks", lambda found, names, title: drawn.append(names) or real(found, names, title)
    )
    write_report(synthetic.write(tmp_path, synthetic.plan(AXES, seeds=[0, 1]), synthetic.record))
    (labels,) = drawn
    assert len({*labels}) == len(labels) == 12
    assert max(len(line) for label in labels for line in label.split("\n")) < max(map(len, labels))
