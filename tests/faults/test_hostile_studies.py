"""Hostile descriptions, records and pictures of studies: named, and the others are used."""

import hashlib
import json
import warnings

import hostile
import numpy as np
import pytest
from limits import FILES, OUTCOME, SIZED, bounded, count, each, some
from PIL import Image

from moevae.errors import MoevaeError
from studies import __main__ as cli
from studies.records import store, study_file
from studies.testing import synthetic

AXES = {"objective.balance_weight": [0.0, 20.0]}


@pytest.fixture
def study(tmp_path, undrawn):
    """A study of two cells and two seeds."""
    plan = synthetic.plan(AXES, seeds=[0, 1], baselines=["k-means"], left_out=["one was left out"])
    return synthetic.write(tmp_path / "results" / "made-up", plan, synthetic.record)


def descriptions(tree):
    """Yield the broken variants of a `study.json`, without variants that are valid."""
    yield from hostile.jsons(json.dumps(tree).encode())
    searched = tree | {
        "search": {"space": {"x": "{}"}, "objectives": ["nmi"], "rule": "x", "oracle": False},
    }
    for start in (tree, searched):
        swaps = [(f"{name}", hostile.swapped(start, at, wrong)) for name, (at, wrong) in hostile.swaps(start)]
        for name, made in [*swaps, *hostile.lacking(start)]:
            yield name, hostile.put(json.dumps(made).encode())
    for word, change in {
        "cells without end": {"cells": tree["cells"] * 100_000},
        "seeds without end": {"seeds": list(range(200_000))},
        "a plan without end": {"cells": tree["cells"] * 1000, "seeds": list(range(9_999))},
        "an axis of no setting": {"axes": {"a": [1]}, "cells": [{"a": 1}], "baseline": {"a": 1}},
        "a baseline elsewhere": {"baseline": {"objective.balance_weight": 7.0}},
        "a search of nothing": searched
        | {"search": {"space": {}, "objectives": [], "rule": "", "oracle": True}},
    }.items():
        yield word, hostile.put(json.dumps(tree | change).encode())


def is_broken(folder):
    try:
        study_file.read(folder)
    except MoevaeError:
        return True
    return False


def use(folder, capsys):
    """List and verify a study, and write its report."""
    with bounded(), warnings.catch_warnings(action="error"):
        for words, codes in (("list", {0}), ("verify", {0, 1, 2}), ("report", {0})):
            name = {"list": [], "verify": [folder.name], "report": [folder.name, "--fewer-runs"]}[words]
            assert cli.main([words, *name, "--results", str(folder.parent)]) in codes
    assert len(capsys.readouterr().err.splitlines()) <= 1  # a search whose space is unknown is refused by one


@SIZED
def test_descriptions_of_studies(most, study, capsys, refused, reliability):
    """A broken description is listed as broken and rejected by name; a valid variant is used."""
    path, results = study / "study.json", study.parent
    tree = json.loads(path.read_bytes())
    path.unlink()
    other = synthetic.write(results / "good", synthetic.plan(AXES, seeds=[0]), synthetic.record)
    used = 0

    def check(name):
        nonlocal used
        if not is_broken(study):
            used += 1
            use(study, capsys)
            return
        for words in (["verify"], ["report"], ["dashboard"], ["rebuild-storage"]):
            refused(cli.main, *words, "made-up", "--results", results)
        with bounded():
            assert cli.main(["list", "--results", str(results), "--json"]) == 0
            listed = {line["name"]: line["state"] for line in json.loads(capsys.readouterr().out)["studies"]}
            assert listed == {"made-up": "broken", "good": "complete"}

    number = count(each(descriptions(tree), path, most), check)
    path.write_text("[]")
    assert cli.main(["report", "--results", str(results)]) == 2
    assert str(other / "report.md") in capsys.readouterr().out
    fault = f"{number} descriptions of studies, {used} of them usable: list, report, verify, dashboard"
    reliability(FILES, fault, f"{OUTCOME}; `list` marks it as broken and shows the others", sized=True)


