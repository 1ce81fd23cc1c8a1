"""Importance of settings in the dashboard: the shares of variance of the report, where it has them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from optuna.storages import BaseStorage

from moevae.errors import MoevaeError
from studies.analysis import effects, load
from studies.analysis.metrics import ELBO
from studies.analysis.study import Study
from studies.records import study_file
from studies.report import cache

_PATH = re.compile(r"/api/studies/(\d+)/param_importances")

App = Callable[..., Iterable[bytes]]


def shares(study: Study) -> dict[str, float]:
    """Return the share of variance of the ELBO that each axis explains (partial η²), as in the report.

    Args:
        study: a study.

    Returns:
        Shares by key of the axis; empty if the report has none, as for several data sets, for a design that
        is not a full grid, and for a search.
    """
    parts = list(study.by_data().values())
    if len(parts) != 1 or study_file.read(study.folder).search is not None:
        return {}
    found, axes = effects.variance(parts[0], ELBO), effects.varied(parts[0])
    mains = [effect for effect in found.effects if len(effect.axes) == 1] if found else []
    return {axes[effect.axes[0]]: effect.partial_eta_squared for effect in mains}


def as_in_report(app: App, storage: BaseStorage, folder: Path) -> App:
    """Replace the importances in the answers of the dashboard by the shares of variance of the report.

    Args:
        app: the dashboard, a WSGI application.
        storage: the storage of the dashboard; its other studies keep their importances.
        folder: the folder of the study.
    """
    name = study_file.read(folder).name

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = _PATH.fullmatch(environ["PATH_INFO"])
        ours = asked is not None and _name(storage, int(asked[1])) == name
        found = _shares(folder, cache.inputs(folder)) if ours else {}
        if not found or environ["REQUEST_METHOD"] != "GET":
            return app(environ, start_response)
        responses: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(app(environ, lambda status, headers, *_: responses.append((status, headers))))
        status, headers = responses[-1]
        if status.startswith("200"):
            body = _replaced(body, found)
            Headers(headers)["Content-Length"] = str(len(body))
        start_response(status, headers)
        return [body]

    return answer


@functools.lru_cache(maxsize=1)
def _shares(folder: Path, made_from: str) -> dict[str, float]:
    """Return the shares of a study; `made_from` identifies its records, so that new ones are read."""
    try:
        return shares(load.load_study(folder))
    except MoevaeError:
        return {}


def _name(storage: BaseStorage, number: int) -> str | None:
    try:
        return storage.get_study_name_from_id(number)
    except KeyError:
        return None


def _replaced(body: bytes, found: Mapping[str, float]) -> bytes:
    """Replace the numbers, largest first; settings with one value explain nothing."""
    tree = json.loads(body)
    tree["param_importances"] = [
        sorted(
            ({**each, "importance": found.get(each["name"], 0.0)} for each in objective),
            key=lambda each: -each["importance"],
        )
        for objective in tree["param_importances"]
    ]
    return json.dumps(tree).encode()
