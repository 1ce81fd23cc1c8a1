"""The private interfaces of Optuna's dashboard: how it keeps notes and pictures among a study's attributes.

Nothing else imports them; `pyproject.toml` bounds the version.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from optuna_dashboard._note import get_note_from_system_attrs, note_str_key_prefix, note_ver_key, split_body

MARK = "moevae:note:"
"""Prefix of our own attributes, which store digests of written notes."""

_TRIAL = re.compile(rf"(?:dashboard|dashboard:artifacts|{MARK[:-1]}):(\d+)(?::|$)")


def by_trial(attributes: Mapping[str, Any]) -> dict[int | None, dict[str, Any]]:
    """Group the attributes of a study by the ID of their trial; None holds those of the study.

    Args:
        attributes: system attributes of a study, by key.
    """
    found: dict[int | None, dict[str, Any]] = defaultdict(dict)
    for key, value in attributes.items():
        number = _TRIAL.match(key)
        found[int(number[1]) if number else None][key] = value
    return found


def note_of(attributes: Mapping[str, Any], trial: int | None) -> tuple[str, int]:
    """Return a note.

    Args:
        attributes: system attributes of the study or trial, by key.
        trial: ID of the trial; None for the note of the study.

    Returns:
        The text and its version.
    """
    note = get_note_from_system_attrs(dict(attributes), trial)
    return note["body"], note["version"]


def note(
    attributes: Mapping[str, Any], trial: int | None, text: str, version: int
) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that replace a note, by key.

    Args:
        attributes: present system attributes, by key.
        trial: ID of the trial; None for the note of the study.
        text: the new text.
        version: the new version.
    """
    parts = split_body(text, trial)
    prefix = note_str_key_prefix(trial)
    yield from {key: "" for key in attributes if key.startswith(prefix) and key not in parts}.items()
    yield from parts.items()
    yield note_ver_key(trial), version


def pictures(attributes: Mapping[str, Any], trial: int, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes that replace the pictures of a trial.

    Optuna refuses new attributes on a finished trial; the dashboard also reads these of the study.

    Args:
        attributes: present system attributes of the study, by key.
        trial: ID of the trial.
        files: file names, by the artifact name of the picture.
    """
    prefix = f"dashboard:artifacts:{trial}:"
    wanted: dict[str, Any] = {key: json.dumps(None) for key in attributes if key.startswith(prefix)}
    for name, file in files.items():
        meta = {"artifact_id": name, "filename": file, "mimetype": "image/png", "encoding": None}
        wanted[f"{prefix}{name}"] = json.dumps(meta)
    return wanted
