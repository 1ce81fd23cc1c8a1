"""Studies opened in the dashboard, and requests to its server."""

import threading
import urllib.request
from contextlib import contextmanager

import optuna

from studies.records import study_file
from studies.storage import connection as storage

AXES = {
    "objective.balance_weight": [0.0, 20.0],
    "routing.temperature": [0.5, 1.0],
    "routing.kind": ["soft", "hard"],
}


@contextmanager
def opened(folder):
    with storage.opened(storage.default_url(folder)) as there:
        yield there, optuna.load_study(study_name=study_file.read(folder).name, storage=there)


@contextmanager
def running(folder):
    """The address of a server of the annotated study."""
    from studies.dashboard.server import serving  # needs optuna-dashboard

    with opened(folder) as (there, study), serving(there, folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", study
        server.shutdown()


def fetch(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
        return answer.headers.get_content_type(), answer.read()
