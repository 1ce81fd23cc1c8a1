"""Tiny runs of `python -m moevae`: commands, output and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moevae.__main__ import main
from moevae.config import overrides, presets

TINY = [
    *("--set", "train.epochs=1", "--set", "data.train_size=200"),
    *("--set", "evaluation.marginal_images=20"),
    *("--set", "model.num_experts=3", "--set", "model.expert_hidden=[16]", "--set", "model.gate_hidden=[16]"),
]

CHANGES = {
    "train.epochs": 1,
    "data.train_size": 200,
    "model.num_experts": 3,
    "model.expert_hidden": (16,),
    "model.gate_hidden": (16,),
    "evaluation.marginal_images": 20,
}
"""The settings of `TINY`."""


def tiny(seed=0):
    """Return the configuration that `TINY` gives."""
    return overrides.override(presets.preset("digits"), CHANGES | {"seed": seed})


def own(seed: int = 0, **changes: np.ndarray | None) -> list[str]:
    """Write own.npz into the current folder, arrays changed or left out; return options to train on it."""
    random = np.random.default_rng(seed)
    arrays = {"images": random.random((60, 6, 5)), "labels": random.integers(0, 4, 60)} | changes
    np.savez("own.npz", **{name: array for name, array in arrays.items() if array is not None})
    return ["--data", "npz:own.npz", *TINY, "--set", "data.train_size=null"]


def run_json(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> dict[str, Any]:
    """Run a command and return its JSON."""
    capsys.readouterr()
    assert main([*command, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def files(folder: Path) -> dict[Path, bytes]:
    """All that is in a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
