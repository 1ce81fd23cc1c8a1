"""Records with values out of range, or with tables of a wrong shape, are refused."""

import functools
import operator

import pytest
from pydantic import ValidationError

from moevae.config.presets import digits
from studies.records import consistency
from studies.records.schema import Record
from studies.testing import synthetic

USUAL = "1 20 3;0 0 999999999999999"


@pytest.mark.parametrize(
    ("tables", "valid"),
    [
        ([USUAL, USUAL], True),
        ([], True),
        ([USUAL, ""], True),
        (["1  20 3;4 5 6", USUAL], False),
        (["1  3;4 5 6"], False),
        ([" 20 3;4 5 6"], False),
        (["1 20 ;4 5 6"], False),
        (["1 20 3;4 5"], False),
        ([USUAL, "1 20 3"], False),
        ([USUAL, "1 20 3;4 5 6;7 8 9"], False),
        (["1 20 3;4 5 -6"], False),
        (["1 20 3;4 5 1e3"], False),
        (["1 20 3;4 5 \u0662"], False),
        (["1 20 3;4 5 1000000000000000"], False),
        (["1 20 3;"], False),
        (["1 20;3 4"], False),
    ],
)
def test_confusions_of_curves_are_tables_of_counts(tables, valid):
    tree, _ = synthetic.record(digits(), pictures=False)
    tree["confusion"] = {"classes": ["a", "b", "c"], "counts": [[1, 2, 3]] * 10}
    ones = [1.0] * len(tables)
    tree["curve"] = {
        "epoch": list(range(1, len(tables) + 1)), "loss": ones, "temperature": ones, "confusion": tables
    }  # fmt: skip
    record = Record.model_validate(tree)
    assert (not list(consistency._curve(record))) is valid


@pytest.mark.parametrize(
    ("column", "values"),
    [("epoch", [1, 1]), ("epoch", [2, 1]), ("loss", [1.0]), ("temperature", []), ("confusion", ["1"])],
)
def test_columns_of_curves_have_a_value_per_ascending_epoch(column, values):
    tree, _ = synthetic.record(digits(), pictures=False)
    curve = {"epoch": [1, 2], "loss": [2.0, 1.0], "temperature": [1.0, 1.0], "metrics": {"nmi": [0.1, None]}}
    assert not list(consistency._curve(Record.model_validate({**tree, "curve": curve})))
    assert list(consistency._curve(Record.model_validate({**tree, "curve": {**curve, column: values}})))
    curve["metrics"]["nmi"].append(0.3)
    assert list(consistency._curve(Record.model_validate({**tree, "curve": curve})))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("metrics", "test", "nmi"), 1e40),
        (("curve", "loss", 0), -1e40),
        (("curve", "metrics", "nmi", 0), 1e40),
        (("curve", "epoch", 0), 0),
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
