"""Peak memory of this process, or of the accelerator."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset(device: torch.device) -> int:
    """Release free memory, reset the peak, and return the bytes in use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if platform.libc_ver()[0] != "glibc" or not _RESET.exists():
        return 0
    ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text("5")  # see proc(5)
    except OSError:
        return 0
    return peak(device)


def peak(device: torch.device) -> int:
    """Return the largest number of bytes in use since `reset`; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not _STATUS.exists():
        return 0
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
