"""Drivers that start simultaneously on a storage without tables."""

import contextlib
import multiprocessing
import sys

import pytest
from databases import postgres

from moevae.errors import MoevaeError
from studies.storage.ownership import OwnedError
from studies.testing.toy_studies import PATIENCE, ToyStudy
from studies.testing.toys import Toy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")
STARTS = 6


@contextlib.contextmanager
def place(kind, folder):
    if kind == "postgresql":
        with postgres() as server:
            yield server.url
    else:
        yield f"sqlite:///{folder}/shared.db"


def started(studies: list[ToyStudy]) -> list[str]:
    """Run studies in processes that start together; return the error class of each, or `ran`."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(len(studies)), context.SimpleQueue()

    def start(study: ToyStudy) -> None:
        barrier.wait()
        try:
            study.run()
            results.put("ran")
        except MoevaeError as error:
            results.put(type(error).__name__)
        except Exception as error:
            results.put(repr(error))

    drivers = [context.Process(target=start, args=(study,)) for study in studies]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(PATIENCE)
    return [results.get() for _ in drivers]


KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.faults)]


@pytest.mark.parametrize("kind", KINDS)
def test_studies_of_different_names_all_run(tmp_path, reliability, kind):
    with place(kind, tmp_path) as url:
        studies = [
            ToyStudy(tmp_path / str(number), 2, url=url, name=f"toy{number}") for number in range(STARTS)
        ]
        assert started(studies) == ["ran"] * STARTS
        for study in studies:
            study.assert_complete_once()
    reliability("shared storage", f"{STARTS} simultaneous first starts, {kind}, tables missing", "all ran")


@pytest.mark.parametrize("kind", KINDS)
def test_of_studies_of_one_name_one_runs_and_the_others_leave_nothing(tmp_path, reliability, kind):
    with place(kind, tmp_path) as url:
        studies = [ToyStudy(tmp_path / str(number), 2, url=url) for number in range(STARTS)]
        for study in studies:
            study.toy = Toy(study.toy.run_log, seconds=0.2)
        words = started(studies)
        assert sorted(words) == sorted(["ran", *[OwnedError.__name__] * (STARTS - 1)])
        (winner,) = [study for study in studies if study.folder.exists()]
        winner.assert_complete_once()
    reliability(
        "shared storage",
        f"{STARTS} simultaneous first starts of studies of one name, {kind}",
        f"1 ran, {STARTS - 1} were rejected with one line and left no files",
    )