def contents(tree):
    """Yield broken records with a matching digest."""
    swaps = [(name, hostile.swapped(tree, at, wrong)) for name, (at, wrong) in hostile.swaps(tree)]
    yield from [*swaps, *hostile.lacking(tree)]
    for file in (
        "../study.json",
        "/etc/passwd",
        "/dev/zero",
        "",
        ".",
        "..",
        "a/b.png",
        "a\\b.png",
        "a\0b.png",
        "x.json",
    ):
        yield f"a picture {file!r}", hostile.swapped(tree, ("pictures", "samples", "file"), file)
    bare = {"config": {"seed": tree["config"]["seed"], "objective": tree["config"]["objective"]}}
    yield "a configuration of few words", tree | bare


@SIZED
def test_contents_of_records(most, study, capsys, reliability):
    """A rejected record is named; a valid variant is used in every page."""
    path = sorted((study / "records").glob("*.json"))[0]
    tree = json.loads(path.read_bytes())
    del tree["digest"]
    used = 0

    def check(case):
        nonlocal used
        _, made = case
        synthetic.change(path, lambda kept: (kept.clear(), kept.update(made)))
        with bounded():
            (bad,) = store.read_all(study)[1] or [None]
        if bad:
            message = str(bad)
            assert str(path) in message
            assert len(message) < 2000
            assert "\n" not in message
            return
        used += 1
        use(study, capsys)

    cases = some(contents(tree), most)
    number = count(cases, check)
    use(study, capsys)
    fault = f"{number} contents of records with a matching digest, {used} of them usable"
    reliability(FILES, fault, "broken records are named; pages show the usable ones", sized=True)


@SIZED
def test_files_of_records(most, study, capsys, reliability):
    """`list`, `report` and `verify` name each broken record and use the others."""
    folder = study / "records"
    whole = sorted(folder.glob("*.json"))[0]
    cases = some(hostile.jsons(whole.read_bytes()), most)
    names = []
    for number, (_, write) in enumerate(cases):
        names.append(f"{number:016x}.json")
        write(folder / names[-1])
    with bounded():
        assert cli.main(["list", "--results", str(study.parent), "--json"]) == 0
        (line,) = json.loads(capsys.readouterr().out)["studies"]
        assert line["complete"] == 4
        assert cli.main(["verify", "made-up", "--results", str(study.parent)]) == 1
        output = capsys.readouterr().out
        assert all(name in output for name in names)
        assert cli.main(["report", "made-up", "--results", str(study.parent)]) == 0
    page = (study / "report.md").read_text()
    assert all(name in page for name in names)
    reliability(FILES, f"{len(names)} records, all in one study", "each named, none counted", sized=True)


@SIZED
def test_pictures_of_records(most, study, tmp_path, capsys, reliability):
    """A file with a matching digest that is not a picture: the page says so."""
    paths = sorted((study / "records").glob("*.json"))
    image = next((study / "records").glob("*.png"))
    huge = tmp_path / "huge.png"
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(huge)
    cases = [*hostile.anywhere(image.read_bytes(), count=4), ("huge", hostile.put(huge.read_bytes()))]
    wrong = 0

    def check(case):
        nonlocal wrong
        for path in paths:
            place = path.with_name(f"{path.stem}-samples.png")
            place.unlink(missing_ok=True)
            case[1](place)
            content = place.read_bytes() if place.is_file() else b""
            digest = hashlib.sha256(content).hexdigest()
            synthetic.change(
                path, lambda tree, digest=digest: tree["pictures"]["samples"].update(sha256=digest)
            )
        if len(store.read_all(study)[0]) == len(paths):
            use(study, capsys)
            wrong += "cannot be shown" in (study / "report.md").read_text()
        for path in paths:
            place = path.with_name(f"{path.stem}-samples.png")
            place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()

    number = count(cases[-1:] if most < 10 else cases, check)
    assert wrong
    reliability(
        FILES,
        f"{number} pictures with a matching digest",
        "named, or shown as missing in the page",
        sized=True,
    )
