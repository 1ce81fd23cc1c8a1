"""Files that were made to break their reader: a name for each, and how it is written."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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
    """Yield faults of any file: truncated at many places, bytes changed, no file."""
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
    """Yield faults of a JSON file."""
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


PROFILE = 'title = "t"\npreset = "digits"\nseeds = 1\n'


def profiles() -> Iterator[Case]:
    """Yield faults of a profile."""
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
        "a reference cell of another kind": PROFILE
        + "[axes]\nrouting.temperature = [1.0]\n[reference]\nrouting.temperature = [[1]]",
        "a reference cell elsewhere": PROFILE
        + "[axes]\nrouting.temperature = [1.0]\n[reference]\ntrain.epochs = 3",
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
