"""Selection of the worker pool from the command-line options."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import joblib

from moevae.errors import ConfigError
from studies.execution.executors.base import WorkerPool, in_process

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that libraries read at import; each worker computes on one core."""


def worker_pool(workers: str | None, dask: str | None, device: str) -> AbstractContextManager[WorkerPool]:
    """Return the worker pool, as a context manager.

    Args:
        workers: number of processes, or "auto"; None uses this process.
        dask: address of a Dask scheduler.
        device: the device of training.

    Raises:
        ConfigError: the number of workers is invalid, or both workers and a cluster are given.
    """
    if dask is not None:
        if workers is not None:
            raise ConfigError("--dask and --workers exclude each other: a cluster has its own workers")
        from studies.execution.executors.dask import dask as cluster

        return cluster(dask)
    if workers is None:
        return in_process()
    from studies.execution.executors.processes import local

    return local(environments(workers, device))


def environments(workers: str, device: str) -> list[dict[str, str]]:
    """Return the environment variables of each worker; GPUs are assigned in turn.

    Args:
        workers: number of workers, or `auto`.
        device: name of the device.

    Raises:
        ConfigError: the number of workers is invalid.
    """
    gpus = _gpus(device)
    if workers == "auto":
        count = len(gpus) or joblib.cpu_count()  # respects CPU affinity and container limits
    elif workers.isdecimal() and int(workers) > 0:
        count = int(workers)
    else:
        raise ConfigError(f"--workers {workers!r}: expected a positive number or auto")
    base = dict.fromkeys(_ONE_THREAD, "1")
    if not gpus:
        return [base] * count
    return [base | {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} for number in range(count)]


def _gpus(device: str) -> list[str]:
    """Return the names of the GPUs to train on; an empty list on a CPU."""
    if device not in ("auto", "cuda"):
        return []
    from torch import cuda

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else map(str, range(cuda.device_count()))
    return list(names)[: cuda.device_count()]
