"""Files made to break their reader: one line and exit code 2, within limits of time and memory."""

import contextlib
import hashlib
import json
import re
import resource
import signal
import warnings
from dataclasses import replace

import hostile
import numpy as np
import psutil
import pytest
from PIL import Image

from moevae import __main__ as core
from moevae.config import overrides
from moevae.config import schema as configs
from moevae.data import inputs
from moevae.data.datasets import load_images
from moevae.errors import MoevaeError, RecordError
from moevae.training import checkpoint
from moevae.training.checkpoint import Trained
from moevae.training.population import Population
from studies import __main__ as cli
from studies.records import store, study_file
from studies.report import literature
from studies.testing import synthetic

torch = pytest.importorskip("torch")

SECONDS = 20
"""Limit of processor time of a case; a case that waits is ended by the timeout of its test."""
MEMORY = 1 << 30
"""Limit of additional memory of a case, in bytes."""

SIZED = pytest.mark.parametrize("most", [3, pytest.param(60, marks=pytest.mark.faults)])
"""Number of cases of each kind, evenly spaced among all."""
FILES = "hostile files"
OUTCOME = f"each one line and exit code 2, within {SECONDS} s and {MEMORY >> 20} MiB; nothing written"


@contextlib.contextmanager
def bounded():
    """Limit time and memory."""

    def late(*_):
        raise TimeoutError(f"not done in {SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture
def refused(capsys):
    """Run a command that ends with exit code 2; return its error line."""

    def run(main, *command):
        capsys.readouterr()
        with bounded(), warnings.catch_warnings(action="error"):
            try:
                code = main([*map(str, command)])
            except SystemExit as stop:
                code = stop.code
        told = capsys.readouterr()
        (line,) = told.err.splitlines()
        assert (code, told.out, line[:7]) == (2, "", "error: ")
        assert len(line) < 2000
        return line

    return run


def some(cases, most):
    """Return all cases, or a number of them evenly spaced."""
    every = [*cases]
    return every[:: -(-len(every) // most)]


def each(cases, path, most):
    """Write the cases one after the other; yield their names."""
    for name, write in some(cases, most):
        write(path)
        yield name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)


def count(names, check):
    """Check every case and report all that fail; return the number of cases."""
    number, wrong = 0, []
    for name in names:
        number += 1
        try:
            check(name)
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    assert not wrong, f"{len(wrong)} of {number} cases:\n" + "\n".join(wrong)
    return number


@SIZED
def test_npz_files(most, tmp_path, refused, reliability):
    path = tmp_path / "own.npz"
    command = ["train", "--data", f"npz:{path}", "--set", "train.epochs=1", "--output", tmp_path / "runs"]
    cases = each(hostile.npzs(), path, most)
    number = count(cases, lambda name: str(path) in refused(core.main, *command) or pytest.fail("unnamed"))
    assert not (tmp_path / "runs").exists()
    reliability(FILES, f"{number} npz files, given to `train`", OUTCOME, sized=True)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run of digits, 8 x 8 pixels, that is not trained."""
    path = tmp_path_factory.mktemp("small") / "run.safetensors"
    config = overrides.override(configs.RunConfig(), {"model.num_experts": 2, "train.epochs": 1})
    images = load_images(config.data)
    untrained = Population([config], images, torch.device("cpu")).result()
    checkpoint.save(path, Trained.of(untrained, 0, images))
    return path


@SIZED
def test_npy_files(most, tmp_path, refused, reliability, small_run):
    path = tmp_path / "own.npy"
    command = ["assign", small_run, path, "--output", tmp_path / "table.csv"]
    cases = each(hostile.npys(), path, most)
    number = count(cases, lambda name: str(path) in refused(core.main, *command) or pytest.fail("unnamed"))
    assert not (tmp_path / "table.csv").exists()
    reliability(FILES, f"{number} npy files, given to `assign`", OUTCOME, sized=True)


@SIZED
def test_image_files(most, tmp_path, refused, reliability, small_run):
    """One bad image among good ones: refused by `train` and by `assign`, and named; or skipped."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(folder / f"good-{number}.png")
    path = folder / "bad.png"
    train = ["train", "--data", folder, "--set", "train.epochs=1", "--output", tmp_path / "runs"]
    assign = ["assign", small_run, folder, "--output", tmp_path / "table.csv"]

    def check(name):
        for command in (train, assign):
            assert "bad.png" in refused(core.main, *command)
        with bounded():
            found = inputs.read(folder, (8, 8), "skip")
        assert found.names == tuple(f"good-{number}.png" for number in range(4))
        assert [file.partition("/")[0] for file, _ in found.bad] == ["bad.png"]

    number = count(each(hostile.pictures(), path, most), check)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "table.csv").exists()
    reliability(
        FILES, f"{number} image files in a folder, given to `train` and `assign`", OUTCOME, sized=True
    )


@SIZED
def test_idx_files(most, tmp_path, refused, reliability, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    number = 0
    files = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
    for file in files[: None if most > 10 else 1]:
        for other in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"):
            (folder / other).write_bytes(b"\x1f\x8b")
        command = ["train", "--data", "mnist", "--data-root", tmp_path, "--output", tmp_path / "runs"]
        cases = each(hostile.anywhere(b"\x1f\x8b\x08" + bytes(100), count=4), folder / file, most)
        number += count(cases, lambda name, command=command: refused(core.main, *command))
    with (folder / "train-images-idx3-ubyte").open("wb") as sparse:
        sparse.truncate(1 << 33)
    refused(core.main, *command)
    reliability(FILES, f"{number + 1} files of MNIST, given to `train`", OUTCOME, sized=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint."""
    changes = {
        "model.num_experts": 2,
        "model.expert_hidden": [4],
        "model.gate_hidden": [4],
        "train.epochs": 1,
    }
    config = overrides.override(configs.RunConfig(), changes)
    from moevae.data.datasets import load_images

    images = load_images(config.data)
    training = Population([config], images, torch.device("cpu"))
    path = tmp_path_factory.mktemp("run") / "run.safetensors"
    checkpoint.save(path, replace(Trained.of(training.result(), 0, images), unusual_below=-30.0))
    return path.read_bytes()


@SIZED
def test_checkpoints(most, tmp_path, refused, reliability, whole):
    path = tmp_path / "run.safetensors"
    words = ("info", "evaluate", "sample", "explore")
    turn = iter(words * 1000)
    cases = each(hostile.checkpoints(whole), path, most)
    number = count(cases, lambda name: refused(core.main, next(turn), path))
    assert not list(tmp_path.iterdir())
    reliability(FILES, f"{number} checkpoints, given to {', '.join(words)}", OUTCOME, sized=True)


@SIZED
def test_profiles(most, tmp_path, refused, reliability):
    path = tmp_path / "mine.toml"
    words = ["--results", tmp_path / "results"]
    turn = iter(
        ([["ablate", "--profile", path, *words], ["search", "--profile", path, "--dry-run", *words]]) * 500
    )
    cases = each(hostile.profiles(), path, most)
    number = count(cases, lambda name: refused(cli.main, *next(turn)))
    assert not (tmp_path / "results").exists()
    reliability(FILES, f"{number} profiles, given to `ablate` and `search`", OUTCOME, sized=True)


@SIZED
def test_published_numbers(most, tmp_path, reliability):
    path = tmp_path / "published.toml"

    def check(name):
        with bounded(), pytest.raises(RecordError) as caught:
            literature.published.__wrapped__(path)
        assert "\n" not in str(caught.value)

    good = literature.PATH.read_bytes()
    extra = [
        ("a number", hostile.put(b"clustering = 1\nlikelihood = []")),
        ("an unknown key", hostile.put(b'colour = "red"\n' + good)),
        ("a list", hostile.put(b"clustering = [1]\nlikelihood = [[]]")),
        ("deep", hostile.put(b"a = " + b"[" * hostile.DEEP)),
    ]
    files = [case for case in hostile.anywhere(good) if not re.search("changed|torn", case[0])]
    number = count(each([*files, *extra], path, most), check)
    reliability(FILES, f"{number} files of published numbers", "each one line", sized=True)


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
        told = capsys.readouterr().out
        assert all(name in told for name in names)
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


@pytest.mark.parametrize(
    "value", ["[" * 50_000, '{"a":' * 50_000, "9" * 5000, "1e999", "\\ud800", '"\\ud800"']
)
def test_settings_as_they_are_typed(value, refused, tmp_path):
    refused(core.main, "train", "--set", f"model.num_experts={value}", "--output", tmp_path / "runs")
    refused(cli.main, "ablate", "--set", f"train.epochs={value}", "--results", tmp_path / "results")
