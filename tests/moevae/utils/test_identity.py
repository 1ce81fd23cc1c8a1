"""Identities of data and code: digests change exactly with content that affects numbers."""

import hashlib
import importlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import moevae
from moevae.config.schema import DataConfig
from moevae.data.datasets import identify, load_images, load_labels
from moevae.utils import identity
from moevae.utils.identity import DataIdentity, differences, merged

IMAGES = np.random.default_rng(0).random((20, 2, 8)).astype(np.float32)
LABELS = np.arange(20) % 3


def identified(folder: Path, images=IMAGES, labels=LABELS, **data):
    np.savez(folder / "own.npz", images=images, **({} if labels is None else {"labels": labels}))
    config = DataConfig(name=f"npz:{folder / 'own.npz'}", **data)
    return identify(load_images(config), load_labels(config))


def test_any_change_of_images_or_labels_is_another_identity(tmp_path):
    pixel, label = IMAGES.copy(), LABELS.copy()
    pixel[7, 1, 3] = 1 - pixel[7, 1, 3]
    label[7] = (label[7] + 1) % 3
    found = [
        identified(tmp_path),
        identified(tmp_path, images=pixel),
        identified(tmp_path, images=IMAGES.reshape(20, 4, 4)),
        identified(tmp_path, labels=label),
        identified(tmp_path, labels=np.array(["a", "b", "c"])[LABELS]),
        identified(tmp_path, labels=np.array(["a", "b", "d"])[LABELS]),
        identified(tmp_path, labels=None),
    ]
    for one, other in itertools.combinations(found, 2):
        assert one != other
        assert differences(one, other)


def test_a_split_of_the_same_images_has_the_same_identity(tmp_path):
    one = identified(tmp_path)
    assert identified(tmp_path, train_size=5, validation_size=4, split_seed=3, imbalance=0.5) == one
    assert one.images == hashlib.sha256(IMAGES.tobytes()).hexdigest()


def test_unknown_parts_of_an_identity_are_compatible():
    one = DataIdentity("a", None, None)
    other = DataIdentity("a", "b", (2, 3))
    assert differences(one, other) == differences(other, one) == []
    assert merged(one, other) == merged(other, one) == other
    assert differences(DataIdentity("a", "", None), other)
    assert differences(one, DataIdentity("c", None, None))


def test_official_classes_have_their_digest():
    labels = load_labels(DataConfig(name="digits"))
    assert labels is not None
    assert len(labels.sha256) == 64
    assert labels.sha256 == load_labels(DataConfig(name="digits", train_size=100)).sha256


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "toycode"
    (folder / "below").mkdir(parents=True)
    for name in ("__init__.py", "below/__init__.py", "below/a.py"):
        (folder / name).write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def source(name="toycode") -> str:
    identity._code_at_start.cache_clear()
    return identity.code_identity(name).source


def test_code_is_identified_by_its_source_files(package):
    first = source()
    (package / "notes.txt").write_text("nothing that computes")
    assert source() == first
    (package / "below" / "a.py").write_text("x = 2\n")
    changed = source()
    assert changed != first
    (package / "below" / "a.py").write_text("x = 1\n")
    assert source() == first
    (package / "below" / "a.py").rename(package / "below" / "b.py")
    assert source() not in (first, changed)


def test_a_running_process_keeps_the_identity_it_began_with(package):
    first = source()
    (package / "below" / "a.py").write_text("x = 2\n")
    assert identity.code_identity("toycode").source == first


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_an_installation_does_not_name_the_commit_of_a_repository_around_it(tmp_path):
    """A wheel in an environment inside another repository, then the same files committed there."""
    place = tmp_path / ".venv" / "lib"
    place.mkdir(parents=True)
    shutil.copytree(Path(moevae.__file__).parent, place / "moevae", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "theirs.txt").write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "theirs.txt", ".gitignore")
    git(tmp_path, "commit", "--quiet", "--message", "theirs")
    script = "from moevae.utils import provenance; print(provenance.commit())"

    def commit(**environment: str) -> str:
        variables = {**os.environ, "PYTHONPATH": str(place), **environment}
        return subprocess.run(
            [sys.executable, "-c", script],
            cwd=place,
            env=variables,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert commit() == "(None, None)"
    assert commit(GIT_DIR=str(tmp_path / ".git"), GIT_WORK_TREE=str(tmp_path)) == "(None, None)"
    git(tmp_path, "add", "--force", ".venv/lib/moevae")
    git(tmp_path, "commit", "--quiet", "--message", "ours")
    assert commit() == str((git(tmp_path, "rev-parse", "HEAD"), False))
    (place / "moevae" / "errors.py").write_text("")
    assert commit() == str((git(tmp_path, "rev-parse", "HEAD"), True))


@pytest.fixture
def late_package(tmp_path, monkeypatch):
    """Write a package of three modules and import the first; return its folder."""
    folder = tmp_path / "latecode"
    folder.mkdir()
    for name in ("__init__", "early", "late", "never"):
        (folder / f"{name}.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("latecode.early")
    yield folder
    identity._code_at_start.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "latecode"]:
        del sys.modules[name]


def test_only_a_file_that_changed_before_its_import_is_of_other_code(late_package):
    known = identity.code_identity("latecode")
    for name in ("early", "late", "never"):
        (late_package / f"{name}.py").write_text("VALUE = 22\n")
    assert identity.changed_imports("latecode") == []
    assert importlib.import_module("latecode.late").VALUE == 22
    assert identity.changed_imports("latecode") == ["latecode/late.py"]
    assert identity.code_identity("latecode") == known


def test_a_file_that_changes_after_its_import_has_no_effect(late_package):
    identity.code_identity("latecode")
    importlib.import_module("latecode.late")
    assert identity.changed_imports("latecode") == []
    (late_package / "late.py").write_text("VALUE = 22\n")
    assert identity.changed_imports("latecode") == []
