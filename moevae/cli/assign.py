"""`assign`: assign arbitrary images to the experts of a trained run."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from moevae.cli.options import Assign
from moevae.config.overrides import fingerprint
from moevae.data import inputs
from moevae.data.inputs import Inputs
from moevae.errors import CheckpointError, ConfigError, DataError
from moevae.evaluation.assign import UNUSUAL_SHARE, Assignments
from moevae.evaluation.assign import assign as assignments_of
from moevae.training import checkpoint
from moevae.utils import content, devices
from moevae.utils.io import npz_bytes, why_unwritable, write_atomically

MAX_NAMED = 5
"""Number of unusual or skipped images that a message names."""


def assign(options: Assign) -> int:
    """Assign images, and write a table and copies, or print the table."""
    _check(options)
    trained = checkpoint.load(options.checkpoint)
    device = devices.resolve(options.device)
    devices.prepare()
    given = inputs.read(options.images, (trained.height, trained.width), options.on_bad_image or "refuse")
    pixels = torch.from_numpy(given.images.copy())
    found = assignments_of(trained.model.to(device), trained.config, pixels, latents=options.latents)
    unusual = None if trained.unusual_below is None else found.bounds < trained.unusual_below
    if options.copy_to:  # first: the table may be inside
        _copy(given, found, options.copy_to)
    if options.output:
        _write(options.output, _encoded(options.output, given, found, unusual, options.latents))
    notes = _notes(given, trained.usual_images, unusual)
    if options.json:
        print(json.dumps(_document(options, trained, given, found, unusual), indent=1, allow_nan=False))
    elif options.output or options.copy_to:
        print(_summary(found, unusual))
        for path in filter(None, (options.output, options.copy_to)):
            print(path)
    else:
        sys.stdout.write(_csv(_table(given, found, unusual, options.latents)))
    for note in notes:
        print(note, file=sys.stderr)
    return 0


def _check(options: Assign) -> None:
    """Check the options before reading any file.

    Raises:
        ConfigError: an output has an unknown ending, exists, or cannot be written.
    """
    if options.output:
        if options.output.suffix.lower() not in _WRITERS:
            raise ConfigError(
                f"--output {options.output}: expected a name that ends in {', '.join(_WRITERS)}"
            )
        if options.output.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
            raise ConfigError(
                f"--output {options.output}: Parquet needs pyarrow (pip install 'moevae[parquet]');"
                " .csv and .npz do not"
            )
        if os.path.lexists(options.output):
            raise ConfigError(f"--output {options.output}: already exists; no file is overwritten")
        if problem := why_unwritable(options.output.parent):
            raise ConfigError(f"--output {options.output}: {problem}")
    if target := options.copy_to:
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise ConfigError(f"--copy-to {target}: already exists; expected a new or an empty folder")
        if problem := why_unwritable(target.parent):
            raise ConfigError(f"--copy-to {target}: {problem}")
        if options.images.suffix.lower() in (".npz", ".npy"):
            raise ConfigError(f"--copy-to {target}: {options.images} has no image files to copy")
        if target.resolve().is_relative_to(options.images.resolve()):
            raise ConfigError(
                f"--copy-to {target}: is inside {options.images}; expected a folder outside of it"
            )


def _table(given: Inputs, found: Assignments, unusual: np.ndarray | None, latents: bool) -> pd.DataFrame:
    """Return the table with one row per image."""
    rows = np.arange(len(given.names))
    second = found.runners_up
    none = second < 0
    columns: dict[str, Any] = {
        "file": list(given.names),
        "expert": found.experts,
        "probability": found.probabilities,
        "runner_up": pd.array(second, "Int64"),
        "runner_up_probability": np.where(none, np.nan, found.gate_probs[rows, second]),
        "bound": found.bounds,
        "unusual": pd.array([None] * len(rows) if unusual is None else unusual, "boolean"),
    }
    table = pd.DataFrame(columns)
    table.loc[none, "runner_up"] = pd.NA
    if latents:
        names = [f"z{index}" for index in range(found.latents.shape[1])]
        table = pd.concat([table, pd.DataFrame(found.latents, columns=names)], axis=1)
    return table


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, float_format="%.7g", lineterminator="\n"))


def _npz(table: pd.DataFrame, found: Assignments) -> bytes:
    """Return the columns as arrays, with the probabilities of all experts as `gate_probs`, [N, K]."""
    arrays: dict[str, np.ndarray] = {
        "files": np.array(table["file"].tolist(), dtype=np.str_),
        "expert": found.experts,
        "probability": found.probabilities,
        "runner_up": found.runners_up,
        "runner_up_probability": table["runner_up_probability"].to_numpy(),
        "bound": found.bounds,
        "gate_probs": found.gate_probs,
    }
    if table["unusual"].notna().all():
        arrays["unusual"] = table["unusual"].to_numpy(bool)
    if "z0" in table:
        arrays["latents"] = found.latents
    return npz_bytes(arrays)


_WRITERS: dict[str, Callable[[pd.DataFrame, Assignments], bytes]] = {
    ".csv": lambda table, _: _csv(table).encode(),
    ".parquet": lambda table, _: table.to_parquet(None, engine="pyarrow", index=False),
    ".npz": _npz,
}
"""Functions that encode a table, by the ending of the file name."""


def _encoded(
    path: Path, given: Inputs, found: Assignments, unusual: np.ndarray | None, latents: bool
) -> bytes:
    return _WRITERS[path.suffix.lower()](_table(given, found, unusual, latents), found)


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(f"--output {path}: cannot be written ({error.strerror})") from None


def _copy(given: Inputs, found: Assignments, target: Path) -> None:
    """Copy each image file to the folder of its expert; all of them, or none.

    Files keep their names; if two files of an expert have the same name, the later one gets a number.

    Raises:
        DataError: a file cannot be copied.
    """
    # In the folder of the target, so that it can be renamed.
    made = target.resolve().with_name(f".{secrets.token_hex(8)}.moevae")
    try:
        made.mkdir(parents=True)
        taken: set[Path] = set()
        width = len(str(found.gate_probs.shape[1] - 1))
        for path, expert in zip(given.paths, found.experts.tolist(), strict=True):
            place = made / f"expert-{expert:0{width}}" / path.name
            number = 2
            while place in taken:
                place = place.with_name(f"{path.stem}-{number}{path.suffix}")
                number += 1
            taken.add(place)
            place.parent.mkdir(exist_ok=True)
            _copy_file(path, place)
        if target.is_dir():  # empty, and kept: it may be the working folder
            for folder in sorted(made.iterdir()):
                folder.rename(target / folder.name)
        else:
            made.rename(target)
    except OSError as error:
        raise DataError(f"--copy-to {target}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _copy_file(path: Path, place: Path) -> None:
    with (
        content.parsing(f"{path}: cannot be copied", DataError),
        content.opened(path) as source,
        place.open("xb") as copy,
    ):
        shutil.copyfileobj(source, copy)


def _summary(found: Assignments, unusual: np.ndarray | None) -> str:
    """Return one line per expert: number of images, share, mean probability, number of unusual images."""
    experts, count = found.experts, len(found.experts)
    lines = [f"{'expert':>6} {'images':>8} {'share':>6} {'probability':>12}"]
    lines[0] += "" if unusual is None else "  unusual"
    for expert in range(found.gate_probs.shape[1]):
        own = experts == expert
        number = int(own.sum())
        confidence = f"{found.probabilities[own].mean():.3f}" if number else "-"
        odd = "" if unusual is None else f" {int(unusual[own].sum()):>8,}"
        lines.append(f"{expert:>6} {number:>8,} {number / max(1, count):>6.3f} {confidence:>12}{odd}")
    return "\n".join(lines)


def _notes(given: Inputs, usual: str, unusual: np.ndarray | None) -> list[str]:
    """Return notes about skipped and unusual images."""
    notes = []
    if given.bad:
        notes.append(f"skipped {len(given.bad):,} of {len(given.bad) + len(given.names):,} images:")
        notes += [f"  {content.shortened(name)}: {fault}" for name, fault in given.bad[:MAX_NAMED]]
        if len(given.bad) > MAX_NAMED:
            notes.append(f"  and {len(given.bad) - MAX_NAMED:,} more")
    if unusual is None:
        notes.append("unusual images are unknown: this run was saved without the bounds of its images")
    elif unusual.any():
        names = [content.shortened(given.names[row], 60) for row in np.flatnonzero(unusual)[:MAX_NAMED]]
        more = ", ..." if unusual.sum() > MAX_NAMED else ""
        notes.append(
            f"{int(unusual.sum()):,} unusual: the bound is lower than that of {1 - UNUSUAL_SHARE:.0%} of the"
            f" run's own{f' {usual}' if usual else ''} images ({', '.join(names)}{more})"
        )
        if "training" in usual:
            notes.append(
                "few images were held out of training: the bounds of training images are higher than those of"
                " equal new ones, which may therefore count as unusual"
            )
    return notes


def _document(
    options: Assign,
    trained: checkpoint.Trained,
    given: Inputs,
    found: Assignments,
    unusual: np.ndarray | None,
) -> dict[str, Any]:
    """Return the result for JSON."""
    table = _table(given, found, unusual, latents=False)
    rows = [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    if options.latents:
        for row, latent in zip(rows, found.latents.tolist(), strict=True):
            row["latents"] = latent
    counts = Counter(found.experts.tolist())
    return {
        "checkpoint": str(options.checkpoint),
        "fingerprint": fingerprint(trained.config),
        "num_experts": found.gate_probs.shape[1],
        "load": [counts[expert] for expert in range(found.gate_probs.shape[1])],
        "unusual_below": trained.unusual_below,
        "usual_images": trained.usual_images or None,
        "skipped": [{"file": name, "reason": fault} for name, fault in given.bad],
        "images": rows,
    }
