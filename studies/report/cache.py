"""What reports were made from, kept in the user's cache: a report whose inputs are the same is not repeated.

The cache is outside the study, so that a downloaded folder cannot claim that its page is up to date.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from moevae.errors import RecordError
from moevae.utils.content import parse_json, read
from moevae.utils.io import write_atomically
from studies.records import consensus, packed, study_file
from studies.report import manifest

LIBRARIES = ("matplotlib", "moevae", "numpy", "pandas", "pillow", "pydantic", "scipy", "tabulate")
"""Distributions whose version may change a page."""
SOURCES = (".py", ".toml")


def inputs(folder: Path) -> str:
    """Return the digest of everything that the page of a study depends on.

    These are the description of the study, its records, pictures and consensus, the code and the versions of
    libraries. Separate files of records are known by their size, times and inode, since reading thousands of
    them takes seconds; other files by their content.

    Args:
        folder: the folder of the study.
    """
    digest = hashlib.sha256(_code().encode())
    names = [study_file.NAME, packed.RECORDS, packed.PICTURES]
    if (folder / consensus.NAME).exists():
        names.append(consensus.NAME)
    _add(digest, folder, (folder / name for name in names))
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder / "records") as found:
        for entry in sorted(found, key=lambda entry: entry.name):
            digest.update(f"{entry.name}\n".encode(errors="surrogateescape"))
            with suppress(OSError):  # such as a link to itself, which the report names
                state = entry.stat()
                times = state.st_mtime_ns, state.st_ctime_ns
                digest.update(f"{state.st_mode} {state.st_size} {times} {state.st_ino}\n".encode())
    return digest.hexdigest()


def is_current(folder: Path, made_from: str) -> bool:
    """Return whether the files of a study's report are as a report wrote them from these inputs.

    Args:
        folder: the folder of the study.
        made_from: digest of the inputs, from `inputs`.
    """
    with suppress(RecordError, OSError):
        written = manifest.read(folder)
        return written.is_complete() and recall(folder, "page", made_from) == written.digest()
    return False


def note_page(folder: Path, made_from: str) -> None:
    """Note that the files of a study's report were written from these inputs.

    Args:
        folder: the folder of the study.
        made_from: digest of the inputs, from `inputs`.
    """
    note(folder, "page", made_from, manifest.read(folder).digest())


def recall(folder: Path, kind: str, made_from: str) -> Any:
    """Return a cached value; None if there is none for these inputs.

    Args:
        folder: the folder of the study.
        kind: name of the value.
        made_from: digest of the inputs.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        key, value = parse_json(read(_file(folder)))[kind]
        return value if key == made_from else None
    return None


def note(folder: Path, kind: str, made_from: str, value: Any) -> None:
    """Cache a value for a folder and its inputs. A cache that cannot be written is left as it is.

    Args:
        folder: the folder of the study.
        kind: name of the value.
        made_from: digest of the inputs.
        value: the value, as JSON data.
    """
    path = _file(folder)
    tree = {}
    with suppress(OSError, ValueError, TypeError):
        tree = dict(parse_json(read(path)))
    if tree.get(kind) != [made_from, value]:
        with suppress(OSError):
            write_atomically(path, json.dumps({**tree, kind: [made_from, value]}).encode())


def _file(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    return Path(platformdirs.user_cache_dir("moevae", appauthor=False)) / "reports" / f"{name}.json"


@functools.cache
def _code() -> str:
    """Return the digest of the code, of the versions of libraries, and of packages that extend moevae."""
    roots = [Path(sys.modules[name].__file__ or "").parent for name in ("moevae", "studies")]
    digest = hashlib.sha256(sys.version.encode())
    for root in roots:
        _add(digest, root, sorted(path for path in root.rglob("*") if path.suffix in SOURCES))
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    for distribution in importlib.metadata.distributions():
        if points := [point for point in distribution.entry_points if point.group.startswith("moevae.")]:
            digest.update(f"{points} {distribution.version}\n".encode())
    return digest.hexdigest()


def _add(digest: Any, root: Path, paths: Iterable[Path]) -> None:
    """Add names and contents of the files among the paths to a digest; other kinds of files by name only."""
    for path in paths:
        digest.update(f"{path.relative_to(root)}\n".encode(errors="surrogateescape"))
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
