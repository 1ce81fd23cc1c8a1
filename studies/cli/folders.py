"""The folders of studies that commands name."""

from __future__ import annotations

from pathlib import Path

from moevae.errors import ConfigError, RecordError
from moevae.utils.io import expand_home
from studies.records import study_file


def study_folders(results: Path) -> list[Path]:
    """Return the folders of the studies in a results folder, by name; empty if the folder does not exist.

    Args:
        results: the results folder.

    Raises:
        ConfigError: the path is a file or a study.
    """
    if results.is_file():
        raise ConfigError(f"--results {results}: a file; expected a folder of studies")
    if study_file.is_study(results):
        raise ConfigError(f"--results {results}: a study; expected {results.resolve().parent}")
    return study_file.studies_in(results)


def folder_of(study: str, results: Path) -> Path:
    """Return the folder of a study.

    Args:
        study: name of a study in the results folder, or path of a folder.
        results: the results folder.

    Raises:
        RecordError: there is no such study.
    """
    for folder in (results / study, expand_home(Path(study))):
        if study_file.is_study(folder):
            return folder.resolve() if folder.name in ("", "..") else folder
    known = ", ".join(folder.name for folder in study_folders(results)) or "none"
    raise RecordError(
        f"no study {study!r} in {results} (available: {known}), and no folder of this name has a study.json"
    )
