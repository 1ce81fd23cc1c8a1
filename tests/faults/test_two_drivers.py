"""One driver owns a study; the others are rejected with its name."""

import multiprocessing
import re
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from moevae.errors import MoevaeError
from studies.records.lock import StudyLockedError
from studies.testing.toy_studies import PATIENCE, ToyStudy
from studies.testing.toys import Toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")
STARTS = 10


@dataclass(frozen=True)
class Waiting(Toy):
    """Runs that last until all drivers but one have ended."""

    release: Any = None

    def __call__(self, configs, /, **options):
        self.release.wait(60)
        return super().__call__(configs, **options)


def test_simultaneous_starts(tmp_path, reliability):
    context = multiprocessing.get_context("fork")
    barrier, outcomes = context.Barrier(STARTS), context.SimpleQueue()
    study = ToyStudy(tmp_path, 4)
    release = context.Event()
    study.toy = Waiting(study.toy.run_log, release=release)

    def start() -> None:
        barrier.wait()
        try:
            study.run()
            outcomes.put("ran")
        except StudyLockedError as error:
            outcomes.put(str(error))
        except MoevaeError as error:
            outcomes.put(f"not expected: {error}")

    drivers = [context.Process(target=start) for _ in range(STARTS)]
    for driver in drivers:
        driver.start()
    words = [outcomes.get() for _ in drivers[1:]]
    release.set()
    words.append(outcomes.get())
    for driver in drivers:
        driver.join(PATIENCE)
    assert words.count("ran") == 1
    who = {match[1] for word in words if (match := re.search(r"process (\d+) on \S+, since 20", word))}
    assert len(who) == 1
    assert sum("is working on this study" in word for word in words) == STARTS - 1
    study.assert_complete_once()
    assert set(study.toy.counts().values()) == {1}
    reliability(
        "two drivers",
        f"{STARTS} simultaneous starts",
        f"1 ran, {STARTS - 1} were rejected with the name of the owner",
    )
