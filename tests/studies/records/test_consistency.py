"""Confusions of learning curves: what is recognized quickly is what the thorough check allows."""

import pytest

from moevae.config.presets import digits
from studies.records import consistency
from studies.records.schema import Record
from studies.testing import synthetic

USUAL = ["1 20 3", "0 0 999999999999999"]


@pytest.mark.parametrize(
    ("tables", "quick", "valid"),
    [
        ([USUAL, USUAL], True, True),
        ([], True, True),
        ([USUAL, []], True, True),
        ([["1  20 3", "4 5 6"]], False, True),
        ([[" 1 20 3", "4 5 6"]], False, True),
        ([["1\t20 3", "4 5 6"]], False, True),
        ([["1 20 3", "4 5"]], False, False),
        ([USUAL, USUAL[:1]], False, False),
        ([["1 20 3", "4 5 -6"]], False, False),
        ([["1 20 3", "4 5 1e3"]], False, False),
        ([["1 20 3", "4 5 1000000000000000"]], False, False),
        ([["1 20 3", ""]], False, False),
        ([["1 20", "3 4"]], False, False),
    ],
)
def test_quick_and_thorough_agree(tables, quick, valid):
    tree, _ = synthetic.record(digits(), pictures=False)
    tree["confusion"] = {"classes": ["a", "b", "c"], "counts": [[1, 2, 3]] * 10}
    tree["curve"] = [
        {"epoch": epoch, "loss": 1.0, "temperature": 1.0, "metrics": {}, "confusion": table}
        for epoch, table in enumerate(tables, 1)
    ]
    record = Record.model_validate(tree)
    assert consistency._plain_tables(record) is quick
    assert (not list(consistency._curve(record))) is valid
