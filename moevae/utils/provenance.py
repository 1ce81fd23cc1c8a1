"""Provenance of results: versions of packages and the commit of the code."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
_PACKAGE = Path(__file__).resolve().parent.parent
_PACKAGES = ("moevae", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "optuna", "pandas")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that determine the numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


@functools.cache
def commit() -> tuple[str | None, bool | None]:
    """Return the commit of the code, and whether tracked files differ from it; None outside a checkout.

    Files under results/ are ignored, because a running study writes there; so are untracked files. An
    installation inside another repository, which does not track it, has no commit.
    """
    here = _PACKAGE.parent
    if _git(here, "ls-files", "--error-unmatch", "--", str(_PACKAGE / "__init__.py")) is None:
        return None, None
    head = _git(here, "rev-parse", "HEAD")
    changes = _git(here, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    return (head.strip(), bool(changes)) if head is not None and changes is not None else (None, None)


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command; None if it fails."""
    # A hook of another repository sets these variables, which would redirect git.
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=own
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
