"""Committed TOML files whose content a model describes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from moevae.errors import RecordError
from moevae.utils import content

Content = TypeVar("Content", bound=BaseModel)


def read(path: Path, model: type[Content]) -> Content:
    """Return the content of a TOML file.

    Args:
        path: the file.
        model: describes its content.

    Raises:
        RecordError: the file is invalid.
    """
    with content.parsing(f"{path}: cannot be read", RecordError):
        return model.model_validate(tomllib.loads(content.read(path).decode()))
