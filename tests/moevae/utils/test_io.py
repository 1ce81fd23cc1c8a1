"""Files are written completely or not at all; only own temporary files are removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moevae.utils import io
from studies.records import lock

HALF = """
import os, sys
from pathlib import Path
from moevae.utils import io as files
def stop(_):
    print("writing", flush=True)
    sys.stdin.read()
    os._exit(9)
os.fsync = stop
files.write_atomically(Path(sys.argv[1]), b"half")
"""


@pytest.fixture
def writer():
    """Start a process that stops in the middle of writing a file; it is killed when its input ends."""
    started = []

    def start(path: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HALF, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"writing\n"
        return process

    yield start
    for process in started:
        process.communicate()


def test_removal_of_temporary_files_keeps_those_in_use(tmp_path, writer):
    process = writer(tmp_path / "figures" / "a.png")
    folder = tmp_path / "figures"
    (half,) = folder.iterdir()
    io.remove_temp_files(folder)
    assert list(folder.iterdir()) == [half]
    process.communicate()
    assert list(folder.iterdir()) == [half]
    io.remove_temp_files(folder)
    assert list(folder.iterdir()) == []


def test_a_driver_that_starts_leaves_a_report_that_is_being_written(tmp_path, writer):
    writer(tmp_path / "report.md")
    (half,) = tmp_path.iterdir()
    with lock.hold(tmp_path):
        assert half.exists()


def test_removal_of_temporary_files_keeps_files_of_the_user(tmp_path):
    mine = [tmp_path / name for name in (".notes.tmp", ".a.1234.tmp", ".tmp", "a.moevae.tmp")]
    for path in mine:
        path.write_text("mine")
    with lock.hold(tmp_path):
        assert all(path.read_text() == "mine" for path in mine)


def test_a_name_of_any_legal_length_can_be_written(tmp_path):
    path = tmp_path / ("a" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    io.write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    with pytest.raises(OSError, match="too long") as caught:
        io.write_atomically(tmp_path / ("a" * 256), b"content")
    assert caught.value.filename == str(tmp_path / ("a" * 256))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
