"""Workers on other machines: a Dask cluster. Records come back as values; no disk needs to be shared."""

from __future__ import annotations

import functools
import itertools
import logging
import pickle
import queue
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from studies.executors import OnEpoch, WorkersError, Workforce

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "moevae"
_log = logging.getLogger(__name__)
_PATIENCE = 30.0
"""Seconds within which the scheduler has to answer."""


@contextmanager
def dask(address: str) -> Iterator[Workforce]:
    """The workers of the Dask cluster whose scheduler is at that address, those that join later too.

    A task takes one thread of a worker, or one GPU where workers declare them (`--resources GPU=1`).
    When a worker dies, Dask gives its task to another.

    Raises:
        WorkersError: Dask is not installed, no scheduler answers there, or it went away.
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
        raise WorkersError(f"--dask {address}: {error}; right would be tcp://HOST:8786") from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkersError(f"--dask {address}: no scheduler answers there ({reason})") from None
    with client:
        post = _Post(client)
        executor = client.get_executor(pure=False, resources={"GPU": 1} if _gpus(client) else None)
        try:
            yield Workforce(
                executor=executor,
                count=lambda: _gpus(client) or _threads(client) or 1,
                relay=post.relay,
                deliver=post.deliver,
                deaths=(KilledWorker,),
                attempts=1,  # Dask itself has tried several workers by then
            )
        except CancelledError:
            raise WorkersError(
                f"--dask {address}: the scheduler is gone; what it had not given back is queued"
            ) from None
        finally:
            executor.shutdown(wait=False)


class _Post:
    """Reports from the cluster, kept until the driver has time for them."""

    def __init__(self, client: Client) -> None:
        self._tickets = itertools.count()
        self._listeners: dict[int, OnEpoch] = {}
        self._reports: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._client, self._lonely = client, False
        client.subscribe_topic(_TOPIC, lambda event: self._reports.put(event[1]))

    def relay(self, listener: OnEpoch) -> OnEpoch:
        ticket = next(self._tickets)
        self._listeners[ticket] = listener
        return functools.partial(_tell, ticket)

    def deliver(self) -> None:
        lonely = not _workers(self._client)
        if lonely and not self._lonely:
            _log.warning("the cluster has no workers: waiting for some")
        self._lonely = lonely
        while not self._reports.empty():
            ticket, report = pickle.loads(self._reports.get())
            self._listeners[ticket](report)


def _tell(ticket: int, report: Any) -> None:
    from distributed import get_worker

    get_worker().log_event(_TOPIC, pickle.dumps((ticket, report)))


def _threads(client: Client) -> int:
    return sum(worker["nthreads"] for worker in _workers(client))


def _gpus(client: Client) -> int:
    return int(sum(worker["resources"].get("GPU", 0) for worker in _workers(client)))


def _workers(client: Client) -> list[dict[str, Any]]:
    return list(client.scheduler_info(n_workers=-1)["workers"].values())
