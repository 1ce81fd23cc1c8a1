"""One driver owns a study; the others are rejected with its name."""

import multiprocessing
import re
import sys

import pytest

from moevae.errors import MoevaeError
from studies.records.lock import StudyLockedError
from studies.testing.toy_studies import ToyStudy
from studies.testing.toys import Toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")
STARTS = 10


def test_simultaneous_starts(tmp_path, reliability):
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(STARTS), context.SimpleQueue()
    study = ToyStudy(tmp_path, 4)
    study.toy = Toy(study.toy.run_log, seconds=0.5)

    def start() -> None:
        barrier.wait()
        try:
            study.run()
            told.put("ran")
        except StudyLockedError as error:
            told.put(str(error))
        except MoevaeError as error:
            told.put(f"not expected: {error}")

    drivers = [context.Process(target=start) for _ in range(STARTS)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(60)
    words = [told.get() for _ in drivers]
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
