"""Pictures of a study as dashboard artifacts, drawn from the records on request."""

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
from moevae.visualization import confusions
from studies.records import packed, store
from studies.records.schema import Record
from studies.report import run_plots

KINDS = ("samples", "reconstructions", "confusion", "templates", "means", "map", "neighbors")
"""Kinds of pictures. The index is part of an artifact's name, so new kinds go at the end."""

IMAGES = {"reconstructions": ("", "test image"), "neighbors": ("", "sample")}
"""Names of the axes of pictures whose columns are images, not experts."""

UPLOADS = "artifacts"
"""Folder within the study's folder for files that users upload in the dashboard."""


class PictureStore(FileSystemArtifactStore):
    """Artifact store that draws pictures of runs on request and keeps files uploaded by users."""

    def __init__(self, folder: Path) -> None:
        """Serve the runs in the folder of a study."""
        super().__init__(folder / UPLOADS)
        self._folder = folder
        self._drawn = functools.lru_cache(maxsize=256)(self._draw)
        self._draw_lock = threading.Lock()

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a picture as PNG, or an uploaded file.

        Args:
            artifact_id: name of a picture (see `name_of`) or of an upload.

        Raises:
            ArtifactNotFound: neither a picture nor an upload has this name.
        """
        run, _, place = artifact_id.partition("-")
        if not (place in _PLACES and store.exists(self._folder, run)):
            return super().open_reader(artifact_id)
        with self._draw_lock:  # the settings of matplotlib are global to the process
            return io.BytesIO(self._drawn(run, KINDS[int(place)]))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store an uploaded file."""
        (self._folder / UPLOADS).mkdir(exist_ok=True)
        super().write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an uploaded file; pictures of runs are not removed.

        Args:
            artifact_id: name of the artifact.
        """
        if artifact_id.partition("-")[2] not in _PLACES:
            super().remove(artifact_id)

    def _draw(self, run: str, kind: str) -> bytes:
        try:
            return drawn(store.read(store.path_of(self._folder, run)), kind, self._folder)
        except (RecordError, KeyError) as error:
            raise ArtifactNotFound(str(error)) from None


_PLACES = tuple(str(place) for place in range(len(KINDS)))


def name_of(record: Record, kind: str) -> str:
    """Return the artifact name of a picture: hexadecimal digits and a hyphen, as the dashboard requires.

    Args:
        record: record of the run.
        kind: kind of the picture, one of `KINDS`.
    """
    return f"{record.fingerprint}-{KINDS.index(kind)}"


def kinds(record: Record, folder: Path) -> list[str]:
    """Return the kinds of the existing pictures of a run, without those that packing deleted.

    Args:
        record: record of the run.
        folder: folder of the study.
    """
    there = {kind for kind, each in record.pictures.items() if not packed.was_dropped(folder, each.file)}
    return [kind for kind in KINDS if kind in there or (kind == "confusion" and record.confusion)]


def drawn(record: Record, kind: str, folder: Path) -> bytes:
    """Draw a picture of a run as PNG, enlarged and with labels of rows and columns.

    Args:
        record: the record of the run.
        kind: one of `KINDS`.
        folder: the folder of the study.

    Raises:
        RecordError: the file is not the grid of tiles that the record describes.
    """
    if kind == "confusion" and record.confusion:
        return confusions.confusion(np.array(record.confusion.counts), record.confusion.classes).png
    picture = record.pictures[kind]
    if kind == "map":
        classes = record.confusion.classes if record.confusion else ()
        figure = run_plots.latent_map(folder, picture, len(record.load), classes)
    else:
        names = IMAGES.get(kind, ("epoch", "expert"))
        figure = run_plots.grid(folder, picture, names, _order(record, kind))
    if figure is None:
        if packed.was_dropped(folder, picture.file):
            raise RecordError(f"{folder}: {picture.file} was dropped when the study was packed")
        raise RecordError(
            f"{folder / 'records' / picture.file}: expected the grid of tiles that its record describes"
        )
    return figure.png


def _order(record: Record, kind: str) -> list[int] | None:
    """Return the order of experts in their pictures: that of their classes."""
    if record.confusion is None or kind in IMAGES:
        return None
    return confusions.by_class(np.array(record.confusion.counts)).tolist()
