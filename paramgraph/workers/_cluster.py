"""A Dask cluster to which calls are sent, seen as `WorkerProcesses` are."""

import queue
import time
import uuid
from collections.abc import Iterator
from typing import Any

from paramgraph.workers._in_order import GivenUp, Replaced
from paramgraph.workers._sending import result_of
from paramgraph.workers.one_thread import alone_on_one_thread
from paramgraph.workers.processes import WAIT
from paramgraph.workers.scheduler import PATIENCE


class Cluster:
    """The workers of a cluster, as many as there are at the time; Dask itself tries others where one dies."""

    def __init__(self, client: Any) -> None:  # Any: distributed's Client, of an optional and untyped library
        self._client = client
        # Any: distributed's Future.
        self._futures: dict[str, Any] = {}
        self._news: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._seen = time.monotonic()

    def free(self) -> int:
        """Count those that have nothing to do."""
        return len(self._client.nthreads()) - len(self._futures)

    def start(self, task: str, message: bytes) -> None:
        """Send one of them a call."""
        import dask

        name = f"call-{uuid.uuid4().hex}"
        # A layer is megabytes, which Dask would rather scatter; what is scattered dies with its worker.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            future = self._client.submit(_make_remotely, message, name, key=name, pure=False)
        self._futures[task] = future
        future.add_done_callback(lambda done: self._news.put((task, done)))

    def heard(self) -> Iterator[tuple[str, Any]]:
        """Give results, and what was given up; an OSError where there is nobody any more to wait for."""
        if self._client.nthreads():
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise OSError("no worker is connected to the Dask scheduler: start some, and call again")
        try:
            task, future = self._news.get(timeout=WAIT)
        except queue.Empty:
            return
        if task not in self._futures or self._futures[task] is not future:
            return
        if future.status == "cancelled":
            raise OSError("the Dask scheduler has lost the work; start it again, and call again")
        del self._futures[task]
        if future.status == "finished":
            died, result = future.result()
            yield from ((task, Replaced(f"worker {address}")) for address in died)
            yield task, result
        else:  # Dask itself has tried some more workers
            error = future.exception()
            yield task, GivenUp(f"{type(error).__name__}: {' '.join(str(error).split())}")

    def stop(self) -> None:
        """Take back what was sent."""
        self._client.cancel(list(self._futures.values()))
        self._futures.clear()


def _make_remotely(message: bytes, name: str) -> tuple[list[str], bytes]:
    """Make a call on a worker of a cluster, and say which others began it before."""
    from distributed import get_client, get_worker

    worker, client = get_worker(), get_client()
    before: list[str] = client.get_metadata([name], default=[])
    client.set_metadata([name], [*before, worker.address])
    with alone_on_one_thread():
        return before, result_of(message)
