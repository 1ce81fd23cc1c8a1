"""Records are written atomically: neither a reader nor a crash leaves a partial one."""

import os

import pytest
from small import config

from moevae.config.overrides import fingerprint
from moevae.training import snapshot_files
from moevae.utils.io import write_atomically
from studies.records import store, study_file
from studies.testing import synthetic
from studies.testing.toys import outcome

RUN = config()
NAME = fingerprint(RUN)

PLAN = synthetic.plan({"routing.kind": ["soft"]})

WRITERS = {
    "record": (
        f"records/{NAME}.json",
        lambda folder, number: store.write_record(folder, outcome(RUN, failed=bool(number))),
    ),
    "picture": (
        f"records/{NAME}-samples.png",
        lambda folder, number: store.write_record(
            folder, outcome(RUN).model_copy(update={"files": {f"{NAME}-samples.png": b"%d" % number * 9999}})
        ),
    ),
    "plan": (
        "study.json",
        lambda folder, number: study_file.write(folder, PLAN | {"title": f"{number}" * 999}),
    ),
    "snapshot": (
        "a.snapshot",
        lambda folder, number: snapshot_files.write(folder / "a.snapshot", [RUN], {}, {"number": number}),
    ),
    "any file": ("file", lambda folder, number: write_atomically(folder / "file", b"%d" % number * 9999)),
}
"""Where each file stands, and how it is written first and again."""


@pytest.fixture(params=WRITERS)
def writer(request, tmp_path):
    place, write = WRITERS[request.param]
    return tmp_path / place, lambda number: write(tmp_path, number)


def test_readers_of_a_file_in_replacement_read_the_old_content(writer):
    path, write = writer
    write(0)
    old = path.read_bytes()
    with path.open("rb", buffering=0) as reader:
        start = reader.read(1)
        write(1)
        assert start + reader.read() == old
    assert path.read_bytes() != old


def test_a_crash_before_all_is_on_the_disk_leaves_what_was_there(writer, monkeypatch):
    path, write = writer

    def crash(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            write(0)
        assert not [found for found in path.parent.iterdir() if found.is_file()]
    write(0)
    old = path.read_bytes()
    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write(1)
    assert path.read_bytes() == old
