"""A driver can always be terminated and leaves no process behind."""

import os
import resource
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from studies.testing.toy_studies import PATIENCE, ToyStudy, wait_until, workers_of

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="signals"),
    pytest.mark.faults,
]


def stopped_worker(driver: psutil.Process) -> list[psutil.Process]:
    """Suspend one of two workers; return both."""
    wait_until(lambda: len(workers_of(driver)) == 2)
    workers = workers_of(driver)
    workers[0].suspend()
    return workers


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_driver_with_a_stopped_worker(tmp_path, reliability, sent):
    study = ToyStudy(tmp_path, 60)
    with study.driver(workers=2, seconds=0.5) as driver:
        wait_until(study.published)
        workers = stopped_worker(driver)
        begin = time.monotonic()
        driver.send_signal(sent)
        assert driver.wait(PATIENCE) == 128 + sent
        lasted = time.monotonic() - begin
        assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]
    assert "Traceback" not in (tmp_path / "driver.log").read_text()
    study.run()
    study.assert_complete_once()
    reliability(
        "termination",
        f"SIGSTOP of a worker, then {sent.name} of the driver",
        f"ended after {lasted:.0f} s; the next start completed the study",
    )


def handled(driver: psutil.Popen, signum: int) -> bool:
    """Return whether the process handles a signal; the driver handles the first one only."""
    if driver.poll() is not None:
        return False
    lines = Path(f"/proc/{driver.pid}/status").read_text().splitlines()
    (mask,) = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (signum - 1) & 1)


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGKILL,)])
def test_a_signal_ends_the_driver_and_its_workers_at_once(tmp_path, reliability, signals):
    study = ToyStudy(tmp_path, 60)
    with study.driver(workers=2, seconds=0.5) as driver:
        wait_until(study.published)
        workers = stopped_worker(driver)
        for sent in signals:
            driver.send_signal(sent)
            wait_until(lambda sent=sent: not handled(driver, sent))
        assert driver.wait(PATIENCE) == -signals[-1]
        assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]
    assert "Traceback" not in (tmp_path / "driver.log").read_text()
    study.run()
    study.assert_complete_once()
    reliability(
        "termination",
        f"SIGSTOP of a worker, then {' and '.join(sent.name for sent in signals)} of the driver",
        "ended at once with all its workers, no traceback; the next start completed the study",
    )


def test_twelve_workers_under_a_low_limit_of_open_files(tmp_path, reliability):
    study = ToyStudy(tmp_path, 24)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with study.driver(workers=12) as driver:
        os.kill(driver.pid, signal.SIGSTOP)  # before it opens anything
        resource.prlimit(driver.pid, resource.RLIMIT_NOFILE, (100, 100))
        os.kill(driver.pid, signal.SIGCONT)
        assert driver.wait(PATIENCE) == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    study.assert_complete_once()
    log = (tmp_path / "driver.log").read_text().splitlines()
    assert len([line for line in log if "of 12 workers" in line]) == 1
    reliability(
        "open files",
        "ulimit -n 100, 12 workers",
        "fewer workers, with a warning of one line; each of 24 completed once",
    )
