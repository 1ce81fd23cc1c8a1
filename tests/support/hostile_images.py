"""Image files that are damaged, or too large, or not images."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hostile import Case, anywhere, put
from PIL import Image


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    """A gray PNG file with a size and content of one's own."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packed = _chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + packed + _chunk(b"IEND", b"")


def _encoded(image: Image.Image, kind: str, **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def pictures() -> Iterator[Case]:
    """Yield faults of an image file of any name."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    image = Image.fromarray(noise)
    kinds = {kind: _encoded(image, kind) for kind in ("PNG", "TIFF", "BMP", "JPEG", "GIF")}
    for kind in ("PNG", "BMP"):
        for word, write in anywhere(kinds[kind], count=3):
            # A changed pixel is another image, the last byte has no effect, and an empty folder is allowed.
            if "changed" not in word and word not in ("a folder", f"torn at {len(kinds[kind]) - 1}"):
                yield f"{kind} {word}", write
    pages = {"save_all": True, "append_images": [image, image]}
    for word, content in {
        "JPEG torn": kinds["JPEG"][: len(kinds["JPEG"]) // 2],
        "TIFF torn": kinds["TIFF"][: len(kinds["TIFF"]) // 2],
        "another format": kinds["GIF"],
        "a pickle": b"\x80\x04K\x01.",
        "a script": b"#!/bin/sh\nexit 1\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        "a vector image": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "100 megapixels": png(10_000, 10_000, bytes(10_001 * 10_000)),
        "more pixels than bytes": png(7000, 7000, bytes(100)),
        "2^62 pixels": png(2**31 - 1, 2**31 - 1, b""),
        "no pixel": png(0, 8, b""),
        "text that unpacks to a gigabyte": png(
            8, 8, bytes(72), _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 27), 9))
        ),
        "a checksum that is not": png(8, 8, bytes(72))[:-20] + bytes(20),
        "pages": _encoded(image, "TIFF", **pages),
        "frames": _encoded(image, "PNG", **pages),
        "NaN": _encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"),
        "numbers above one": _encoded(Image.fromarray(np.full((8, 8), 7, np.float32)), "TIFF"),
        "a TIFF of 10^9 tags": b"II*\0\x08\0\0\0\xff\xff" + bytes(30),
        "a TIFF that is a circle": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    }.items():
        yield word, put(content)
    yield "a link out of the folder", lambda path: path.symlink_to(_outside(path, kinds["PNG"]))
    yield "a link to nothing", lambda path: path.symlink_to("nothing.png")
    yield "256 MiB of nothing", _sparse


def _outside(path: Path, content: bytes) -> Path:
    target = path.parents[1] / "outside.png"
    target.write_bytes(content)
    return target


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"BM")
        file.truncate((1 << 28) + 1)
