"""Who measures the layers of a comparison: this process, several processes, or a Dask cluster.

Layers are read here, one ahead, and sent as they are read: what is measured, and in which order it comes back, does not
depend on who measured it.
"""

import pickle
import queue
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch

from paramgraph._checks import check_count
from paramgraph.cache import GraphCache
from paramgraph.comparison._constructions import Construction
from paramgraph.comparison._layer_comparison import compare_layer, described
from paramgraph.comparison._layer_reading import LayerReader, LayerReading
from paramgraph.comparison._options import MeasurementOptions
from paramgraph.environment import available_bytes
from paramgraph.nodes import NodeTable
from paramgraph.workers import PATIENCE, WAIT, Death, WorkerProcesses, alone_on_one_thread

# How often a layer is tried again whose worker died: one that kills its worker would do so for ever.
TRIES_MORE = 2
# A process with torch and this package: 330 MB of its own, and what libraries allocate as they run.
BYTES_OF_A_PROCESS = 450_000_000
# Of what is free: the reading process, and others, need some too.
SHARE_OF_FREE = 0.8

Finished: TypeAlias = Iterator[tuple[str, dict[str, Any]]]
Told = Callable[[float, str], None]


@dataclass(frozen=True)
class LayerTask:
    """One layer as it was read, and what is asked of it as in `compare_layer`."""

    reading: LayerReading
    constructions: Sequence[Construction]
    draw: bool
    pass_over_zero: bool


