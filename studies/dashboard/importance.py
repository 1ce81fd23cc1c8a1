"""Importance of settings as in the report, in place of the dashboard's own estimate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moevae.errors import MoevaeError
from studies.analysis import effects
from studies.analysis.load import load_study
from studies.analysis.metrics import ELBO

_PATH = re.compile(r"/api/studies/\d+/param_importances")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def as_in_report(app: App, folder: Path) -> App:
    """Answer the dashboard's question for importances with the analysis of variance of the report.

    Studies that are no full grid on one data set have none; the dashboard then answers itself.

    Args:
        app: the dashboard.
        folder: the folder of the study.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = environ.get("REQUEST_METHOD") == "GET" and _PATH.fullmatch(environ.get("PATH_INFO", ""))
        if asked and (found := shares(folder)):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"param_importances": [found]}).encode()]
        return app(environ, start_response)

    return answer


def shares(folder: Path) -> list[dict[str, Any]]:
    """Return partial η² of the ELBO for each axis, the largest first, as the dashboard shows importances.

    Args:
        folder: the folder of the study.

    Returns:
        Name of the axis, `importance` and the kind of distribution; empty without an analysis of variance.
    """
    try:
        parts = list(load_study(folder).by_data().values())
    except (MoevaeError, OSError):
        return []
    variance = effects.variance(parts[0], ELBO) if len(parts) == 1 else None
    if variance is None:
        return []
    axes = effects.varied(parts[0])
    main = [effect for effect in variance.effects if len(effect.axes) == 1]
    found = {axes[effect.axes[0]]: effect.partial_eta_squared for effect in main}
    return [
        {"name": name, "importance": float(share), "distribution": "CategoricalDistribution"}
        for name, share in sorted(found.items(), key=lambda item: -item[1])
    ]
