"""`dashboard`: open a study in optuna-dashboard."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from moevae.errors import MoevaeError, RecordError
from studies.cli.folders import study_folders
from studies.cli.options import Dashboard
from studies.records import study_file
from studies.storage import connection as storage
from studies.storage import ownership
from studies.verify import rebuild


class MissingError(MoevaeError):
    """The dashboard is not installed."""


def dashboard(options: Dashboard, folder: Path) -> int:
    """Serve the study's page until Ctrl-C.

    Args:
        options: options of the command.
        folder: folder of the study.

    Raises:
        MissingError: the packages of the dashboard are not installed.
    """
    for package in ("optuna_dashboard", "plotly"):
        if find_spec(package) is None:
            raise MissingError("the dashboard is not installed: pip install 'moevae[dashboard]'")
    name = study_file.read(folder).name
    print(f"{name}: opening", file=sys.stderr)
    from studies.dashboard.server import serving

    shared = storage.given(options.storage)
    url = shared or storage.default_url(folder)
    storage.check(url)
    if not _has(url, name, folder, private=shared is None):
        print(f"{name}: no storage found, rebuilt from the records", file=sys.stderr)
        rebuild.rebuild(folder, shared)
    with storage.opened(url) as opened, serving(opened, folder, options.port) as server:
        number = opened.get_study_id_from_name(name)
        print(f"{name}: http://127.0.0.1:{server.server_port}/dashboard/studies/{number}", flush=True)
        print(f"storage: {url}", flush=True)
        print("Ctrl-C stops the server", file=sys.stderr)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
    return 0


def _has(url: str, name: str, folder: Path, *, private: bool) -> bool:
    """Return whether the storage contains the study."""
    if private and not (folder / "study.db").exists():
        return False
    with storage.opened(url) as opened:
        ownership.check(opened, name, folder)
        return any(study.study_name == name for study in opened.get_all_studies())


def choose(results: Path) -> Path:
    """Return the folder of the only study.

    Args:
        results: the results folder.

    Raises:
        RecordError: the results folder has several studies, or none.
    """
    found = study_folders(results)
    if not found:
        raise RecordError(f"{results}: no studies here; run one with: moevae ablate")
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise RecordError(f"{results}: several studies; open one with: moevae dashboard NAME ({names})")
    return found[0]
