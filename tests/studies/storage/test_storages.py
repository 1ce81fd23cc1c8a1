"""A search, and the dashboard over it, on each kind of storage that Optuna may keep a study in."""

import contextlib
import json
import threading
import urllib.request

import pytest
from optuna.trial import TrialState

from studies.search import search as searches
from studies.search.run import Budget
from studies.storage import connection as storage
from studies.testing.toy_searches import FAST, Climb, Silent, go


@contextlib.contextmanager
def place(kind, folder):
    """The URL of a storage that several studies may share."""
    if kind == "postgresql":
        from databases import postgres

        with postgres() as server:
            yield server.url
    else:
        yield f"{kind}:///{folder}/shared.store"


@pytest.mark.parametrize("kind", ["sqlite", "journal", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_search_continues_and_its_dashboard_opens(tmp_path, kind):
    (tmp_path / "run_log").mkdir()
    climb, folder = Climb(tmp_path / "run_log"), tmp_path / "s"
    search = searches.load_search("gate", **FAST)
    with place(kind, tmp_path) as url:
        with pytest.raises(KeyboardInterrupt):
            go(search, folder, climb, callbacks=Silent(stop_after=4), storage_url=url)
        found = go(search, folder, climb, budget=Budget(10), storage_url=url)
        states = {trial.state for trial in found.trials}
        assert len(found.trials) == 10
        assert TrialState.COMPLETE in states
        assert states <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert set(climb.counts().values()) == {1}
        assert not (folder / "study.db").exists()
        pages(folder, url, search.name)


def pages(folder, url, name):
    """Ask the dashboard for the study."""
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed (moevae[dashboard])")
    pytest.importorskip("plotly", reason="plotly is not installed (moevae[dashboard])")
    from studies.dashboard.server import serving

    with storage.opened(url) as opened, serving(opened, folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        number = opened.get_study_id_from_name(name)
        address = f"http://127.0.0.1:{server.server_port}/api/studies/{number}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            found = json.loads(answer.read())
        server.shutdown()
    assert len(found["trials"]) == 10
    assert found["note"]["body"]
    complete = [trial for trial in found["trials"] if trial["state"] == "Complete"]
    assert all(trial["note"]["body"] and trial["artifacts"] for trial in complete)