@dataclass(frozen=True)
class LayerSettings:
    """What is the same for all layers of a comparison."""

    signal: str
    options: MeasurementOptions
    seeds: Sequence[int]
    cache: GraphCache | None

    def measure(self, task: LayerTask, on_cell: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
        """Measure one layer."""
        return compare_layer(
            task.reading,
            task.constructions,
            self.signal,
            self.options,
            self.seeds,
            self.cache,
            draw=task.draw,
            on_cell=on_cell,
            pass_over_zero=task.pass_over_zero,
        )


class LayerWorkers(Protocol):
    """Who measures layers, and what there is to say of them afterwards."""

    remarks: list[str]

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Give so many layers with their names, in the order of the tasks; `told` is how many cells were finished."""


class OwnProcess:
    """The calling process, one layer after the other."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Measure each layer before the next one is read."""
        for task in tasks:
            group = task.reading.table.group
            layer = settings.measure(task, partial(told, 1))
            del task  # the next one is read while this name would still hold it
            yield group, layer


class LocalProcesses:
    """Processes of this machine of one thread each, no more than have memory."""

    def __init__(self, asked: int, fitting: int, allowed: str) -> None:
        self._asked, self._fitting, self._allowed = asked, fitting, allowed
        self.remarks: list[str] = []

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Keep all of them at work; those that died are named, and their layers tried again."""
        number = min(self._asked, self._fitting, layers)
        fewer = f" in place of {self._asked}" if number < self._asked else ""
        many = "es" if number > 1 else ""
        self.remarks.append(
            f"Layers were measured by {number} process{many} of one thread{fewer}{self._allowed}."
        )
        processes = WorkerProcesses(number, _measure_sent, (pickled(settings),))
        try:
            yield from _in_order(processes, tasks, told, self.remarks)
        finally:
            processes.stop()


class ClusterWorkers:
    """The workers of a Dask cluster, as many as there are at the time."""

    def __init__(self, client: Any) -> None:  # Any: distributed's Client, of an optional and untyped library
        self.remarks: list[str] = []
        self._client = client

    def measure(
        self, settings: LayerSettings, tasks: Iterator[LayerTask], layers: int, told: Told
    ) -> Finished:
        """Keep all of them at work; Dask itself tries a layer again whose worker died."""
        cluster = _Cluster(self._client, pickled(settings))
        try:
            yield from _in_order(cluster, tasks, told, self.remarks)
        finally:
            cluster.stop()


def choose_workers(
    workers: int | None,
    client: Any,  # Any: as in `ClusterWorkers`
    memory_budget: int | None,
    reader: LayerReader,
    tables: Mapping[str, NodeTable],
    constructions: Sequence[Construction],
) -> LayerWorkers:
    """Decide who measures; a ValueError or TypeError says what is wrong with what was asked.

    Processes are no more than there are layers, and than fit into `memory_budget` bytes, by default 80 % of what is
    free, by an estimate of the largest layer. A budget that has no room for one is refused; of what is free one is
    always taken.
    """
    if memory_budget is not None:
        check_count("compare", "memory_budget", memory_budget)
        if workers is None:
            raise ValueError(
                "memory_budget bounds the processes of workers: give workers too, or leave it out"
            )
    if workers is None and client is None:
        return OwnProcess()
    if workers is not None and client is not None:
        raise ValueError(
            "give either workers, processes of this machine, or client, a Dask cluster's; got both"
        )
    _check_sendable(constructions)
    if workers is None:
        _check_client(client)
        return ClusterWorkers(client)
    check_count("compare", "workers", workers)
    free = available_bytes()
    budget = memory_budget or (None if free is None else int(SHARE_OF_FREE * free))
    largest = max(tables, key=lambda group: _bytes_of(reader, tables[group]))
    need = BYTES_OF_A_PROCESS + _bytes_of(reader, tables[largest])
    if memory_budget is not None and memory_budget < need:
        raise ValueError(
            f"memory_budget is {memory_budget:,} bytes, and one process needs up to {need:,} for the largest layer, "
            f"{largest!r}: allow as much, leave that layer out, or leave workers and memory_budget out"
        )
    fitting = workers if budget is None else max(1, budget // need)
    allowed = f": each needs up to {need / 1e9:.1f} GB, {budget / 1e9:.1f} GB are allowed" if budget else ""
    return LocalProcesses(workers, fitting, allowed)


def pickled(value: object) -> bytes:
    """Pickle what is sent, tensors with their own entries alone; torch would share the memory of its owner."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _check_client(client: object) -> None:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("client needs dask: pip install 'paramgraph[dask]'") from error
    if not isinstance(client, Client):
        raise TypeError(
            f"client is a distributed.Client, as by Client(address); got {type(client).__name__} {client!r:.60}"
        )


def _check_sendable(constructions: Sequence[Construction]) -> None:
    for one in constructions:
        try:
            pickled(one)
        except Exception as error:  # pickle raises what it likes
            raise TypeError(
                f"{one.name!r} cannot be sent to another process ({error}): define its builder and source at the top "
                "of a module that can be imported, or leave workers and client out"
            ) from error


def _bytes_of(reader: LayerReader, table: NodeTable) -> int:
    """Estimate what measuring a layer takes: what is read, sent and unpacked, and all its eigenvectors."""
    nodes, width = table.shape
    sent = reader.bytes_of(table) + 16 * nodes * width
    return 2 * sent + 16 * nodes * width + 8 * 8 * nodes * nodes


def _compact(reading: LayerReading) -> LayerReading:
    """Copy what is part of a larger tensor, which would be sent as a whole."""
    # The same tensor is often there more than once, and is sent once.
    copies: dict[int, tuple[Any, Any]] = {}

    def own(value: Any) -> Any:  # Any: tensors in tuples and lists, and errors
        if isinstance(value, Exception):
            return ValueError(described(value))  # not all can be sent; this one says the same
        if isinstance(value, tuple | list):
            return type(value)(own(one) for one in value)
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) not in copies:
            whole = value.untyped_storage().nbytes() <= value.numel() * value.element_size()
            copies[id(value)] = value, value if whole else value.detach().clone()
        return copies[id(value)][1]

    return LayerReading(
        reading.table,
        {name: own(features) for name, features in reading.features.items()},
        {
            seed: own(signal)
            if isinstance(signal, Exception)
            else replace(signal, X=own(signal.X), gradients=own(signal.gradients))
            for seed, signal in reading.signals.items()
        },
    )


class _Workers(Protocol):
    def free(self) -> int: ...

    def start(self, task: str, message: Any) -> None: ...

    def heard(self) -> Iterable[tuple[str, Any]]: ...


def _in_order(workers: _Workers, tasks: Iterator[LayerTask], told: Told, remarks: list[str]) -> Finished:
    """Keep workers busy with the next layer read already, and give what they made in the order of the tasks."""
    order: deque[str] = deque()
    sent: dict[str, tuple[bytes, int]] = {}
    done: dict[str, dict[str, Any]] = {}
    deaths: Counter[str] = Counter()
    ahead, is_over = "", False
    while True:
        while order and order[0] in done:
            group = order.popleft()
            yield group, done.pop(group)
        if not ahead and not is_over:
            task = next(tasks, None)
            if task is None:
                is_over = True
            else:
                ahead = task.reading.table.group
                message = pickled(replace(task, reading=_compact(task.reading)))
                sent[ahead] = message, len(task.constructions) * max(1, len(task.reading.signals))
                order.append(ahead)
            del task
            continue
        if ahead and workers.free() > 0:
            workers.start(ahead, sent[ahead][0])
            ahead = ""
            continue
        if not order:
            return
        for group, said in workers.heard():
            if isinstance(said, _Replaced):
                remarks.append(f"A worker died ({said.worker}) at {group}.")
                continue
            if isinstance(said, Death):
                deaths[group] += 1
                remarks.append(f"A worker died ({said.how}) at {group}.")
                if said.never_began:
                    raise ValueError(
                        f"a process ended as it started ({said.how}; what it wrote says why): it imports the script "
                        'that gives workers, which needs `if __name__ == "__main__":` around what it runs'
                    )
                if group not in sent:  # the layer was its last word
                    continue
                if deaths[group] <= TRIES_MORE:
                    workers.start(group, sent[group][0])
                    continue
                reason = f"given up after {deaths[group]} tries, the last worker died: {said.how}"
                said = _failed(group, reason)
            if isinstance(said, Exception):
                raise said
            cells = sent.pop(group)[1]
            # What was passed over is told by who takes the layer, as of `OwnProcess`.
            told(0 if said["zero"] and not said["cells"] else cells, group)
            done[group] = said


