"""A study on a Dask cluster completes each cell once although workers are killed."""

import contextlib
import os
import random
import time
import warnings

import pytest
from optuna.trial import TrialState

from studies.execution.ablation import run_study
from studies.execution.executors import dask as dask_executor
from studies.execution.executors.base import WorkersError
from studies.execution.executors.dask import dask
from studies.records import store
from studies.search import search as searches
from studies.testing.toy_searches import go
from studies.testing.toy_studies import HERE, ToyStudy
from studies.testing.toys import Listener, Toy

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of sockets that killed workers leave


@pytest.fixture
def cluster(monkeypatch):
    paths = [str(HERE.parent.parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, dashboard_address=None, memory_limit=0, silence_logs=50
        ) as cluster:
            cluster.adapt(minimum=3, maximum=3)  # a worker killed while it starts is given up otherwise
            yield cluster


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("cells", "kills"),
    [pytest.param(12, 2, marks=pytest.mark.slow), pytest.param(60, 8, marks=pytest.mark.faults)],
)
def test_workers_killed_while_running(tmp_path, cluster, reliability, cells, kills):
    study, chance = ToyStudy(tmp_path, cells), random.Random(0)
    toy = Toy(study.toy.run_log, seconds=0.5)
    killed: list[float] = []

    class Killing(Listener):
        """Kills a worker each time a number of tasks has finished."""

        def done(self, task, made):
            super().done(task, made)
            if len(killed) < kills and len(self.ended) > len(killed) * cells / (2 * kills):
                nannies = list(cluster.workers.values())
                nanny = chance.choice(nannies) if nannies else None
                if nanny and nanny.process and nanny.process.status is distributed.Status.running:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(nanny.process.process.pid, 9)
                        killed.append(time.monotonic())

    callbacks = Killing()
    with dask(cluster.scheduler_address) as worker_pool:
        run_study(study.design, study.folder, toy, worker_pool=worker_pool, callbacks=callbacks)
    study.assert_complete_once()
    assert len(killed) == kills
    assert len(callbacks.epochs) >= 2 * cells
    reliability(
        "Dask",
        f"LocalCluster of 3, {cells} toy cells of 0.5 s: kill -9 of {len(killed)} workers while running",
        f"each of {cells} completed once",
        sized=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_on_a_cluster(tmp_path, cluster):
    search = searches.load_search("gate", changes=("train.epochs=3",))
    (tmp_path / "run_log").mkdir()
    toy = Toy(tmp_path / "run_log", seconds=0.1)
    with dask(cluster.scheduler_address) as worker_pool:
        found = go(search, tmp_path / "s", toy, trials=9, worker_pool=worker_pool)
    assert len(found.trials) == 9
    assert {trial.state for trial in found.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    good, bad = store.read_all(tmp_path / "s")
    assert not bad
    complete = [trial for trial in found.trials if trial.state is TrialState.COMPLETE]
    assert len(good) == 2 * len(complete) > 0
    assert set(toy.counts().values()) == {1}


def test_no_scheduler_is_one_line(monkeypatch):
    monkeypatch.setattr(dask_executor, "_ANSWER_TIMEOUT", 0.5)
    wrong = {
        "tcp://127.0.0.1:1": "no scheduler answers",
        "nonsense://x": "unknown address scheme 'nonsense'",
        "127.0.0.1:notaport": "expected tcp://HOST:8786",
        "nowhere": "missing port number",
    }
    for address, expected in wrong.items():
        with pytest.raises(WorkersError, match=f"--dask {address}: .*{expected}") as caught, dask(address):
            pass
        assert "\n" not in str(caught.value)
