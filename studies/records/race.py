"""A race: clustering methods with one budget of processor time each, in `time-to-quality-*.json`.

The benchmark `bench/time_to_quality.py` writes the file; the leaderboard and the throughput page read it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from moevae.errors import RecordError
from moevae.utils import content
from moevae.utils.io import write_atomically
from studies.records.schema import Data, Hardware

PATTERN = "time-to-quality-*.json"
"""Names of the files in a folder of results."""
OWN = "moevae"
"""Start of the names of this package's methods."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Point(_Part):
    """Scores of the test images after an epoch."""

    seconds: float = Field(ge=0)
    """Processor time until then, without that of scoring."""
    nmi: float
    acc: float


class RaceOrigin(_Part):
    """Where runs were made."""

    commit: str | None
    dirty: bool | None
    """Whether tracked files differed from the commit."""
    hardware: Hardware
    versions: dict[str, str]
    """Versions of Python and of packages."""


class RaceRun(_Part):
    """One method with one seed."""

    method: str
    seed: int
    ended: bool
    """Whether it ended by itself, before its budget was spent."""
    seconds: float = Field(ge=0)
    """Processor time, without that of scoring."""
    curve: list[Point] = Field(min_length=1)
    origin: int = Field(ge=0)
    """Its origin, by the place in the list."""
    load_average: float | None = None
    """Load of the machine over the last minute of the run."""

    @property
    def end(self) -> Point:
        """The scores at the end: no score chooses among epochs."""
        return self.curve[-1]


class Race(_Part):
    """The content of the file."""

    data: Data
    budget: float = Field(gt=0)
    """Processor time of a run, in seconds; a run ends with the epoch that spends it."""
    pretraining: int = Field(ge=1)
    """Epochs in which the methods of other packages train their autoencoder before they cluster."""
    targets: tuple[float, ...]
    """NMI whose time is asked for."""
    origins: list[RaceOrigin] = []
    runs: list[RaceRun] = []

    @model_validator(mode="after")
    def _check(self) -> Race:
        if any(run.origin >= len(self.origins) for run in self.runs):
            raise ValueError("a run names an origin that is not in the list")
        if len({(run.method, run.seed) for run in self.runs}) < len(self.runs):
            raise ValueError("a method has two runs with one seed")
        return self

    def by_method(self) -> dict[str, list[RaceRun]]:
        """Return the runs of each method, in the order of the file."""
        found: dict[str, list[RaceRun]] = {}
        for run in self.runs:
            found.setdefault(run.method, []).append(run)
        return found

    def with_run(self, run: RaceRun, origin: RaceOrigin) -> Race:
        """Return the race with one more run.

        Args:
            run: the run; the place of its origin is not read.
            origin: where it was made.
        """
        origins = self.origins if origin in self.origins else [*self.origins, origin]
        added = run.model_copy(update={"origin": origins.index(origin)})
        return self.model_copy(update={"origins": origins, "runs": [*self.runs, added]})


def read(path: Path) -> Race:
    """Return the race of a file.

    Args:
        path: the file.

    Raises:
        RecordError: the file is invalid.
    """
    with content.parsing(f"{path}: not a race; `nox -s race` writes a new one", RecordError):
        return Race.model_validate(content.parse_json(content.read(path)))


def write(path: Path, race: Race) -> None:
    """Write a race.

    Args:
        path: the file.
        race: the race.
    """
    write_atomically(path, f"{race.model_dump_json(indent=1)}\n".encode())
