"""Migration of studies that schema 1 wrote: nothing is lost, and the same runs give the same numbers."""

import zipfile
from pathlib import Path

import pytest

from moevae.config.overrides import from_dict
from moevae.errors import RecordError
from studies.cli.run import run
from studies.execution.plan import design_of, make_plan
from studies.execution.run import run_population
from studies.records import migration, store, study_file
from studies.search import search as searches

ARCHIVE = Path(__file__).parents[2] / "support" / "schema1.zip"


@pytest.fixture
def old(tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "tiny"


def names_of(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_files_of_schema_1_are_refused_with_the_command_that_migrates_them(old):
    record = next((old / "records").glob("*.json"))
    for read in (lambda: study_file.read(old), lambda: store.read(record)):
        with pytest.raises(RecordError) as caught:
            read()
        assert f"moevae migrate {old}" in str(caught.value)


def test_a_migrated_study_has_nothing_left_to_train(old):
    before = {path.stem for path in (old / "records").glob("*.json")}
    assert migration.migrate(old).refused == ()
    plan = make_plan(design_of(old), old)
    assert (plan.asked, plan.pending) == (9, 0)
    records, errors = store.read_all(old)
    assert not errors
    assert {record.migrated_from for record in records} == before
    drawn = {picture.file for record in records for picture in record.pictures.values()}
    made = {f"{record.fingerprint}.json" for record in records}
    assert set(names_of(old / "records")) == drawn | made


def test_a_migrated_record_is_what_training_gives(old):
    migration.migrate(old)
    records, _ = store.read_all(old)
    for record in records:
        if record.method is not None:
            continue
        config = from_dict(record.config)
        (made,) = run_population([config])
        found = made.record.metrics["test"]
        expected = record.metrics["test"]
        assert expected.keys() <= found.keys()
        for name, value in expected.items():
            # Importance samples of older records were drawn in the order of the experts' probabilities.
            drawn = name.startswith("iwae")
            assert found[name] == pytest.approx(value, rel=0.02 if drawn else 1e-4, abs=1e-6), name
        assert made.record.elbo_terms.keys() == record.elbo_terms.keys()


def test_an_interrupted_migration_continues(old, monkeypatch):
    write, calls = migration.write_atomically, []

    def stop(path, content):
        calls.append(path)
        if len(calls) == 7:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(migration, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        migration.migrate(old)
    monkeypatch.setattr(migration, "write_atomically", write)
    migration.migrate(old)
    records, errors = store.read_all(old)
    assert (len(records), errors) == (9, [])


def test_a_record_that_cannot_be_trusted_is_named_and_stays(old):
    broken = sorted((old / "records").glob("*.json"))[0]
    content = broken.read_bytes().replace(b'"status"', b'"statas"')
    broken.write_bytes(content)
    (old / "study.db").write_bytes(b"a storage")
    found = migration.migrate(old, ("study.db",))
    assert len(found.refused) == 1
    assert str(broken) in found.refused[0]
    assert broken.read_bytes() == content
    assert (old / "study.db.schema-1").read_bytes() == b"a storage"
    with pytest.raises(RecordError, match=str(old)):
        migration.migrate(old)


def test_a_search_is_migrated(old, capsys):
    folder = old.parent / "found"
    assert run(["migrate", str(folder)], "studies") == 0
    assert capsys.readouterr().out.startswith("found: 6 records")
    search = searches.read(folder)
    assert [objective.name for objective in search.objectives] == ["mutual_information"]
    records, errors = store.read_all(folder)
    assert (len(records), errors) == (6, [])
