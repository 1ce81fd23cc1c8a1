"""From what a person asked for to a workforce: this process, worker processes, or a cluster."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import joblib

from moevae.errors import ConfigError
from studies.execution.executors.base import WorkerPool, in_process

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Read by libraries when they are loaded: each worker computes on one core."""


def workforce(workers: str | None, dask: str | None, device: str) -> AbstractContextManager[WorkerPool]:
    """Return who does the work, to be entered.

    Args:
        workers: a number of processes, or "auto"; None is this process.
        dask: address of a Dask scheduler.
        device: where tasks train.

    Raises:
        ConfigError: no such number of workers, or both workers and a cluster.
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
    """Return the environment variables of each worker; several GPUs are dealt out in turn.

    Raises:
        ConfigError: no such number of workers.
    """
    gpus = _gpus(device)
    if workers == "auto":
        count = len(gpus) or joblib.cpu_count()  # heeds affinity and a container's quota
    elif workers.isdecimal() and int(workers) > 0:
        count = int(workers)
    else:
        raise ConfigError(f"--workers {workers!r}: expected a positive number or auto")
    base = dict.fromkeys(_ONE_THREAD, "1")
    if not gpus:
        return [base] * count
    return [base | {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} for number in range(count)]


def _gpus(device: str) -> list[str]:
    """Return the names of the GPUs that tasks train on; none on a CPU."""
    if device not in ("auto", "cuda"):
        return []
    from torch import cuda

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else map(str, range(cuda.device_count()))
    return list(names)[: cuda.device_count()]
