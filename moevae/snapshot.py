"""A population in the middle of training, as one checksummed safetensors file.

A snapshot is either whole and of the configurations asked for, or it is refused: training then starts anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from moevae.config import RunConfig, fingerprint
from moevae.errors import CheckpointError
from moevae.files import write_atomically

FORMAT = "moevae-snapshot-1"
_DIGEST = hashlib.sha256().digest_size


def write(path: Path, configs: Sequence[RunConfig], tensors: Mapping[str, Tensor], plain: Any) -> None:
    """Write tensors and plain data (JSON) of these configurations, whole or not at all."""
    head = {"format": FORMAT, "runs": json.dumps(_names(configs)), "plain": json.dumps(plain)}
    body = to_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, head)
    write_atomically(path, hashlib.sha256(body).digest() + body)


def read(path: Path, configs: Sequence[RunConfig]) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the plain data written for these configurations.

    Raises:
        CheckpointError: no such file, torn, bits flipped, or of other configurations.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: its checksum does not fit: torn or changed")
    try:
        tensors, head = from_bytes(body), _head(body)
        runs, plain = json.loads(head["runs"]), json.loads(head["plain"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not a snapshot of this version ({error})") from None
    if head.get("format") != FORMAT or runs != _names(configs):
        raise CheckpointError(f"{path}: a snapshot of other runs")
    return tensors, plain


def _names(configs: Sequence[RunConfig]) -> list[str]:
    return [fingerprint(config) for config in configs]


def _head(body: bytes) -> dict[str, str]:
    """Return a safetensors file's metadata: a length, 8 bytes, and JSON (the format's specification)."""
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length]).get("__metadata__", {})