@dataclass(frozen=True)
class _Replaced:
    """A worker that died, in whose place Dask has already tried another one."""

    worker: str


def _failed(group: str, reason: str) -> dict[str, Any]:
    failure = {"layer": group, "construction": "*", "error": reason}
    return {
        "layer": group,
        "cells": [],
        "agreements": [],
        "failures": [failure],
        "drawings": [],
        "zero": False,
    }


def _measure_sent(tell: Callable[[Any], object], message: bytes, settings: bytes) -> None:
    """Measure a layer in a worker; what cannot be unpacked there is told as an error, not as a death."""
    tell(_measured(settings, message))


def _measured(settings: bytes, message: bytes) -> dict[str, Any] | Exception:
    try:
        opened: LayerSettings = pickle.loads(settings)
        task: LayerTask = pickle.loads(message)
    except Exception as error:  # what an import of the user's raises
        return TypeError(
            f"a worker cannot import what it was sent ({type(error).__name__}: {error}): builders and sources must "
            "stand in a module that it can import too"
        )
    try:
        return opened.measure(task)
    except Exception as error:  # ends the comparison, as in one process; as a death it would be tried again
        error.add_note(f"in a worker, at {task.reading.table.group}:\n{traceback.format_exc()}")
        return _sendable(error)


def _sendable(error: Exception) -> Exception:
    """Give the error, or what it says where it cannot be made anew from its arguments."""
    try:
        pickle.loads(pickled(error))
    except Exception:  # classes of users raise what they like
        return RuntimeError(described(error))
    return error


class _Cluster:
    """A Dask cluster, seen as `WorkerProcesses` are."""

    def __init__(self, client: Any, settings: bytes) -> None:
        self._client, self._settings = client, settings
        # Any: distributed's Future.
        self._futures: dict[str, Any] = {}
        self._news: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._seen = time.monotonic()

    def free(self) -> int:
        return len(self._client.nthreads()) - len(self._futures)

    def start(self, task: str, message: bytes) -> None:
        import dask

        name = f"layer-{uuid.uuid4().hex}"
        # A layer is megabytes, which Dask would rather scatter; what is scattered dies with its worker.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            future = self._client.submit(
                _measure_remotely, self._settings, message, name, key=name, pure=False
            )
        self._futures[task] = future
        future.add_done_callback(lambda done: self._news.put((task, done)))

    def heard(self) -> Iterator[tuple[str, Any]]:
        if self._client.nthreads():
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise OSError("no worker is connected to the Dask scheduler: start some, and compare again")
        try:
            task, future = self._news.get(timeout=WAIT)
        except queue.Empty:
            return
        if future is not self._futures[task]:
            return
        if future.status == "cancelled":
            raise OSError("the Dask scheduler has lost the comparison; start it again, and compare again")
        del self._futures[task]
        if future.status == "finished":
            died, said = future.result()
            yield from ((task, _Replaced(f"worker {address}")) for address in died)
            yield task, said
        else:  # Dask itself has tried some more workers, and gives up
            yield task, _failed(task, described(future.exception()))

    def stop(self) -> None:
        self._client.cancel(list(self._futures.values()))


def _measure_remotely(
    settings: bytes, message: bytes, name: str
) -> tuple[list[str], dict[str, Any] | Exception]:
    """Measure a layer on a worker of a cluster, and say which others began it before."""
    from distributed import get_client, get_worker

    worker, client = get_worker(), get_client()
    before: list[str] = client.get_metadata([name], default=[])
    client.set_metadata([name], [*before, worker.address])
    with alone_on_one_thread():
        return before, _measured(settings, message)
