"""Learning curves by columns, and those of records of schema 2, which are lists of epochs."""

import json

import pytest

from moevae.config.presets import digits
from moevae.errors import RecordError
from studies.records import store
from studies.records.schema import Curve, Epoch, Record
from studies.testing import synthetic


def in_rows(tree):
    """The record in schema 2."""
    curve = tree["curve"]
    rows = [
        {
            "epoch": epoch,
            "loss": curve["loss"][place],
            "temperature": curve["temperature"][place],
            "metrics": {name: values[place] for name, values in curve["metrics"].items()},
            "confusion": curve["confusion"][place].split(";") if curve["confusion"] else [],
        }
        for place, epoch in enumerate(curve["epoch"])
    ]
    return {**tree, "schema_version": 2, "curve": rows}


@pytest.fixture
def tree():
    return synthetic.record(digits(), pictures=False)[0]


@pytest.fixture
def read(tmp_path):
    """Write a record as JSON data, and read it."""
    (tmp_path / "records").mkdir()

    def written(tree):
        path = store.path_of(tmp_path, tree["fingerprint"])
        path.write_bytes(store.with_digest(tree))
        return store.read(path)

    return written


@pytest.mark.parametrize("labels", [True, False])
def test_a_record_of_schema_2_is_the_same_record(labels, read):
    tree, _ = synthetic.record(digits(), pictures=False, labels=labels)
    found = read(in_rows(tree))
    assert found == read(tree) == Record.model_validate(tree)
    assert found.model_dump(exclude_unset=True)["curve"].keys() >= {"epoch", "loss", "metrics"}


def test_odd_rows_of_schema_2_are_read(read, tree):
    old = in_rows(tree)
    old["curve"][0]["confusion"] = ["\t".join(f" {row} ".split(" ")) for row in old["curve"][0]["confusion"]]
    del old["curve"][1]["metrics"]["nmi"], old["curve"][2]["confusion"]
    curve = read(old).curve
    assert curve.confusion[0] == tree["curve"]["confusion"][0]
    assert curve.confusion[2] == ""
    assert curve.metrics["nmi"][:2] == [tree["curve"]["metrics"]["nmi"][0], None]


@pytest.mark.parametrize(
    ("key", "value"),
    [("loss", None), ("epoch", 0), ("metrics", {"nmi": 1e40}), ("confusion", ["a b"]), ("color", 1)],
)
def test_broken_rows_of_schema_2_are_refused(key, value, read, tree):
    old = in_rows(tree)
    old["curve"][-1][key] = value
    with pytest.raises(RecordError, match="not a valid record"):
        read(old)


def test_schemas_are_not_mixed(read, tree):
    with pytest.raises(RecordError):
        read({**in_rows(tree), "schema_version": 3})
    with pytest.raises(RecordError):
        read({**tree, "schema_version": 2})


def test_columns_hold_what_the_points_did():
    points = [
        Epoch(epoch=3, loss=2.0, temperature=1.0, metrics={"nmi": 0.5, "gate_loss": 9.0}),
        Epoch(epoch=5, loss=1.0, temperature=0.5, metrics={"acc": 0.7}, confusion="1 0;0 2"),
    ]
    curve = Curve.of(points)
    assert json.loads(curve.model_dump_json()) == {
        "epoch": [3, 5],
        "loss": [2.0, 1.0],
        "temperature": [1.0, 0.5],
        "metrics": {"nmi": [0.5, None], "gate_loss": [9.0, None], "acc": [None, 0.7]},
        "confusion": ["", "1 0;0 2"],
    }
    assert len(curve) == 2
    assert curve.last() == {"loss": 1.0, "acc": 0.7}
    assert (curve.end().epoch, curve.end().last()) == ([5], curve.last())
    assert not Curve.of([])
    assert not Curve.of([]).end()


def test_without_its_curve_a_record_keeps_all_else(tree):
    record = Record.model_validate(tree)
    assert record.run_config == digits()
    bare = record.without_curve()
    assert bare == record.model_copy(update={"curve": Curve()})
    assert "run_config" not in bare.__dict__
    assert bare.run_config == record.run_config
