"""A report is rewritten exactly if its records or code have changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from moevae.errors import RecordError
from studies.cli.report import write_page
from studies.report import build, cache, index
from studies.report.sections import order
from studies.testing import synthetic

AXES = {"routing.kind": ["soft", "hard"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study with a short report."""
    monkeypatch.setattr(order, "SECTIONS", ())
    folder = synthetic.write(tmp_path / "s", synthetic.plan(AXES, seeds=[0, 1]))
    write_page(folder)
    return folder


@pytest.fixture
def made(monkeypatch):
    """The folders of the reports that were written."""
    found = []
    real = build.write_report

    def write(folder, **options):
        found.append(folder.name)
        return real(folder, **options)

    monkeypatch.setattr(build, "write_report", write)
    return found


def test_an_unchanged_report_is_not_rewritten(folder, made):
    assert write_page(folder) == folder / "report.md"
    assert made == []
    write_page(folder, overwrite=True)
    assert made == ["s"]


def _record(folder):
    synthetic.change(sorted((folder / "records").glob("*.json"))[0], lambda tree: tree.update(commit=None))


def _more(folder):
    (folder / "records" / "0123456789abcdef.json").write_text("{}")


def _table_gone(folder):
    (folder / "table.csv").unlink()


def _record_with_its_old_size_and_time(folder):
    path = sorted((folder / "records").glob("*.json"))[0]
    before = path.stat()
    synthetic.change(path, lambda tree: tree.update(commit="0" * len(tree["commit"])))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("change", [_record, _more, _table_gone, _record_with_its_old_size_and_time])
def test_a_change_rewrites_the_report_once(folder, made, change):
    change(folder)
    write_page(folder)
    write_page(folder)
    assert made == ["s"]


def test_other_code_rewrites_the_report(folder, made, monkeypatch):
    monkeypatch.setattr(cache, "_code", lambda: "another")
    write_page(folder)
    assert made == ["s"]


def test_a_record_that_links_to_itself_is_named_and_nothing_more(folder, made):
    link = folder / "records" / "link.json"
    link.symlink_to(link)
    write_page(folder)
    write_page(folder)
    assert made == [folder.name]
    assert "link.json" in (folder / "report.md").read_text()


def test_an_edited_page_is_refused(folder):
    (folder / "report.md").write_text("mine")
    with pytest.raises(RecordError):
        write_page(folder)
    assert (folder / "report.md").read_text() == "mine"


def test_a_folder_that_was_copied_cannot_claim_to_be_current(folder, made):
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    write_page(copy)
    assert made == ["copy"]


def test_the_index_counts_only_what_has_changed(folder, monkeypatch):
    page = index.write_index(folder.parent, asked=True).read_text()
    counted = []
    real = index._made_row
    monkeypatch.setattr(index, "_made_row", lambda folder: counted.append(folder.name) or real(folder))
    assert index.write_index(folder.parent).read_text() == page
    assert counted == []
    sorted((folder / "records").glob("*.json"))[0].unlink()
    assert "partial, 1 run missing" in index.write_index(folder.parent).read_text()
    assert counted == ["s"]


def test_a_cache_that_cannot_be_written_changes_nothing(folder, monkeypatch, tmp_path, made):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_page(folder)
    assert made == ["s"]


def test_a_report_of_unchanged_records_imports_nothing_that_draws_or_computes(folder):
    write_page(folder)
    code = """
import sys
from studies.__main__ import main
assert main(["report", "s", "--results", sys.argv[1]]) == 0
loaded = {"matplotlib", "pandas", "scipy", "torch", "optuna"} & sys.modules.keys()
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code, str(folder.parent)], check=True)
