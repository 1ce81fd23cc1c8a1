"""Files that were made to break their reader: a name for each, and how it is written."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Case = tuple[str, Callable[[Path], object]]

WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "-1": -1,
    "10^400": 10**400,
    "1e308": 1e308,
    "NaN": float("nan"),
    "text": "x",
    "long text": "x" * 100_000,
    "empty text": "",
    "list": [],
    "list of lists": [[1], [2, 3]],
    "table": {},
    "table of tables": {"a": {"b": 1}},
}
"""Values of other kinds than what is right."""

DEEP = 100_000


def put(content: bytes) -> Callable[[Path], object]:
    """Write these bytes."""
    return lambda path: path.write_bytes(content)


def anywhere(whole: bytes, seed: int = 0, count: int = 12) -> Iterator[Case]:
    """What breaks a file of any kind: torn at many places, bytes changed, no file at all."""
    chance = random.Random(seed)
    for size in sorted(
        {0, 1, 7, 8, 9, *(len(whole) * part // count for part in range(1, count)), len(whole) - 1}
    ):
        yield f"torn at {size}", put(whole[:size])
    for number in range(count):
        broken = bytearray(whole)
        for _ in range(1 + number):
            broken[chance.randrange(len(whole))] ^= chance.randrange(1, 256)
        yield f"{1 + number} bytes changed", put(bytes(broken))
    yield "zeros", put(bytes(len(whole)))
    yield "a page", put(b"<!DOCTYPE html>\n<p>404</p>\n")
    yield "noise", put(chance.randbytes(len(whole)))
    yield "a folder", Path.mkdir
    yield "a pipe", os.mkfifo
    yield "a device", lambda path: path.symlink_to("/dev/zero")
    yield "a link to itself", lambda path: path.symlink_to(path)


def swaps(tree: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every part of nested data in turn, replaced by values of other kinds; of a list the first part."""
    parts: Any = tree.items() if isinstance(tree, dict) else list(enumerate(tree))[:1]
    for key, value in parts:
        at = (*place, key)
        name = ".".join(map(str, at))
        for word, wrong in WRONG.items():
            yield f"{name} = {word}", (at, wrong)
        if isinstance(value, dict | list):
            yield from swaps(value, at)


