"""Broken files: each is detected and named, none is counted, and the report covers the rest."""

import json
import random
import shutil

import pytest

from moevae.config import schema as configs
from moevae.errors import CheckpointError, RecordError
from moevae.training import snapshot_files
from studies.records import schema, store
from studies.report.build import write_report
from studies.testing import synthetic
from studies.verify import check

torch = pytest.importorskip("torch")
AXES = {"objective.balance_weight": [0.0, 20.0], "routing.kind": ["soft", "hard"]}


@pytest.fixture
def folder(tmp_path):
    """A synthetic study of 4 cells and 15 seeds."""
    plan = synthetic.plan(AXES, seeds=range(15))
    return synthetic.write(tmp_path / "study", plan, synthetic.record)


def changed(key, value):
    """Return a function that sets a value of a record and updates its digest."""

    def put(tree):
        *sections, leaf = key.split(".")
        for section in sections:
            tree = tree[section]
        tree[leaf] = value

    return lambda path, chance: synthetic.change(path, put)


def another_digit(path, chance):
    content = bytearray(path.read_bytes())
    place = chance.choice([place for place, sign in enumerate(content) if chr(sign).isdigit()])
    content[place] = ord(chance.choice([digit for digit in "0123456789" if digit != chr(content[place])]))
    path.write_bytes(content)


def without_digest(path, chance):
    head, _, rest = path.read_text().split("\n", 2)
    path.write_text(f"{head}\n{rest}")


def torn(path, chance):
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) - 2)])


def flipped_picture(path, chance):
    name = chance.choice(list(json.loads(path.read_text())["pictures"].values()))["file"]
    picture = path.parent / name
    content = bytearray(picture.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    picture.write_bytes(content)


def picture_gone(path, chance):
    name = chance.choice(list(json.loads(path.read_text())["pictures"].values()))["file"]
    (path.parent / name).unlink()


def under_another_name(path, chance):
    path.rename(path.with_name(f"{chance.randrange(16**16):016x}.json"))


BREAKAGES = {
    "torn": torn,
    "empty": lambda path, chance: path.write_bytes(b""),
    "zeros": lambda path, chance: path.write_bytes(bytes(path.stat().st_size)),
    "not JSON": lambda path, chance: path.write_text("<html>"),
    "a list": lambda path, chance: path.write_text("[]"),
    "newer schema": changed("schema_version", schema.SCHEMA + 1),
    "foreign schema": lambda path, chance: path.write_text('{"accuracy": 0.9}'),
    "another configuration": changed("config.train.epochs", 1234),
    "impossible configuration": changed("config.model.num_experts", 0),
    "unknown key": changed("config.model.colour", "red"),
    "infinite metric": changed("metrics.test.nmi", float("inf")),
    "NaN": changed("metrics.validation.mixture_elbo", float("nan")),
    "text for a number": changed("metrics.test.acc", "good"),
    "a digit changed": another_digit,
    "no digest": without_digest,
    "picture changed": flipped_picture,
    "picture gone": picture_gone,
    "another name": under_another_name,
}


def test_broken_records_are_named_and_not_counted(folder, reliability, undrawn):
    chance = random.Random(0)
    paths = sorted((folder / "records").glob("*.json"))
    whole = {record.fingerprint: record for record in store.read_all(folder)[0]}
    broken = chance.sample(paths, 3 * len(BREAKAGES))
    for path, break_it in zip(broken, 3 * list(BREAKAGES.values()), strict=True):
        break_it(path, chance)
    copied = [path for path in paths if path not in broken][:4]
    copies = [shutil.copy(path, path.with_name(f"{path.stem} (copy).json")) for path in copied]

    good, refused = store.read_all(folder)
    untouched = {path.stem for path in paths if path not in broken}
    assert {record.fingerprint for record in good} == untouched
    assert all(record == whole[record.fingerprint] for record in good)
    assert len(refused) == len(broken) + len(copies)
    names = {path.name for path in (folder / "records").glob("*.json")} - {
        f"{stem}.json" for stem in untouched
    }
    assert {name for name in names if any(name in str(error) for error in refused)} == names

    problems = check.verify(folder).problems
    assert {name for name in names if any(name in problem for problem in problems)} == names
    report = write_report(folder).read_text()
    assert all(name in report for name in names)
    reliability(
        "broken files",
        f"{len(refused)} broken and {len(good)} intact records: {', '.join(BREAKAGES)}, copies",
        "each detected and named, none counted; the report covers the rest",
    )


def test_no_byte_of_a_record_can_change_unseen(folder):
    chance = random.Random(2)
    path = sorted((folder / "records").glob("*.json"))[0]
    whole, record = path.read_bytes(), store.read(path)
    for _ in range(300):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(RecordError, match=path.name):
            store.read(path)
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert store.read(path) == record, "a checkout may change the ends of lines"


def test_a_newer_record_is_kept_when_its_place_is_needed(folder):
    path = sorted((folder / "records").glob("*.json"))[0]
    record = store.read(path)
    changed("schema_version", schema.SCHEMA + 1)(path, None)
    newer = path.read_bytes()
    store.write_record(folder, schema.Outcome(record=record))
    assert store.read(path) == record
    assert [kept.read_bytes() for kept in (folder / "refused").iterdir()] == [newer]


def test_flipped_bits_in_checkpoints_are_found(tmp_path, reliability):
    chance = random.Random(1)
    path, config = tmp_path / "a.snapshot", [configs.RunConfig()]
    snapshot_files.write(path, config, {"weights": torch.randn(3, 50)}, {"epoch": 3})
    whole = path.read_bytes()
    for _ in range(100):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=str(path)):
            snapshot_files.read(path, config)
    reliability("broken files", "100 checkpoints with one bit flipped", "each detected and named, none used")
