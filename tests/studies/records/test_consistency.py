"""Records with values out of range, or with tables of a wrong shape, are refused."""

import functools
import operator

import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("metrics", "test", "nmi"), 1e40),
        (("curve", 0, "loss"), -1e40),
        (("curve", 0, "metrics", "nmi"), 1e40),
        (("curve", 0, "epoch"), 0),
        (("load", 0), 1.1),
        (("importance", 0), -0.1),
        (("elbo_terms", "kl_z", 0), 1e40),
        (("confusion", "counts", 0, 0), -1),
        (("reliability", "images", 0), 10**15),
        (("reliability", "accuracy", 0), 1.1),
        (("throughput", "train_images_per_second"), -1.0),
        (("seconds", "train"), -1.0),
    ],
)
def test_values_out_of_range_are_refused(place, value):
    tree, _ = synthetic.record(digits(), pictures=False)
    Record.model_validate(tree)
    *branches, leaf = place
    functools.reduce(operator.getitem, branches, tree)[leaf] = value
    with pytest.raises(ValidationError):
        Record.model_validate(tree)
