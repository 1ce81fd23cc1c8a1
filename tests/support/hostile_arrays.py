"""Archives and arrays with false headers."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from hostile import Case, anywhere, put


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(text: str, data: bytes = b"", version: int = 1) -> bytes:
    """An npy file with a header of one's own."""
    form = "<H" if version == 1 else "<I"
    body = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, len(body)) + body + data


def announcing(shape: str, dtype: str = "'|u1'", fortran: str = "False", data: bytes = b"") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}", data)


def archived(
    members: Mapping[str, bytes] | list[tuple[str, bytes]],
    compression: int = zipfile.ZIP_STORED,
    edit: Callable[[bytearray], object] = lambda content: None,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in dict(members).items():
            archive.writestr(name, content)
    content = bytearray(buffer.getvalue())
    edit(content)
    return bytes(content)


def _set(offset: int, central: int, form: str, value: int) -> Callable[[bytearray], None]:
    """Overwrite a field of a zip's first member, in both of its headers."""

    def edit(content: bytearray) -> None:
        struct.pack_into(form, content, offset, value)
        struct.pack_into(form, content, content.index(b"PK\x01\x02") + central, value)

    return edit


def npzs() -> Iterator[Case]:
    """Yield faults of an npz file."""
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 5), dtype=np.uint8)
    good = npy(images)
    whole = archived({"images.npy": good, "labels.npy": npy(np.arange(60) % 3)})
    yield from anywhere(whole)
    for word, content in {
        "encrypted": archived({"images.npy": good}, edit=_set(6, 8, "<H", 1)),
        "unknown compression": archived({"images.npy": good}, edit=_set(8, 10, "<H", 99)),
        "another compression": archived({"images.npy": good}, edit=_set(8, 10, "<H", 14)),
        "a size that is not": archived({"images.npy": good}, edit=_set(22, 24, "<I", 2**32 - 2)),
        "a smaller size": archived({"images.npy": good}, edit=_set(22, 24, "<I", 200)),
        "no member": archived({}),
        "no images": archived({"labels.npy": good}),
        "a member that is text": archived({"images.npy": good, "readme.txt": b"hello"}),
        "a member that is no array": archived({"images.npy": b"hello"}),
        "a member without ending": archived({"images": b"hello"}),
        "a folder as member": archived({"images.npy": good, "labels/": b""}),
        "another folder's member": archived({"../images.npy": good}),
        "an unknown member": archived({"images.npy": good, "Labels.npy": npy(np.arange(60))}),
        "a member of a long name": archived({"x" * 60_000 + ".npy": good}),
        "twice the same": archived({"images.npy": good, "images": good}),
        "an archive in an archive": archived({"images.npy": archived({"images.npy": good})}),
        "objects": archived({"images.npy": npy(np.array([[None, 1]], dtype=object))}),
        "labels that are objects": archived({"images.npy": good, "labels.npy": npy(np.array([None] * 60))}),
        "records": archived({"images.npy": npy(np.zeros((60, 4), "u1,u1"))}),
        "dates": archived({"images.npy": npy(np.zeros((60, 4), "M8[s]"))}),
        "complex numbers": archived({"images.npy": npy(np.zeros((60, 4), complex))}),
        "texts": archived({"images.npy": npy(np.full((60, 4), "x"))}),
        "bytes": archived({"images.npy": npy(np.full((60, 4), b"x"))}),
        "no axis": archived({"images.npy": npy(np.array(3))}),
        "an empty axis": archived({"images.npy": npy(np.zeros((60, 0, 4)))}),
        "32 axes": archived({"images.npy": npy(np.zeros([1] * 32))}),
        "a column": archived({"images.npy": npy(np.zeros((60, 784, 1)))}),
        "NaN": archived({"images.npy": npy(np.full((60, 4), np.nan))}),
        "labels of another length": archived({"images.npy": good, "labels.npy": npy(np.arange(59))}),
        "labels that are no text": archived(
            {"images.npy": good, "labels.npy": npy(np.full(60, 0x7FFFFFFF, "<u4").view("<U1"))}
        ),
        "more than it has": archived({"images.npy": announcing("(60, 6, 5)", data=bytes(100))}),
        "less than it has": archived({"images.npy": announcing("(60, 6, 5)", data=bytes(10_000))}),
        "10^18 images": archived({"images.npy": announcing("(1000000000000000000, 6, 5)")}),
        "10^18 empty images": archived({"images.npy": announcing("(1000000000000000000, 0)")}),
        "a shape that overflows": archived({"images.npy": announcing("(4294967296, 4294967296, 16)")}),
        "a negative shape": archived({"images.npy": announcing("(-1, 6, 5)")}),
        "negative twice": archived({"images.npy": announcing("(-6, -5)", data=bytes(30))}),
        "a shape of text": archived({"images.npy": announcing("'60'")}),
        "a shape of truth": archived({"images.npy": announcing("(True, True, True)", data=b"x")}),
        "a shape that is a sum": archived({"images.npy": announcing("(1 + 1, 2)")}),
        "a shape that calls": archived({"images.npy": announcing("__import__('os').getpid()")}),
        "10^18 texts of no length": archived(
            {"images.npy": good, "labels.npy": announcing("(10**18,)", "'<U0'")}
        ),
        "an unknown dtype": archived({"images.npy": announcing("(60, 4)", "'<q9'")}),
        "a dtype of itself": archived({"images.npy": announcing("(60, 4)", "[('a', '<f4', (2, 3))]")}),
        "nested headers": archived({"images.npy": header("(" * 9000)}),
        "a header of 60 kB": archived({"images.npy": header("{" + "'a': 1, " * 7000 + "}", version=2)}),
        "a header of 4 GB": archived({"images.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100)}),
        "no header": archived({"images.npy": b"\x93NUMPY\x01\x00\x00\x00"}),
        "a header of Python 2": archived({"images.npy": announcing("(60L, 6L, 5L)", data=bytes(3))}),
        "unknown version": archived({"images.npy": b"\x93NUMPY\x09\x00" + good[8:]}),
        "not text": archived({"images.npy": header("\x00\xff\xfe{")}),
        "one bare array": good,
    }.items():
        yield word, put(content)
    yield "a bomb", _bomb


def _bomb(path: Path) -> None:
    """Write a gigabyte of zeros, packed a thousandfold."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as member,
    ):
        member.write(announcing("(1024, 1024, 1024)"))
        for _ in range(1024):
            member.write(bytes(1 << 20))


def npys() -> Iterator[Case]:
    """Yield faults of an npy file of images."""
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    for word, write in anywhere(npy(images), count=4):
        if "changed" not in word:  # a changed pixel is another image
            yield word, write
    for word, content in {
        "objects": npy(np.array([[None, 1]], dtype=object)),
        "a pickle": b"\x80\x04K\x01.",
        "an archive": archived({"images.npy": npy(images)}),
        "records": npy(np.zeros((60, 4), "u1,u1")),
        "texts": npy(np.full((60, 4), "x")),
        "no axis": npy(np.array(3)),
        "colors": npy(np.zeros((6, 8, 8, 3), np.uint8)),
        "NaN": npy(np.full((60, 8, 8), np.nan)),
        "less than it has": announcing("(60, 8, 8)", data=bytes(100)),
        "10^18 images": announcing("(1000000000000000000, 8, 8)"),
        "10^18 empty images": announcing("(1000000000000000000, 0)"),
        "a shape that overflows": announcing("(4294967296, 4294967296, 16)"),
        "a negative shape": announcing("(-1, 8, 8)"),
        "a shape that calls": announcing("__import__('os').getpid()"),
        "nested headers": header("(" * 9000),
    }.items():
        yield word, put(content)
