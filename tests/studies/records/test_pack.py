"""A packed study reads like an unpacked one, and neither packing nor an interruption of it loses anything."""

import json
import shutil
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from moevae.config import overrides
from moevae.errors import RecordError
from studies import __main__ as cli
from studies.cli import listing
from studies.dashboard import artifacts
from studies.records import lock, packed, store
from studies.records import pack as packing
from studies.report.build import write_report
from studies.testing import synthetic
from studies.testing.toy_studies import Bench
from studies.testing.toys import Toy
from studies.verify import check

AXES = {"objective.balance_weight": [0.0, 20.0]}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A study of two cells and three seeds, one of them failed, with its page."""
    made = 0

    def make(config):
        nonlocal made
        made += 1
        return (
            (synthetic.failed(config, "the loss became NaN"), {}) if made == 2 else synthetic.record(config)
        )

    folder = synthetic.write(tmp_path_factory.mktemp("pack") / "made-up", synthetic.plan(AXES), make)
    write_report(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "made-up")


def contents(folder, *, but=()):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name not in but
    }


def of_page(files):
    return {name: file for name, file in files.items() if not name.startswith("records/")}


def run(folder, *words):
    return cli.main([*words, folder.name, "--results", str(folder.parent)])


def test_files_of_records_are_restored_bit_for_bit_and_only_named_pictures_are_gone(folder, capsys):
    before, records = contents(folder), store.read_all(folder)
    pictures = {name for name in before if name.endswith(".png") and name.startswith("records/")}
    assert run(folder, "pack") == 0
    output = capsys.readouterr().out
    assert not (folder / "records").exists()
    kept, dropped = packed.pictures(folder).kept, packed.pictures(folder).dropped
    assert {f"records/{name}" for name in {*kept, *dropped}} == pictures
    assert kept
    assert dropped
    assert all(name in output for name in dropped)
    assert store.read_all(folder) == records
    assert run(folder, "unpack") == 0
    after = contents(folder, but=[packed.PICTURES])
    assert before == after | {f"records/{name}": before[f"records/{name}"] for name in dropped}
    assert store.read_all(folder) == records


def test_page_list_and_verify_are_the_same(folder):
    before = contents(folder)
    listed, report = listing.studies(folder.parent), check.verify(folder)
    assert not report.problems
    assert run(folder, "pack") == 0
    for path in [folder / "report.md", folder / "table.csv", *folder.glob("figures/*")]:
        path.unlink()
    assert run(folder, "report") == 0
    after = contents(folder, but=[packed.RECORDS, packed.PICTURES])
    assert after == of_page(before)
    assert check.verify(folder) == report
    assert listing.studies(folder.parent) == listed


def test_the_dashboard_shows_kept_pictures(folder):
    gallery = artifacts.PictureStore(folder)
    good, _ = store.read_all(folder)
    names = {
        artifacts.name_of(record, "samples"): record.pictures["samples"].file
        for record in good
        if record.pictures
    }
    before = {name: gallery.open_reader(name).read() for name in names}
    assert run(folder, "pack") == 0
    gallery = artifacts.PictureStore(folder)
    for name, file in names.items():
        if file in packed.pictures(folder).kept:
            assert gallery.open_reader(name).read() == before[name]
        else:
            with pytest.raises(ArtifactNotFound, match="dropped"):
                gallery.open_reader(name)


def test_a_page_states_that_a_picture_was_dropped(undrawn, folder):
    assert not (packing.pack(folder, ())).kept
    page = write_report(folder).read_text()
    assert "dropped when the study was packed" in page


class Killed(BaseException):
    """The process ends here."""


class Budget:
    """Lets so many changes of files happen; from then on, none."""

    def __init__(self, monkeypatch, steps):
        self.left = steps
        for name in ("replace", "unlink", "rmdir"):
            self._limit(monkeypatch, name, getattr(Path, name))

    def _limit(self, monkeypatch, name, change):
        def limited(path, *args, **options):
            if path.suffix != ".lock":
                if not self.left:
                    raise Killed
                self.left -= 1
            return change(path, *args, **options)

        monkeypatch.setattr(Path, name, limited)


def until_done(action, folder, check_between):
    """Kill an action after one change, start it again, kill it after two, until it comes to its end."""
    for steps in range(1000):
        with pytest.MonkeyPatch.context() as patch:
            Budget(patch, steps)
            try:
                action()
                return steps
            except Killed:
                pass
        check_between(folder)
    raise AssertionError("it never ends")


def test_a_kill_at_any_change_loses_nothing(folder):
    before, records = contents(folder), store.read_all(folder)
    shown = {path.name for path in sorted((folder / "records").glob("*.png"))[:2]}

    def check_between(folder):
        assert store.read_all(folder) == records
        there = contents(folder)
        assert of_page(before).items() <= there.items()

    assert until_done(lambda: packing.pack(folder, shown), folder, check_between) > 10
    assert not check.verify(folder).problems
    assert contents(folder).keys() == {*of_page(before), packed.RECORDS, packed.PICTURES}
    assert until_done(lambda: packing.unpack(folder), folder, check_between) > 5
    assert not check.verify(folder).problems
    after = contents(folder, but=[packed.PICTURES])
    gone = {f"records/{name}" for name in packed.pictures(folder).dropped}
    assert after == {name: file for name, file in before.items() if name not in gone}


@pytest.mark.parametrize("steps", range(2, 20, 5))
def test_an_interrupted_pack_can_be_undone(template, tmp_path, steps):
    folder = shutil.copytree(template, tmp_path / "made-up")
    records = store.read_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        Budget(patch, steps)
        with pytest.raises(Killed):
            packing.pack(folder, ())
    if (folder / packed.RECORDS).exists():
        packing.unpack(folder)
    assert store.read_all(folder) == records
    assert not check.verify(folder).problems


def test_packing_keeps_files_that_no_record_names(folder):
    own = {"records/notes.txt": b"mine", "records/mine.png": b"png", "notes.md": b"mine", "records.bak": b"x"}
    for name, file in own.items():
        (folder / name).write_bytes(file)
    broken = folder / "records" / "0123456789abcdef.json"
    broken.write_text('{"torn')
    foreign = folder / "records" / "fedcba9876543210.json"
    foreign.write_text("{}")
    made = packing.pack(folder, ())
    assert len(made.left) == 2
    assert own.items() <= contents(folder).items()
    assert broken.read_text() == '{"torn'
    with pytest.raises(RecordError, match=broken.name):
        packing.unpack(folder)
    assert (folder / packed.RECORDS).exists()
    assert len(store.read_all(folder)[1]) == 2


def lines_of(folder):
    return (folder / packed.RECORDS).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-20] + b"\n",
        lambda line: line.replace(b'"status":"complete"', b'"status": "complete"'),
        lambda line: line.replace(b'"seed":', b'"seed":1,"seed":'),
        lambda line: line.replace(b'"acc":0.', b'"acc":0.9'),
        lambda line: b'{"digest":"' + b"0" * 64 + line[75:],
        lambda line: b"[" * 100_000 + b"\n",
        lambda line: b"\xff\xfe\n",
        lambda line: b'{"a":NaN}\n',
    ],
    ids=["torn", "spaces", "twice", "number", "digest", "nested", "bytes", "nan"],
)
def test_a_broken_line_is_named_and_never_lost(folder, change):
    packing.pack(folder, ())
    lines = lines_of(folder)
    place = next(number for number, line in enumerate(lines) if b'"status":"complete"' in line)
    lines[place] = change(lines[place])
    (folder / packed.RECORDS).write_bytes(b"".join(lines))
    good, (refused,) = store.read_all(folder)
    assert len(good) == 5
    assert f"{packed.RECORDS}:{place + 1}: " in str(refused)
    assert "\n" not in str(refused)
    for action in (lambda: packing.pack(folder, ()), lambda: packing.unpack(folder)):
        with pytest.raises(RecordError, match=rf"{packed.RECORDS}:{place + 1}: "):
            action()
    assert b"".join(lines) == (folder / packed.RECORDS).read_bytes()


def test_a_run_on_two_lines_is_counted_once_and_named(folder):
    packing.pack(folder, ())
    lines = lines_of(folder)
    (folder / packed.RECORDS).write_bytes(b"".join([*lines, lines[0]]))
    good, (refused,) = store.read_all(folder)
    assert len(good) == 6
    assert f"{packed.RECORDS}:7: the same run as line 1" in str(refused)


def test_ends_of_lines_may_be_those_of_windows(folder):
    records = store.read_all(folder)
    for path in (folder / "records").glob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    packing.pack(folder, ())
    path = folder / packed.RECORDS
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert store.read_all(folder) == records


def test_a_kept_picture_that_changed_and_an_unlisted_one_are_refused(folder):
    packing.pack(folder, {path.name for path in (folder / "records").glob("*.png")})
    path = folder / packed.PICTURES
    tree = json.loads(path.read_text())
    first, second, *_ = sorted({name.partition("-")[0] for name in tree["kept"]})
    tree["kept"][f"{first}-samples.png"] = tree["kept"][f"{second}-samples.png"]
    del tree["kept"][f"{second}-samples.png"]
    path.write_text(json.dumps(tree))
    good, refused = store.read_all(folder)
    assert (len(good), len(refused)) == (4, 2)
    tree["dropped"]["0123456789abcdef-samples.png"] = "0" * 64
    path.write_text(json.dumps(tree))
    assert any("0123456789abcdef" in problem for problem in check.verify(folder).problems)


def test_a_driver_at_work_is_not_disturbed(folder):
    with lock.hold(folder), pytest.raises(lock.StudyLockedError):
        packing.pack(folder, ())


def test_a_packed_study_is_resumed(tmp_path):
    bench = Bench(tmp_path)
    bench.run(Toy(bench.run_log, failing=frozenset({1})))
    before, _ = store.read_all(bench.folder)
    packing.pack(bench.folder, ())
    bench.run(design=bench.design(seeds="4"), retry_failed=True)
    good, refused = store.read_all(bench.folder)
    assert not refused
    assert (len(before), len(good)) == (12, 16)
    assert {record.status for record in good} == {"complete"}
    assert len(list((bench.folder / "records").glob("*.json"))) == 8
    assert sorted(bench.toy.counts().values()) == [1] * 12 + [2] * 4
    assert check.verify(bench.folder).problems == ()
    made = packing.pack(bench.folder, ())
    retried = {record.fingerprint for record in good if record.config["seed"] == 1}
    assert (made.records, {*made.replaced}) == (16, retried)
    assert store.read_all(bench.folder) == (good, [])
    assert check.verify(bench.folder).problems == ()
    bench.run(design=bench.design(seeds="4"))
    assert sorted(bench.toy.counts().values()) == [1] * 12 + [2] * 4


def test_one_record_is_read_by_its_place(folder):
    good, _ = store.read_all(folder)
    packing.pack(folder, ())
    assert all(artifacts.kinds(record, folder) in (["confusion"], []) for record in good)
    for record in good:
        assert store.exists(folder, record.fingerprint)
        assert store.read(store.path_of(folder, record.fingerprint)) == record
    other = overrides.fingerprint(overrides.override(synthetic.digits(), {"seed": 99}))
    assert not store.exists(folder, other)
    with pytest.raises(RecordError):
        store.read(store.path_of(folder, other))


def test_only_what_is_packed_can_be_unpacked(folder):
    before = contents(folder)
    assert run(folder, "unpack") == 2
    assert contents(folder) == before


def test_records_behind_a_link_stay(folder, tmp_path, capsys):
    shutil.move(folder / "records", tmp_path / "elsewhere")
    (folder / "records").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    assert run(folder, "pack") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert contents(tmp_path) == before