def swapped(tree: Mapping[str, Any], at: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The data with one part replaced."""
    made = copy.deepcopy(dict(tree))
    branch: Any = made
    for key in at[:-1]:
        branch = branch[key]
    branch[at[-1]] = value
    return made


def lacking(tree: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The data without one of its keys, or with one too many."""
    for key in tree:
        yield f"without {key}", {name: value for name, value in tree.items() if name != key}
    yield "an unknown key", {**tree, "colour": "red"}


def jsons(whole: bytes) -> Iterator[Case]:
    """What breaks a file of JSON."""
    yield from anywhere(whole, count=6)
    for word, content in {
        "deep lists": b"[" * DEEP + b"]" * DEEP,
        "deep tables": b'{"a":' * DEEP,
        "a list": b"[]",
        "a number": b"3",
        "null": b"null",
        "text": b'"x"',
        "half a surrogate": b'{"schema": 2, "name": "\\ud800"}',
        "not UTF-8": b'{"schema": 2, "name": "\xff"}',
        "a mark of bytes": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "twice": whole * 2,
        "a long number": b'{"schema": ' + b"9" * 10_000 + b"}",
        "larger than any": whole.rstrip()[:-1] + b" " * (1 << 25) + b"}",
    }.items():
        yield word, put(content)


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
    """What breaks an npz file."""
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
    """What breaks an npy file of images."""
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
    """What breaks an image file, whatever its name says."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    image = Image.fromarray(noise)
    kinds = {kind: _encoded(image, kind) for kind in ("PNG", "TIFF", "BMP", "JPEG", "GIF")}
    for kind in ("PNG", "BMP"):
        for word, write in anywhere(kinds[kind], count=3):
            # A changed pixel is another image, the last byte tells nothing, and an empty folder is allowed.
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


def tensors(content: Mapping[str, Any], data: bytes = b"") -> bytes:
    """A safetensors file with a header of one's own."""
    head = json.dumps(content).encode()
    return struct.pack("<Q", len(head)) + head + data


def checkpoints(whole: bytes) -> Iterator[Case]:
    """What breaks a checkpoint, digests apart."""
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
                told = head["__metadata__"] | {key: value}
                yield f"{key} is {word}", put(tensors(head | {"__metadata__": told}, data))


PROFILE = 'title = "t"\npreset = "digits"\nseeds = 1\n'


def profiles() -> Iterator[Case]:
    """What breaks a profile."""
    whole = (PROFILE + "[axes]\nrouting.temperature = [1.0, 2.0]\n").encode()
    chance = random.Random(0)
    for word, content in {
        "deep lists": PROFILE + "[axes]\nrouting.temperature = " + "[" * DEEP + "]" * DEEP,
        "nested lists": PROFILE + "[axes]\nrouting.temperature = [[[1]]]",
        "a list of lists": PROFILE + "[axes]\nmodel.expert_hidden = [[[1], [2]]]",
        "a list of tables": PROFILE + "[axes]\nrouting.temperature = [{a = 1}]",
        "deep tables": PROFILE + "[axes]\n" + "a." * DEEP + "b = 1",
        "deep tables in set": PROFILE + "[set]\n" + "a." * 2000 + "b = 1\n[axes]\nrouting.temperature = [1]",
        "10^12 cells": PROFILE
        + "[axes]\n"
        + "\n".join(
            f"{key} = {list(range(1, 1001))}"
            for key in ("train.epochs", "train.batch_size", "model.num_experts", "model.latent_dim")
        ),
        "10^6 levels": PROFILE + f"[axes]\ntrain.epochs = {list(range(1, 150_001))}",
        "axes that are a list": PROFILE + "axes = [1]",
        "axes that are a number": PROFILE + "axes = 1",
        "an axis that is a number": PROFILE + "[axes]\nrouting.temperature = 1",
        "an axis that is empty": PROFILE + "[axes]\nrouting.temperature = []",
        "an axis of dates": PROFILE + "[axes]\nrouting.temperature = [1979-05-27]",
        "an axis of times": PROFILE + "[axes]\ntrain.epochs = [07:32:00]",
        "an axis of NaN": PROFILE + "[axes]\nrouting.temperature = [nan, 1.0]",
        "an axis of infinity": PROFILE + "[axes]\nrouting.temperature = [inf]",
        "an axis of mixed kinds": PROFILE + '[axes]\nrouting.temperature = [1.0, "hot", [2]]',
        "an axis twice the same": PROFILE + "[axes]\nrouting.temperature = [1.0, 1]",
        "an unknown axis": PROFILE + "[axes]\nrouting.temperatur = [1.0]",
        "a section as axis": PROFILE + "[axes]\nrouting = [1.0]",
        "an axis of a long name": PROFILE + f"[axes]\n{'x' * 100_000} = [1.0]",
        "a baseline of another kind": PROFILE
        + "[axes]\nrouting.temperature = [1.0]\n[baseline]\nrouting.temperature = [[1]]",
        "a baseline elsewhere": PROFILE + "[axes]\nrouting.temperature = [1.0]\n[baseline]\ntrain.epochs = 3",
        "settings that are a list": PROFILE + "set = [1]\n[axes]\nrouting.temperature = [1.0]",
        "settings of dates": PROFILE
        + "[set]\ntrain.epochs = 1979-05-27\n[axes]\nrouting.temperature = [1.0]",
        "settings of lists": PROFILE + "[set]\ntrain.epochs = [[1]]\n[axes]\nrouting.temperature = [1.0]",
        "a huge number": PROFILE + f"[set]\ntrain.epochs = {'9' * 5000}\n[axes]\nrouting.temperature = [1.0]",
        "seeds of text": PROFILE.replace("= 1", '= "x"') + "[axes]\nrouting.temperature = [1.0]",
        "seeds below zero": PROFILE.replace("= 1", "= -5") + "[axes]\nrouting.temperature = [1.0]",
        "seeds without end": PROFILE.replace("= 1", f"= {10**17}") + "[axes]\nrouting.temperature = [1.0]",
        "seeds of lists": PROFILE.replace("= 1", "= [[1]]") + "[axes]\nrouting.temperature = [1.0]",
        "a preset that is a list": PROFILE.replace('"digits"', "[1]") + "[axes]\nrouting.temperature = [1.0]",
        "a name that is a path": PROFILE + 'name = "../x"\n[axes]\nrouting.temperature = [1.0]',
        "a name that is a number": PROFILE + "name = 3\n[axes]\nrouting.temperature = [1.0]",
        "an unknown design": PROFILE + 'design = "star"\n[axes]\nrouting.temperature = [1.0]',
        "an unknown key": PROFILE + "colour = 1\n[axes]\nrouting.temperature = [1.0]",
        "no axes": PROFILE,
        "nothing": "",
        "JSON": '{"title": "t"}',
        "keys twice": PROFILE + PROFILE,
    }.items():
        yield word, put(content.encode())
    yield "not UTF-8", put(whole + b"# \xff\n")
    yield "UTF-16", put(whole.decode().encode("utf-16"))
    yield "too large", put(whole + b"#" * (1 << 21))
    yield "zeros", put(bytes(100))
    yield "noise", put(chance.randbytes(500))
    yield "a folder", Path.mkdir
    yield "a pipe", os.mkfifo
    yield "a device", lambda path: path.symlink_to("/dev/zero")
    yield "a link to itself", lambda path: path.symlink_to(path)
