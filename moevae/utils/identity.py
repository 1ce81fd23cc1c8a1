"""Identity of data and code by their content; paths, names and commits do not affect it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DIGEST_DIGITS = 12
"""Number of digits of a digest in messages."""


@dataclass(frozen=True)
class DataIdentity:
    """Identity of the images and labels of a data set before splitting; None stands for unknown."""

    images: str
    """SHA-256 of all pixels."""
    labels: str | None = None
    """SHA-256 of all labels and of the names of the classes; empty if there are no labels."""
    size: tuple[int, int] | None = None
    """Height and width of an image, in pixels."""


@dataclass(frozen=True)
class CodeIdentity:
    """Identity of the code that determines the numbers."""

    source: str
    """SHA-256 of the Python files."""
    torch: str
    """Version of PyTorch."""


def differences(
    one: DataIdentity, other: DataIdentity, words: tuple[str, str] = ("then", "now")
) -> list[str]:
    """Describe the differences of two data sets; an unknown part differs from nothing.

    Args:
        one: the first data set.
        other: the second data set.
        words: labels of the two in the descriptions.
    """
    found = []
    if one.images != other.images:
        found.append(_pair("images", one.images, other.images, words))
    elif one.size and other.size and one.size != other.size:
        found.append(_pair("images of", _by(one.size), _by(other.size), words))
    if one.labels is not None and other.labels is not None and one.labels != other.labels:
        found.append(_pair("labels", one.labels, other.labels, words))
    return found


def code_differences(
    one: CodeIdentity, other: CodeIdentity, words: tuple[str, str] = ("then", "now")
) -> list[str]:
    """Describe the differences of two identities of code.

    Args:
        one: the first identity.
        other: the second identity.
        words: labels of the two in the descriptions.
    """
    pairs = {"source code": (one.source, other.source), "torch": (one.torch, other.torch)}
    return [_pair(key, *pair, words) for key, pair in pairs.items() if pair[0] != pair[1]]


def merged(one: DataIdentity, other: DataIdentity) -> DataIdentity:
    """Return the union of two compatible identities.

    Args:
        one: the first identity; its parts are preferred.
        other: the second identity, for parts that the first lacks.
    """
    labels = other.labels if one.labels is None else one.labels
    return DataIdentity(one.images, labels, one.size or other.size)


def labels_digest(labels: np.ndarray, classes: Iterable[str]) -> str:
    """Return the SHA-256 of labels and class names.

    Args:
        labels: indices into the classes in official order, [N] int64.
        classes: names of the classes.
    """
    digest = hashlib.sha256("\0".join(classes).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()


def code_identity(*packages: str) -> CodeIdentity:
    """Return the identity of installed packages; it is computed once per process.

    Installations with the same files have the same identity, in a checkout, a wheel or a modified tree.

    Args:
        *packages: import names of the packages.
    """
    return _code_at_start(*packages).identity


def changed_imports(*packages: str) -> list[str]:
    """Return the files that changed between `code_identity` and their import by this process.

    A function that imports a module when it is called would otherwise run code of another identity.
    """
    known, loaded = _code_at_start(*packages), _loaded()
    changed = []
    for package in packages:
        for name, path in _files(package):
            if str(path) in loaded - known.checked:
                if known.files.get(name) == _sha256(path):
                    known.checked.add(str(path))
                else:
                    changed.append(name)
    return changed


@dataclass(frozen=True)
class _Code:
    """The code of packages at one moment."""

    identity: CodeIdentity
    files: Mapping[str, str]
    """SHA-256 of each Python file, by name."""
    checked: set[str]
    """Paths of the modules that were imported then, and of those found unchanged since."""


@functools.cache
def _code_at_start(*packages: str) -> _Code:
    """Return the code of packages at the first call."""
    loaded = _loaded()
    files = {name: _sha256(path) for package in packages for name, path in _files(package)}
    digest = hashlib.sha256("".join(f"{name}\0{sha}\n" for name, sha in files.items()).encode())
    return _Code(CodeIdentity(digest.hexdigest(), importlib.metadata.version("torch")), files, loaded)


def _loaded() -> set[str]:
    """Return the paths of the modules that this process has imported."""
    return {str(getattr(module, "__file__", None)) for module in [*sys.modules.values()]}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each Python file of a package."""
    spec = importlib.util.find_spec(package)
    for folder in sorted((spec and spec.submodule_search_locations) or ()):
        for path in sorted(Path(folder).rglob("*.py")):
            yield f"{package}/{path.relative_to(folder).as_posix()}", path


def _pair(what: str, one: str, other: str, words: tuple[str, str]) -> str:
    return f"{what} {one[:DIGEST_DIGITS] or 'none'} {words[0]}, {other[:DIGEST_DIGITS] or 'none'} {words[1]}"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
