"""Experiments with moevae: designs, execution, records, statistics and reports.

Reading a study imports neither torch nor Optuna:

>>> import studies
>>> runs = studies.load_records("results/objective")
>>> runs["test.nmi"].between(0, 1).all()
np.True_

`load_records` returns a table with one row per run, and `load_study` a `Study`, whose runs are `StudyRun`.
"""

import importlib
from typing import Any

_HOMES = {
    "Study": "analysis.study",
    "StudyRun": "analysis.runs",
    "load_records": "analysis.load",
    "load_study": "analysis.load",
}
__all__ = sorted(_HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name on first access."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
