"""Workers on a Dask cluster. Records are returned as values, so no shared disk is needed."""

from __future__ import annotations

import functools
import itertools
import logging
import pickle
import queue
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from moevae.errors import MoevaeError
from moevae.utils.identity import DIGEST_DIGITS
from studies.execution.events import OnEvent
from studies.execution.executors.base import WorkerPool, WorkersError
from studies.utils import signals

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger(__name__)

_UNREADABLE = "moevae-task"
"""Name, in an `ImportError`, of a task that a worker cannot load."""
_ANSWER_TIMEOUT = 30.0
"""Timeout, in seconds, for an answer of the scheduler."""
_QUERY_INTERVAL = 1.0
"""Seconds between queries for the list of workers."""
_NO_WORKER_TIMEOUT = 24 * 3600.0
"""Timeout, in seconds, for the first worker to join."""
_CLOSE_TIMEOUT = 5.0
"""Timeout, in seconds, for closing the connection."""


@contextmanager
def dask(address: str) -> Iterator[WorkerPool]:
    """Provide the workers of a Dask cluster, including workers that join later.

    A task uses one thread of a worker, or one GPU if the workers declare GPUs (`--resources GPU=1`).
    When a worker dies, Dask moves its task to another worker.

    Args:
        address: address of the scheduler, such as tcp://HOST:8786.

    Raises:
        WorkersError: Dask is not installed, the scheduler does not answer, or no worker joins.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm import get_address_host_port
    except ImportError:
        raise WorkersError("--dask needs Dask: pip install 'moevae[dask]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        get_address_host_port(address)
    except ValueError as error:
        raise WorkersError(f"--dask {address}: {error}; expected tcp://HOST:8786") from None
    try:
        client = Client(address, timeout=_ANSWER_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkersError(f"--dask {address}: no scheduler answers at this address ({reason})") from None
    try:
        workers, events = _WorkerList(client, address), _EventQueue(client)
        yield WorkerPool(
            executor=_PickledExecutor(
                client.get_executor(pure=False, resources={"GPU": 1} if workers.gpus() else None)
            ),
            count=lambda: workers.gpus() or workers.threads() or 1,
            forward_events=events.forward_events,
            deliver=functools.partial(_deliver, workers, events),
            worker_errors=(KilledWorker,),
            attempts=1,  # Dask has already retried the task on several workers
        )
    except MoevaeError:
        raise
    except Exception as error:
        if isinstance(error, ImportError) and error.name == _UNREADABLE:
            raise _different_code(address, error) from None
        if client.status == "running" and not isinstance(error, CancelledError):
            raise
        raise _scheduler_lost(address) from None
    finally:
        with suppress(Exception):  # a scheduler that does not answer detects the lost connection itself
            client.close(timeout=_CLOSE_TIMEOUT)


def _scheduler_lost(address: str) -> WorkersError:
    return WorkersError(f"--dask {address}: lost the scheduler; unfinished runs stay queued")


def _different_code(address: str, error: ImportError) -> WorkersError:
    from studies.records import origins

    return WorkersError(
        f"--dask {address}: a worker and this driver run different code (source code "
        f"{origins.code().source[:DIGEST_DIGITS]} of the driver, which the worker cannot load: {error}): "
        "install the same code on both"
    )


class _PickledExecutor(Executor):
    """Submits tasks as bytes that are unpickled when the task runs.

    Dask would unpickle a task earlier: a scheduler without this code would reject the task, and a worker with
    other code would die.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        from distributed.protocol.pickle import dumps

        return self._executor.submit(
            _call_pickled, dumps(functools.partial(fn, *args, **kwargs)), _UNREADABLE
        )


def _call_pickled(task: bytes, unreadable: str) -> Any:
    import pickle

    try:
        call = pickle.loads(task)
    except (ImportError, AttributeError) as error:
        raise ImportError(str(error), name=unreadable) from None
    return call()


_call_pickled.__module__ = "__main__"  # pickled by value, so that workers need not have it


class _WorkerList:
    """The workers of a cluster, queried at most once a second and with a timeout."""

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._address = client, address
        self._known: list[dict[str, Any]] = []
        self._due = self._without_workers_since = time.monotonic()
        self._without_workers = False
        self._lost: WorkersError | None = None

    def threads(self) -> int:
        return sum(worker["nthreads"] for worker in self._workers())

    def gpus(self) -> int:
        return int(sum(worker["resources"].get("GPU", 0) for worker in self._workers()))

    def check(self) -> None:
        """Log once that the cluster has no workers; raise an error if none joins in time."""
        if self._workers():
            self._without_workers = False
            return
        if not self._without_workers:
            self._without_workers, self._without_workers_since = True, time.monotonic()
            _log.warning(
                "the cluster has no workers; waiting up to %d h for one to join", _NO_WORKER_TIMEOUT / 3600
            )
        if time.monotonic() - self._without_workers_since > _NO_WORKER_TIMEOUT:
            raise WorkersError(
                f"--dask {self._address}: no worker joined within {_NO_WORKER_TIMEOUT / 3600:.0f} h"
            )

    def _workers(self) -> list[dict[str, Any]]:
        if self._lost:
            raise self._lost  # do not wait for the scheduler a second time
        if time.monotonic() >= self._due:
            try:
                self._known = self._query()
            except WorkersError as error:
                self._lost = error
                raise
            self._due = time.monotonic() + _QUERY_INTERVAL
        return self._known

    def _query(self) -> list[dict[str, Any]]:
        scheduler = self._client.scheduler
        if (
            self._client.status != "running" or scheduler is None
        ):  # a client that reconnects has lost its tasks
            raise _scheduler_lost(self._address)
        try:
            with signals.deliver_signals():
                answer = self._client.sync(scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_TIMEOUT)
        except TimeoutError:
            raise WorkersError(
                f"--dask {self._address}: the scheduler has not answered for {_ANSWER_TIMEOUT:.0f} s; "
                "unfinished runs stay queued"
            ) from None
        except OSError:
            raise _scheduler_lost(self._address) from None
        return list(answer["workers"].values())


class _EventQueue:
    """Events from the cluster for this driver, queued until `deliver` is called."""

    def __init__(self, client: Client) -> None:
        self._topic = f"moevae-{uuid.uuid4().hex}"
        self._tickets = itertools.count()
        self._listeners: dict[int, OnEvent] = {}
        self._reports: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        client.subscribe_topic(self._topic, lambda event: self._reports.put(event[1]))

    def forward_events(self, listener: OnEvent) -> OnEvent:
        ticket = next(self._tickets)
        self._listeners[ticket] = listener
        return functools.partial(_send_event, self._topic, ticket)

    def deliver(self) -> None:
        while not self._reports.empty():
            ticket, report = pickle.loads(self._reports.get())
            self._listeners[ticket](report)


def _deliver(workers: _WorkerList, events: _EventQueue) -> None:
    workers.check()
    events.deliver()


def _send_event(topic: str, ticket: int, report: Any) -> None:
    from distributed import get_worker

    get_worker().log_event(topic, pickle.dumps((ticket, report)))
