"""Checkpoints that are damaged."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from hostile import DEEP, Case, anywhere, put


def tensors(content: Mapping[str, Any], data: bytes = b"") -> bytes:
    """A safetensors file with a header of one's own."""
    head = json.dumps(content).encode()
    return struct.pack("<Q", len(head)) + head + data


def checkpoints(whole: bytes) -> Iterator[Case]:
    """Yield faults of a checkpoint other than wrong digests."""
    size = struct.unpack("<Q", whole[:8])[0]
    head, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    name = next(key for key in head if key != "__metadata__")
    yield from anywhere(whole)
    for word, content in {
        "a header of 10^18 bytes": struct.pack("<Q", 10**18) + whole[8:],
        "a header longer than the file": struct.pack("<Q", len(whole)) + whole[8:],
        "deep JSON": struct.pack("<Q", 2 * DEEP) + b"[" * DEEP + b"]" * DEEP,
        "no metadata": tensors({key: value for key, value in head.items() if key != name}, data),
        "metadata that is a list": tensors(head | {"__metadata__": []}, data),
        "metadata of numbers": tensors(head | {"__metadata__": {"format": 3}}, data),
        "only metadata": tensors({"__metadata__": head["__metadata__"]}),
        "bytes behind it": whole + bytes(100),
        "an unknown type": tensors(head | {name: head[name] | {"dtype": "F128"}}, data),
        "a type of another size": tensors(head | {name: head[name] | {"dtype": "F64"}}, data),
        "a negative shape": tensors(head | {name: head[name] | {"shape": [-1, -4]}}, data),
        "a huge shape": tensors(head | {name: head[name] | {"shape": [2**40, 2**40]}}, data),
        "a shape of text": tensors(head | {name: head[name] | {"shape": "x"}}, data),
        "offsets that cross": tensors(head | {name: head[name] | {"data_offsets": [8, 0]}}, data),
        "offsets beyond the end": tensors(head | {name: head[name] | {"data_offsets": [0, 2**60]}}, data),
        "no offsets": tensors(head | {name: {"dtype": "F32", "shape": [1]}}, data),
        "a pickle": b"\x80\x04K\x01.",
    }.items():
        yield word, put(content)
    for key in head["__metadata__"]:
        for word, value in {
            "empty": "",
            "zero": "0",
            "huge": "9" * 5000,
            "deep": "[" * DEEP,
            "text": "x",
        }.items():
            if key not in ("sha256", "labels_sha256"):  # any text may be a digest
                metadata = head["__metadata__"] | {key: value}
                yield f"{key} is {word}", put(tensors(head | {"__metadata__": metadata}, data))
