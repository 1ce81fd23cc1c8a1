"""Safe reading of npz files: the header of each array is checked before the array is allocated."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moevae.errors import ConfigError, DataError
from moevae.utils import content
from moevae.utils.suggest import closest_name

_MAX_HEADER = 1 << 16
"""Largest header of an array, in bytes."""


@dataclass(frozen=True)
class Header:
    """Header of an array: its shape, its data type and its size in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    bytes: int


class Archive:
    """An open npz file whose arrays have known names and fit into memory.

    Args:
        what: name of the file in messages.
        file: the open file.
        names: allowed names of arrays.

    Raises:
        DataError: an array has an unknown name, is not a plain array, or the arrays are too large.
    """

    def __init__(self, what: str, file: zipfile.ZipFile, names: Sequence[str]) -> None:
        self.what, self._file = what, file
        self.headers: dict[str, Header] = {}
        for member in file.infolist():
            name = member.filename.removesuffix(".npy")
            try:
                closest_name("array", name, names)
            except ConfigError as error:
                raise DataError(f"{what}: {error}") from None
            if name in self.headers:
                raise DataError(f"{what}: contains two arrays named {name}")
            with content.parsing(f"{what}: {name} is not a plain array", DataError):
                self.headers[name] = _header(file, member)
        total, free = sum(header.bytes for header in self.headers.values()), content.available_memory()
        if 2 * total > free:  # the arrays and their processed copies
            raise DataError(
                f"{what}: its arrays have {total:,} bytes; {free:,} bytes of memory are available"
            )

    def read(self, name: str) -> np.ndarray:
        """Return one array.

        Args:
            name: name of the array, without `.npy`.

        Raises:
            DataError: the array is truncated or corrupt.
        """
        with (
            content.parsing(f"{self.what}: {name} cannot be read", DataError),
            _quiet(),
            self._file.open(f"{name}.npy") as member,
        ):
            return np.lib.format.read_array(member, allow_pickle=False)


class BareArray(Archive):
    """An npy file, as an archive that contains one array.

    Args:
        what: name of the file in messages.
        path: the file.
        name: name that the array gets.

    Raises:
        DataError: the file is missing, is not a plain array, or does not fit into memory.
    """

    def __init__(self, what: str, path: Path, name: str) -> None:
        self.what = what
        self._path = path
        try:
            with (
                content.parsing(
                    f"{what}: not a complete npy file of numbers", DataError, but=FileNotFoundError
                ),
                content.opened(path) as file,
            ):
                header = _parse(file.read(_MAX_HEADER), path.stat().st_size)
        except FileNotFoundError:
            raise DataError(f"{what}: file not found ({path.absolute()})") from None
        if 2 * header.bytes > (free := content.available_memory()):
            raise DataError(f"{what}: has {header.bytes:,} bytes; {free:,} bytes of memory are available")
        self.headers = {name: header}

    def read(self, name: str) -> np.ndarray:
        """Return the array."""
        with (
            content.parsing(f"{self.what}: cannot be read", DataError),
            _quiet(),
            content.opened(self._path) as file,
        ):
            return np.lib.format.read_array(file, allow_pickle=False)


@contextmanager
def opened(path: Path, what: str, names: Sequence[str]) -> Iterator[Archive]:
    """Open an npz file for reading.

    Args:
        path: the file.
        what: name of the file in messages.
        names: allowed names of arrays.

    Raises:
        DataError: the file is missing or not an npz file, or an array has another name or is unsupported.
    """
    hint = "expected np.savez(path, images=...)"
    with ExitStack() as stack:
        try:
            with content.parsing(
                f"{what}: not a complete npz file; {hint}", DataError, but=FileNotFoundError
            ):
                file = stack.enter_context(content.opened(path.expanduser()))
                if (begin := file.read(2)) == b"\x93N":
                    raise DataError(f"{what}: contains a single unnamed array; {hint}")
                if begin != b"PK":
                    raise ValueError("not a zip archive")
                found = Archive(what, stack.enter_context(zipfile.ZipFile(file)), names)
        except FileNotFoundError:
            raise DataError(f"{what}: file not found ({path.expanduser().absolute()})") from None
        yield found


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    """Return the header of an array.

    Raises:
        ValueError: the member is not an array, contains Python objects, or has another size than its header
            says.
    """
    if not member.filename.endswith(".npy"):
        raise ValueError("expected a name that ends in .npy")
    if member.flag_bits & 1:
        raise ValueError("it is encrypted")
    with archive.open(member) as file:
        return _parse(file.read(_MAX_HEADER), member.file_size)


def _parse(begin: bytes, size: int) -> Header:
    """Return the header of an npy file from its first bytes; size is that of the whole file, in bytes.

    Raises:
        ValueError: it is not an array of plain values, or has another size than its header says.
    """
    head = io.BytesIO(begin)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(head)
    if version not in readers:
        raise ValueError(f"npy format {version[0]}.{version[1]}; expected 1.0 or 2.0")
    with _quiet():
        shape, _, dtype = readers[version](head)
    if dtype.hasobject:
        raise ValueError("it contains pickled Python objects; expected numbers or strings")
    if dtype.names or dtype.subdtype or min(shape, default=0) < 0:
        raise ValueError(f"unsupported shape {list(shape)} or dtype {dtype}")
    needed, held = math.prod(shape) * dtype.itemsize, size - head.tell()
    if needed != held:
        raise ValueError(f"shape {list(shape)} and dtype {dtype} need {needed:,} bytes; it has {held:,}")
    return Header(shape, dtype, needed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warning of NumPy about files that Python 2 wrote."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        yield
