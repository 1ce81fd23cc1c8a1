"""Devices: selection, preparation, memory, energy and description."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from moevae.errors import ConfigError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as in malloc.h

_POWER = Path("/sys/class/powercap")


def available() -> list[torch.device]:
    """Return the devices of this machine; the first one is the choice of `auto`."""
    there = {"cuda": torch.cuda.is_available(), "cpu": True, "mps": torch.backends.mps.is_available()}
    return [torch.device(kind) for kind in there if there[kind]]


def resolve(name: str) -> torch.device:
    """Return the device with the given name.

    Args:
        name: `auto` (a CUDA device if there is one, else the CPU), or the name of a torch device.

    Raises:
        ConfigError: this machine has no such device.
    """
    here = available()
    if name == "auto":
        return here[0]
    if not _exists(name):
        names = ", ".join(device.type for device in here)
        raise ConfigError(f"device {name!r} is not available; expected one of: {names}")
    return torch.device(name)


def _exists(name: str) -> bool:
    """Return whether this machine has the device with its index."""
    try:
        device = torch.device(name)
    except RuntimeError:
        return False
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    return device.type in [each.type for each in available()] and (device.index or 0) < count


def prepare(threads: int | None = None) -> None:
    """Set this process up for fast computation; call it at the entry point of a program, not in a library.

    Denormals are flushed to zero in this thread and in threads that it starts, and glibc keeps large freed
    blocks; see `keep_freed_memory`. The settings last until the process ends.

    Args:
        threads: number of threads of torch; None does not change it.
    """
    torch.set_flush_denormal(True)
    keep_freed_memory()
    _use_threads(threads)


@contextmanager
def cpu_settings(threads: int | None = None) -> Iterator[None]:
    """Flush denormals to zero and set the number of threads within the context; restore both at its end.

    Computing with a denormal number takes up to a hundred times as long as with a normal one. Training and
    evaluation always flush denormals, so that their results do not depend on the caller.

    Args:
        threads: number of threads of torch; None does not change it.
    """
    flushing, before = sys.float_info.min / 2 == 0, torch.get_num_threads()
    torch.set_flush_denormal(True)
    _use_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushing)
        _use_threads(None if threads is None else before)


def _use_threads(threads: int | None) -> None:
    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks until `return_freed_memory` or the end of this process.

    Returning them to the operating system at once took up to a fifth of the time of a training step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let glibc keep large freed blocks within the context, and return them at its end."""
    keep_freed_memory()
    try:
        yield
    finally:
        return_freed_memory()


def return_freed_memory() -> None:
    """Return the memory that glibc keeps to the operating system; other processes can use it then."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def to_device(
    values: Sequence[float], device: torch.device, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return numbers as a tensor on a device, without waiting for its pending work.

    Args:
        values: the numbers, [N].
        device: the device.
        dtype: data type of the tensor; None infers it.

    Returns:
        The tensor, [N].
    """
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its pending work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def memory(device: torch.device) -> int:
    """Return the total memory of a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def energy(device: torch.device) -> float | None:
    """Return the energy counter of a device, in joules with an arbitrary zero; None if it cannot be read.

    For a GPU, NVML is read if its Python package is installed. For a CPU, the counters of RAPL are read;
    Linux allows this to root only.
    """
    if device.type == "cuda":
        return _gpu_energy(device)
    try:
        counters = [path.read_text() for path in _POWER.glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(map(int, counters)) / 1e6 if device.type == "cpu" and counters else None


def _gpu_energy(device: torch.device) -> float | None:
    """Return the energy counter of a GPU, in joules; None if it cannot be read."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
    except pynvml.NVMLError:
        return None


def describe(device: torch.device, precision: str = "float32") -> dict[str, str | int | float]:
    """Describe the hardware for a record.

    Args:
        device: the device that was used.
        precision: the floating-point type that was used.

    Returns:
        Names and values; memory in GiB.
    """
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _processor() -> str:
    """Return the name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
