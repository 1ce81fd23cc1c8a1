"""A report replaces and removes what reports wrote, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from moevae.errors import RecordError
from moevae.utils.io import write_atomically
from studies import __main__ as cli
from studies.cli import report
from studies.report import index, leaderboard_entries, manifest
from studies.report.build import write_html, write_report
from studies.report.sections import order
from studies.testing import synthetic

ROOT = Path(__file__).parents[3]
AXES = {"routing.kind": ["soft", "hard"]}
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """A page of one section with one figure: what a page shows is tested elsewhere."""

    def section(analysis, page) -> None:
        page.show("best", {"A figure": SimpleNamespace(png=b"a figure", others={})})

    monkeypatch.setattr(order, "SECTIONS", (section,))


def study(folder: Path, seeds=(0, 1), name: str = "made-up") -> Path:
    return synthetic.write(
        folder,
        synthetic.plan(AXES, seeds=seeds, name=name),
        lambda config: synthetic.record(config, pictures=False),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, env=CLEAN)


@pytest.mark.parametrize("listed", [True, False], ids=["with a manifest", "of an earlier version"])
def test_files_of_the_user_stay_and_those_of_an_earlier_page_go(tmp_path, listed) -> None:
    folder = study(tmp_path / "s")
    write_report(folder)
    plain = contents(folder)
    mine = ("figures/mine.png", "tables/mine.csv", "report.txt", "figures/notes.txt", "table.csv.bak")
    for name in mine:
        (folder / name).write_text("mine")
    page = (folder / "report.md").read_bytes()
    (folder / "figures" / "old.png").write_bytes(b"of an earlier page")
    if listed:
        manifest.read(folder).add({"figures/old.png": b"of an earlier page"})
    else:
        (folder / manifest.NAME).unlink()
        (folder / "report.md").write_bytes(page + b"\n![old](figures/old.png)\n")
    write_report(folder)
    assert contents(folder) == plain | dict.fromkeys(mine, b"mine")


def test_a_figure_of_an_earlier_page_that_the_user_changed_stays(tmp_path) -> None:
    folder = study(tmp_path / "s")
    manifest.read(folder).add({"figures/old.png": b"of an earlier page", "figures/mine.png": b"and another"})
    (folder / "figures" / "mine.png").write_bytes(b"mine")
    write_report(folder)
    assert not (folder / "figures" / "old.png").exists()
    assert (folder / "figures" / "mine.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["report.md", "table.csv", "tables/runs.csv", manifest.NAME])
def test_a_file_that_no_report_wrote_is_kept_and_the_report_refused(tmp_path, name) -> None:
    folder = study(tmp_path / "s")
    write_atomically(folder / name, b"mine\n")
    before = contents(folder)
    with pytest.raises(RecordError, match=str(folder / name)):
        write_report(folder)
    assert contents(folder) == before


def test_an_edited_page_is_replaced_only_with_overwrite(tmp_path, capsys) -> None:
    folder = study(tmp_path / "s")
    page = write_report(folder)
    written = page.read_bytes()
    page.write_bytes(written + b"My own conclusion.\n")
    command = ["report", "s", "--results", str(tmp_path)]
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--overwrite" in line
    assert page.read_bytes().endswith(b"My own conclusion.\n")
    assert cli.main([*command, "--overwrite"]) == 0
    assert page.read_bytes() == written


def test_a_refused_study_does_not_keep_others_from_their_reports(tmp_path, capsys) -> None:
    for name in ("a", "b"):
        study(tmp_path / name)
    (tmp_path / "a" / "report.md").write_text("mine")
    assert cli.main(["report", "--results", str(tmp_path)]) == 2
    assert (tmp_path / "a" / "report.md").read_text() == "mine"
    assert (tmp_path / "b" / "report.md").exists()


@pytest.mark.parametrize("name", ["figures", "tables", "report.md", "table.csv"])
def test_nothing_is_written_or_removed_through_a_link(tmp_path, name) -> None:
    folder, elsewhere = study(tmp_path / "s"), tmp_path / "elsewhere"
    write_report(folder)
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    if elsewhere.is_dir():
        manifest.read(folder).add({f"{name}/old.{'png' if name == 'figures' else 'csv'}": b"old"})
        (elsewhere / "mine.png").write_text("mine")
    before = contents(tmp_path)
    for path in (folder / "records").glob("*.json"):
        path.unlink()
        break
    for options in ({}, {"overwrite": True}):
        with pytest.raises(RecordError, match=str(folder / name)):
            write_report(folder, fewer_runs=True, **options)
    assert contents(elsewhere) == {
        key.removeprefix("elsewhere/"): value for key, value in before.items() if key.startswith("elsewhere/")
    }
    assert (folder / name).is_symlink()


@pytest.mark.parametrize("listed", [True, False], ids=["with a manifest", "of an earlier version"])
def test_a_page_of_more_runs_is_replaced_only_with_fewer_runs(tmp_path, capsys, listed) -> None:
    folder = study(tmp_path / "s")
    page = write_report(folder).read_bytes()
    if not listed:
        (folder / manifest.NAME).unlink()
    sorted((folder / "records").glob("*.json"))[0].write_text("{")
    command = ["report", "s", "--results", str(tmp_path)]
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"\b4 complete runs\b.*\b3\b", line)
    assert "--fewer-runs" in line
    assert (folder / "report.md").read_bytes() == page
    assert cli.main([*command, "--fewer-runs"]) == 0
    assert (folder / "report.md").read_bytes() != page


@pytest.mark.parametrize("after", range(1, 7))
def test_a_report_that_was_killed_can_be_made_again(tmp_path, monkeypatch, after) -> None:
    first = {"figures/a.png": b"a", "tables/b.csv": b"b", "report.md": b"first"}
    second = {"tables/b.csv": b"another b", "table.csv": b"c", "report.md": b"second"}
    manifest.read(tmp_path).replace(first)
    written = 0

    def some(path: Path, content: bytes) -> None:
        nonlocal written
        written += 1
        if written > after:
            raise KeyboardInterrupt
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_atomically", some)
        try:
            manifest.read(tmp_path).replace(second)
        except KeyboardInterrupt:
            assert written == after + 1
    third = {"table.csv": b"d", "report.md": b"third"}
    again = manifest.read(tmp_path)
    again.check(third)
    again.replace(third)
    there = contents(tmp_path)
    assert json.loads(there.pop(manifest.NAME))["files"].keys() == third.keys()
    assert there == third


def test_a_web_page_of_the_user_is_kept(tmp_path) -> None:
    folder = study(tmp_path / "s")
    page = write_report(folder)
    (folder / "report.html").write_text("mine")
    with pytest.raises(RecordError, match=str(folder / "report.html")):
        write_html(page)
    assert (folder / "report.html").read_text() == "mine"
    (folder / "report.html").unlink()
    write_html(page)
    made = (folder / "report.html").read_bytes()
    write_report(folder)
    write_html(page)
    assert (folder / "report.html").read_bytes() == made


def test_a_web_page_follows_its_report_unless_it_was_edited(tmp_path) -> None:
    folder = study(tmp_path / "s")
    write_html(report.write_page(folder))
    page, torn = folder / "report.html", folder / "records" / "0123456789abcdef.json"
    before = page.read_bytes()
    torn.write_text("torn")
    report.write_page(folder)
    assert b"0123456789abcdef" in page.read_bytes() != before
    page.write_text("mine")
    torn.unlink()
    report.write_page(folder)
    assert page.read_text() == "mine"


def test_the_manifest_names_every_file_and_its_digest(tmp_path) -> None:
    folder = study(tmp_path / "s")
    write_report(folder)
    files = json.loads((folder / manifest.NAME).read_text())["files"]
    there = contents(folder)
    assert set(files) == {
        name
        for name in there
        if not name.startswith("records/") and name not in ("study.json", manifest.NAME)
    }


def test_a_manifest_cannot_name_files_elsewhere(tmp_path) -> None:
    folder = study(tmp_path / "s")
    write_report(folder)
    (tmp_path / "mine.png").write_bytes(b"mine")
    tree = json.loads((folder / manifest.NAME).read_text())
    digest = manifest._digest(b"mine")
    tree["files"] |= {
        "figures/../../mine.png": [digest],
        str(tmp_path / "mine.png"): [digest],
        "study.json": [""],
    }
    (folder / manifest.NAME).write_text(json.dumps(tree))
    write_report(folder)
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


def test_an_index_does_not_replace_notes(tmp_path, capsys) -> None:
    study(tmp_path / "s")
    notes = tmp_path / "README.md"
    notes.write_text("notes\n")
    command = ["report", "s", "--results", str(tmp_path)]
    assert cli.main(command) == 0
    assert cli.main([*command, "--index"]) == 2
    assert str(notes) in capsys.readouterr().err
    assert notes.read_text() == "notes\n"


def test_a_requested_index_is_kept_up_to_date(tmp_path) -> None:
    study(tmp_path / "s")
    command = ["report", "s", "--results", str(tmp_path)]
    index = tmp_path / "README.md"
    assert cli.main(command) == 0
    assert not index.exists()
    assert cli.main([*command, "--index"]) == 0
    first = index.read_text()
    index.write_text(f"Notes before.\n\n{first}\nNotes after.\n")
    study(tmp_path / "t", name="another")
    assert cli.main(command) == 0
    now = index.read_text()
    assert now.startswith("Notes before.\n\n")
    assert now.endswith("\nNotes after.\n")
    assert "(t/report.md)" in now
    assert "(t/report.md)" not in first


def test_a_report_elsewhere_writes_no_index_there(tmp_path) -> None:
    study(tmp_path / "paper" / "quick")
    assert (
        cli.main(["report", str(tmp_path / "paper" / "quick"), "--results", str(tmp_path / "results")]) == 0
    )
    assert [path.name for path in (tmp_path / "paper").iterdir()] == ["quick"]


def test_an_index_names_no_private_study_and_no_folder_of_the_user(tmp_path) -> None:
    results = tmp_path / "repository" / "results"
    results.mkdir(parents=True)
    git(tmp_path / "repository", "init", "--quiet")
    (tmp_path / "repository" / ".gitignore").write_text("results/quick/\n")
    axes = {"data.name": [f"npz:{tmp_path}/secret/faces.npz", "mnist"], "routing.kind": ["soft", "hard"]}
    synthetic.write(
        results / "public",
        synthetic.plan(axes, seeds=[0], name="public"),
        lambda config: synthetic.record(config, pictures=False),
    )
    study(results / "quick", name="quick")
    private = study(tmp_path / "private", name="private")
    (results / "linked").symlink_to(private)
    (results / "broken").mkdir()
    (results / "broken" / "study.json").write_text("{")
    assert cli.main(["report", "public", "--results", str(results), "--index"]) == 0
    index = (results / "README.md").read_text()
    assert "(public/report.md)" in index
    assert "npz:faces.npz" in index.replace("\\", "")
    assert "broken" in index
    assert "quick/" not in index
    assert "linked" not in index
    assert str(tmp_path) not in index.replace("\\", "")


def test_the_leaderboard_of_an_index_has_no_private_study(tmp_path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    git(tmp_path, "init", "--quiet")
    secret = leaderboard_entries.entries().race[0]
    shutil.copy(ROOT / "results" / secret.file, results)
    (tmp_path / ".gitignore").write_text(f"results/iic-mnist/\nresults/{secret.file}\n")
    folders = [results / "deformable-mnist", results / "iic-mnist", tmp_path / "private"]
    for seed, folder in enumerate(folders):
        plan = synthetic.plan({"data.name": ["mnist"]}, seeds=[seed], name=folder.name)
        synthetic.write(folder, plan, lambda config: synthetic.record(config, pictures=False))
    (results / "imsat-mnist").symlink_to(folders[2])
    assert cli.main(["report", "deformable-mnist", "--results", str(results), "--index"]) == 0
    links = {
        line.split("](")[1].split("/")[0]
        for line in (results / "README.md").read_text().splitlines()
        if "/report.md)" in line
    }
    assert links == {"deformable-mnist"}
    assert "[*DEC (ClustPy)*" not in (results / "README.md").read_text()
    (tmp_path / ".gitignore").unlink()
    assert "[*DEC (ClustPy)*" in index.write_index(results).read_text()


def test_an_index_in_a_repository_of_another_owner_names_no_private_study(tmp_path, monkeypatch) -> None:
    """As in a container, where git refuses the repository of the user."""
    results = tmp_path / "results"
    results.mkdir()
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("results/private/\n")
    for name in ("public", "private"):
        study(results / name, name=name)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    page = index.write_index(results, asked=True).read_text()
    assert "(public/report.md)" in page
    assert "private/" not in page


def test_an_index_is_unchanged_without_git(tmp_path, monkeypatch) -> None:
    results = tmp_path / "results"
    results.mkdir()
    git(tmp_path, "init", "--quiet")
    study(results / "s")
    page = index.write_index(results, asked=True)
    before = page.read_bytes()
    study(results / "t")
    monkeypatch.setenv("PATH", str(tmp_path / "no git here"))
    assert index.write_index(results) is None
    assert page.read_bytes() == before
    with pytest.raises(RecordError):
        index.write_index(results, asked=True)
    (tmp_path / ".git").rename(tmp_path / "git")
    assert "(t/report.md)" in index.write_index(results).read_text()
