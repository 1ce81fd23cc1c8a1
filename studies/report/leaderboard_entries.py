"""What the leaderboard shows, and what no record says of it: the content of `leaderboard.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from studies.utils import toml_files

PATH = Path(__file__).with_name("leaderboard.toml")

Clusters = Literal["given", "found"]
Labels = Literal["none", "held-out training images", "training images", "test images", "not known"]
"""Images whose labels chose among settings."""


class _Notes(BaseModel):
    """Part of the file, which describes the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Notes):
    """A cell of a study."""

    study: str
    method: str
    cell: dict[str, Any] = {}
    clusters: Clusters
    labels: Labels
    baselines: bool = False


class Baseline(_Notes):
    """A baseline of the studies."""

    clusters: Clusters = "given"
    labels: Labels = "none"


class RaceEntry(_Notes):
    """A race, whose methods of other packages have rows."""

    file: str
    page: str
    number: int
    clusters: Clusters
    labels: Labels


class Entries(_Notes):
    """The content of the file."""

    entry: tuple[Entry, ...]
    baseline: dict[str, Baseline] = {}
    """By the name of the method."""
    race: tuple[RaceEntry, ...] = ()


def entries() -> Entries:
    """Return the entries of the file.

    Raises:
        RecordError: the file is invalid.
    """
    return toml_files.read(PATH, Entries)
