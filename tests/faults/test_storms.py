"""Every cell is completed once although drivers and workers are killed."""

import signal
import time

import psutil
import pytest

from studies.testing.toy_studies import PATIENCE, ToyStudy, storm, wait_until, workers_of


@pytest.mark.parametrize(("cells", "workers"), [(24, 2), pytest.param(1000, 4, marks=pytest.mark.faults)])
def test_every_cell_exactly_once(tmp_path, reliability, cells, workers):
    study = ToyStudy(tmp_path, cells)
    with study.driver(workers=workers) as driver:
        assert driver.wait(PATIENCE) == 0
    study.assert_complete_once()
    counts = study.toy.counts()
    assert set(counts.values()) == {1}
    reliability(
        "exactly once",
        f"{cells:,} toy cells, {workers} worker processes",
        f"each of {len(counts):,} completed once",
        sized=True,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("cells", "worker_kills", "driver_kills"),
    [(12, 4, 2), pytest.param(120, 60, 20, marks=pytest.mark.faults)],
)
def test_a_storm_of_kills(tmp_path, reliability, cells, worker_kills, driver_kills):
    study = ToyStudy(tmp_path, cells)
    killed, drivers = storm(study, worker_kills, driver_kills, seed=cells)
    study.assert_complete_once()
    reliability(
        "kill storm",
        f"{cells} toy cells of 0.25 s, 4 workers, SQLite: kill -9 of {killed} workers and {drivers} drivers",
        f"each of {cells} completed once, with the values of an undisturbed run",
        sized=True,
    )


def test_workers_die_with_their_driver(tmp_path):
    study = ToyStudy(tmp_path, 8)
    with study.driver(workers=2, seconds=60) as driver:
        wait_until(lambda: len(workers_of(driver)) == 2)
        orphans = workers_of(driver)
        driver.kill()
        driver.wait()
        _, alive = psutil.wait_procs(orphans, timeout=PATIENCE)
    assert not alive


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_workers_and_keeps_what_is_done(tmp_path, sent, code):
    cells = 60  # far more than are done before the signal, however late it comes
    study = ToyStudy(tmp_path, cells)
    with study.driver(workers=2, seconds=0.5) as driver:
        wait_until(study.published)
        workers = workers_of(driver)
        driver.send_signal(sent)
        assert driver.wait(PATIENCE) == code, (tmp_path / "driver.log").read_text()
        assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]
    kept = study.published()
    assert 0 < kept < cells
    assert study.run().before.pending == cells - kept
    study.assert_complete_once()


@pytest.mark.slow
def test_a_cell_that_kills_every_worker_is_abandoned_with_the_reason(tmp_path):
    study = ToyStudy(tmp_path, 1)
    with study.driver(workers=1, seconds=60, attempts=3) as driver:
        for _ in range(3):
            wait_until(lambda: workers_of(driver))
            dead = workers_of(driver)[0]
            wait_until(lambda dead=dead: dead.num_threads() > 1)  # it has started
            time.sleep(1.0)
            dead.kill()
            wait_until(lambda dead=dead: not dead.is_running() or driver.poll() is not None)
        assert driver.wait(PATIENCE) == 1
    log = (tmp_path / "driver.log").read_text()
    assert "WorkersError" in log
    assert "its worker died 3 times" in log
