"""Files of snapshots: the state of a population during training, as a safetensors file with a checksum.

The name contains a digest of the configurations, the data, the code and the kind of device. A snapshot of
other data or code is therefore kept, and training can continue from it after they are restored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config.overrides import fingerprint
from moevae.config.schema import RunConfig
from moevae.errors import CheckpointError
from moevae.utils import content
from moevae.utils.content import parsing
from moevae.utils.identity import DIGEST_DIGITS
from moevae.utils.io import remove_empty, write_atomically

FORMAT = "moevae-snapshot-2"
_DIGEST = hashlib.sha256().digest_size
_MAX_HEADER = 1 << 26
"""Largest header, in bytes."""


def snapshot_path(folder: Path, configs: Sequence[RunConfig], origin: Mapping[str, str]) -> Path:
    """Return the path of a snapshot.

    Args:
        folder: folder of the snapshots.
        configs: one per run; their order counts.
        origin: what determines the numbers, from `snapshots.origin`.
    """
    return folder / f"{_stem(configs)}-{_hash(json.dumps(origin, sort_keys=True))}.snapshot"


def write(
    path: Path,
    configs: Sequence[RunConfig],
    tensors: Mapping[str, Tensor],
    plain: Any,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write a snapshot, atomically.

    Args:
        path: the file.
        configs: one per run.
        tensors: tensors by name.
        plain: plain data that JSON can represent.
        origin: what determines the numbers, from `snapshots.origin`.

    Raises:
        OSError: the file cannot be written.
    """
    head = {
        "format": FORMAT,
        "runs": json.dumps(_names(configs)),
        "origin": json.dumps(origin or {}),
        "plain": json.dumps(plain),
    }
    body = to_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, head)
    write_atomically(path, hashlib.sha256(body).digest() + body)


def read(
    path: Path, configs: Sequence[RunConfig], origin: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], Any]:
    """Read a snapshot.

    Args:
        path: the file.
        configs: the configurations that the snapshot must have.
        origin: the origin that the snapshot must have; None accepts any.

    Returns:
        The tensors by name, and the plain data.

    Raises:
        CheckpointError: the file is missing, truncated or modified, or has other configurations or another
            origin.
    """
    with parsing(f"{path}: cannot be read", CheckpointError):
        whole = content.read(path, content.available_memory() // 3)
    digest, body = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: checksum mismatch: the file is truncated or modified")
    with parsing(f"{path}: not a snapshot of this version", CheckpointError):
        tensors, head = from_bytes(body), _head(body)
        runs, plain = content.parse_json(head["runs"]), content.parse_json(head["plain"])
        then = _origin(head)
    if head.get("format") != FORMAT or runs != _names(configs):
        raise CheckpointError(f"{path}: snapshot of other runs")
    if origin is not None and (found := _unlike(then, origin)):
        raise CheckpointError(f"{path}: snapshot with {found}")
    return tensors, plain


def others(path: Path, configs: Sequence[RunConfig], origin: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield the snapshots of the same runs in the folder of `path`, and how the origin of each differs.

    Args:
        path: path of a snapshot of these runs; see `snapshot_path`.
        configs: one per run.
        origin: what determines the numbers, from `snapshots.origin`.
    """
    for other in sorted(path.parent.glob(f"{_stem(configs)}*.snapshot")):
        try:
            yield other, _unlike(_origin(_head_of(other)), origin)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            yield other, "the format of another version"


def remove(folder: Path, done: Collection[str]) -> None:
    """Remove the snapshots whose runs are all done, and the folder if it is then empty.

    Args:
        folder: folder of the snapshots; other files are kept.
        done: fingerprints of the runs that are done.
    """
    for path in folder.glob("*.snapshot"):
        runs = _runs(path)
        if runs and all(run in done for run in runs):
            path.unlink(missing_ok=True)
    remove_empty([folder])


def _runs(path: Path) -> list[str]:
    """Return the fingerprints of the runs of a snapshot from its header; none if it is not a snapshot."""
    try:
        if path.is_symlink() or not path.is_file():
            return []
        found = _head_of(path)
        runs = content.parse_json(found["runs"]) if found["format"].startswith("moevae-snapshot-") else []
        return [str(run) for run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _stem(configs: Sequence[RunConfig]) -> str:
    """Return the part of a file name that the configurations determine."""
    return _hash("-".join(_names(configs)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _names(configs: Sequence[RunConfig]) -> list[str]:
    """Return the fingerprints of the configurations."""
    return [fingerprint(config) for config in configs]


def _head(body: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, which begins with a length of 8 bytes and JSON."""
    length = int.from_bytes(body[:8], "little")
    return content.parse_json(body[8 : 8 + length]).get("__metadata__", {})


def _head_of(path: Path) -> dict[str, str]:
    """Return the metadata of a snapshot without reading its tensors."""
    with content.opened(path) as file:
        length = file.read(_DIGEST + 8)[_DIGEST:]
        return _head(length + file.read(min(int.from_bytes(length, "little"), _MAX_HEADER)))


def _origin(head: Mapping[str, str]) -> dict[str, str]:
    """Return the origin in the metadata of a snapshot, as texts."""
    return {key: str(value) for key, value in dict(content.parse_json(head["origin"])).items()}


def _unlike(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the differences of two origins as text; empty if there are none."""
    pairs = {key: (then.get(key, ""), now[key]) for key in now if then.get(key, "") != now[key]}
    return ", ".join(
        f"different {key} ({old[:DIGEST_DIGITS] or 'none'} then, {new[:DIGEST_DIGITS] or 'none'} now)"
        for key, (old, new) in pairs.items()
    )
