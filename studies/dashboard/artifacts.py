"""The pictures of a study as the dashboard's artifacts: drawn from the records when they are looked at."""

from __future__ import annotations

import functools
import io
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from moevae.errors import RecordError
from studies.records import packed, store
from studies.records.schema import Record
from studies.report import run_plots

KINDS = ("samples", "reconstructions", "confusion")
"""A picture's place here is part of its name: add new ones at the end."""

UPLOADS = "artifacts"
"""Folder beside the records for what a person uploads in the dashboard."""


class Gallery(FileSystemArtifactStore):
    """Pictures of runs by name, and a person's uploads. A picture is no file: it cannot be lost."""

    def __init__(self, folder: Path) -> None:
        """Show the runs of a study's folder."""
        super().__init__(folder / UPLOADS)
        self._folder = folder
        self._drawn = functools.lru_cache(maxsize=256)(self._draw)
        self._alone = threading.Lock()

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return a picture's PNG, or what was uploaded.

        Raises:
            ArtifactNotFound: there is neither.
        """
        run, _, place = artifact_id.partition("-")
        if not (place in _PLACES and store.exists(self._folder, run)):
            return super().open_reader(artifact_id)
        with self._alone:  # matplotlib's settings belong to the whole process
            return io.BytesIO(self._drawn(run, KINDS[int(place)]))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep what a person uploads."""
        (self._folder / UPLOADS).mkdir(exist_ok=True)
        super().write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an upload; a picture stays, since its run does."""
        if artifact_id.partition("-")[2] not in _PLACES:
            super().remove(artifact_id)

    def _draw(self, run: str, kind: str) -> bytes:
        try:
            return drawn(store.read(store.path_of(self._folder, run)), kind, self._folder)
        except (RecordError, KeyError) as error:
            raise ArtifactNotFound(str(error)) from None


_PLACES = tuple(str(place) for place in range(len(KINDS)))


def name_of(record: Record, kind: str) -> str:
    """Return the name of a run's picture, of hexadecimal digits and a hyphen, as the dashboard wants it."""
    return f"{record.fingerprint}-{KINDS.index(kind)}"


def kinds(record: Record, folder: Path) -> list[str]:
    """Return which pictures there are of a run; those that were dropped are not."""
    there = {kind for kind, each in record.pictures.items() if not packed.was_dropped(folder, each.file)}
    return [kind for kind in KINDS if kind in there or (kind == "confusion" and record.confusion)]


def drawn(record: Record, kind: str, folder: Path) -> bytes:
    """Return a run's picture as PNG, enlarged, with what rows and columns are.

    Raises:
        RecordError: it is no such picture.
    """
    if kind == "confusion" and record.confusion:
        return run_plots.confusion(np.array(record.confusion.counts), record.confusion.classes)
    picture = record.pictures[kind]
    names = ("epoch", "expert") if kind == "samples" else ("", "test image")
    content = run_plots.grid(folder, picture, names)
    if content is None:
        if packed.was_dropped(folder, picture.file):
            raise RecordError(f"{folder}: {picture.file} was dropped when the study was packed")
        raise RecordError(
            f"{folder / 'records' / picture.file}: not the grid of tiles that its record tells of"
        )
    return content
