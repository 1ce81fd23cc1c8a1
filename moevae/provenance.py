"""What a number must be able to say of its origin: versions, and the commit of the code."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGES = ("moevae", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "optuna", "pandas")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages behind the numbers."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


@functools.cache
def commit() -> tuple[str | None, bool | None]:
    """Return the commit of the code and whether the tree differs from it; None outside a checkout.

    What lies under results/ does not count, a study writes there while it runs; nor do files of one's own.
    """
    here = Path(__file__).parent.parent
    head = _git(here, "rev-parse", "HEAD")
    changes = _git(here, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    return (head.strip(), bool(changes)) if head is not None and changes is not None else (None, None)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
