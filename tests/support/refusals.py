"""Errors in one line, on the command line and from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from moevae.__main__ import main
from moevae.config.schema import DataConfig
from moevae.data.datasets import load_images
from moevae.errors import DataError


def refused(command: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run `python -m moevae`, which ends with exit code 2; return its error line."""
    capsys.readouterr()
    try:
        code = main(command)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def message_of(config: DataConfig, root: Path | None = None) -> str:
    """Load images that cannot be loaded; return the message of the error."""
    with pytest.raises(DataError) as caught:
        load_images(config, root)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message
