"""Who makes calls: this process, several processes of this machine, or a Dask cluster; the results are the same.

Calls are made ready in this process, one ahead, and sent as they come.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from paramgraph._checks import check_count
from paramgraph.environment import available_bytes
from paramgraph.workers._cluster import Cluster
from paramgraph.workers._in_order import Calls, OnResult, Results, results_in_order
from paramgraph.workers._sending import make_sent_call, pickled
from paramgraph.workers.processes import WorkerProcesses

# A process with torch and this package: 330 MB of its own where it is not forked, and what libraries allocate as
# they run.
BYTES_OF_A_PROCESS = 450_000_000
# Of what is free: the calling process, and others, need some too.
SHARE_OF_FREE = 0.8


def _pass_over(name: str, result: object) -> None:
    pass


class CallWorkers(Protocol):
    """Who makes calls, and what there is to say of them."""

    # Whether calls leave this process.
    sends: bool

    @property
    def remarks(self) -> Sequence[str]:
        """How many there were, and which died."""

    def results(self, calls: Calls, number: int, on_result: OnResult = _pass_over) -> Results:
        """Give the results of so many calls with their names, in their order; `on_result` has each as it comes.

        A call whose workers die gives a `GivenUp`; what one raises is raised.
        """

    def close(self) -> None:
        """End those who are at work."""


class OwnProcess:
    """The calling process, one call after the other."""

    sends = False
    remarks: Sequence[str] = ()

    def results(self, calls: Calls, number: int, on_result: OnResult = _pass_over) -> Results:
        """Make each call before the next one is made ready."""
        for name, call in calls:
            result = call()
            del call  # what it holds is made anew while this name would still keep it
            on_result(name, result)
            yield name, result
            del result

    def close(self) -> None:
        """Do nothing."""


class LocalProcesses:
    """Processes of this machine of one thread each, no more than have memory; they stay for further calls."""

    sends = True

    def __init__(self, said: str, asked: int, fitting: int, allowed: str, module: str) -> None:
        self._said, self._asked, self._fitting, self._allowed = said, asked, fitting, allowed
        self._used = 0
        self._deaths: list[str] = []
        self._processes = WorkerProcesses(min(asked, fitting), make_sent_call, (), module)

    @property
    def remarks(self) -> Sequence[str]:
        """How many there were, and which died; nothing where there was nothing to do."""
        if not self._used:
            return ()
        many = "es" if self._used > 1 else ""
        fewer = f" in place of {self._asked}" if self._used < self._asked else ""
        return (
            f"{self._said} by {self._used} process{many} of one thread{fewer}{self._allowed}.",
            *self._deaths,
        )

    def results(self, calls: Calls, number: int, on_result: OnResult = _pass_over) -> Results:
        """Keep all of them at work; those that died are named, and their calls tried again."""
        self._used = max(self._used, min(self._asked, self._fitting, number))
        self._processes.make_ready()
        yield from results_in_order(self._processes, calls, on_result, self._deaths)

    def close(self) -> None:
        """End them."""
        self._processes.stop()


class ClusterWorkers:
    """The workers of a Dask cluster, as many as there are at the time."""

    sends = True

    def __init__(self, client: Any) -> None:  # Any: distributed's Client, of an optional and untyped library
        self.remarks: list[str] = []
        self._cluster = Cluster(client)

    def results(self, calls: Calls, number: int, on_result: OnResult = _pass_over) -> Results:
        """Keep all of them at work; Dask itself tries a call again whose worker died."""
        yield from results_in_order(self._cluster, calls, on_result, self.remarks)

    def close(self) -> None:
        """Take back what was sent."""
        self._cluster.stop()


def check_workers(
    called: str,
    workers: int | None,
    client: Any,  # Any: as in `ClusterWorkers`
    memory_budget: int | None,
) -> None:
    """Say by a ValueError or TypeError what is wrong with what a function was asked; ImportError without dask."""
    if memory_budget is not None:
        check_count(called, "memory_budget", memory_budget)
        if workers is None:
            raise ValueError(
                "memory_budget bounds the processes of workers: give workers too, or leave it out"
            )
    if workers is not None and client is not None:
        raise ValueError(
            "give either workers, processes of this machine, or client, a Dask cluster's; got both"
        )
    if workers is not None:
        check_count(called, "workers", workers)
    if client is not None:
        _check_client(client)


def choose_workers(
    called: str,
    said: str,
    module: str,
    workers: int | None,
    client: Any,  # Any: as in `ClusterWorkers`
    memory_budget: int | None,
    needs: Mapping[str, int],
    sent: Mapping[str, object],
) -> LocalProcesses | ClusterWorkers | None:
    """Decide who makes the calls of a function; None: its own process. What is wrong is told as by `check_workers`.

    Processes are no more than fit into `memory_budget` bytes, by default 80 % of what is free, where each takes what
    the largest of the `needs` (bytes, by the names of what is worked on) does. A budget that has no room for one is a
    ValueError; of what is free one is always taken. `sent` are values that every worker has to have, by what they are
    called: a TypeError for one that cannot be sent. `said` begins the remark on processes: "Layers were measured";
    `module` is what they import once for all of them, as `WorkerProcesses` does.
    """
    check_workers(called, workers, client, memory_budget)
    if workers is None and client is None:
        return None
    for name, value in sent.items():
        _check_sendable(name, value)
    if workers is None:
        return ClusterWorkers(client)
    free = available_bytes()
    budget = memory_budget or (None if free is None else int(SHARE_OF_FREE * free))
    largest = max(needs, key=lambda name: needs[name])
    need = BYTES_OF_A_PROCESS + needs[largest]
    if memory_budget is not None and memory_budget < need:
        raise ValueError(
            f"memory_budget is {memory_budget:,} bytes, and one process needs up to {need:,} for the largest layer, "
            f"{largest!r}: allow as much, leave that layer out, or leave workers and memory_budget out"
        )
    fitting = workers if budget is None else max(1, budget // need)
    allowed = f": each needs up to {need / 1e9:.1f} GB, {budget / 1e9:.1f} GB are allowed" if budget else ""
    return LocalProcesses(said, workers, fitting, allowed, module)


def _check_client(client: object) -> None:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("client needs dask: pip install 'paramgraph[dask]'") from error
    if not isinstance(client, Client):
        raise TypeError(
            f"client is a distributed.Client, as by Client(address); got {type(client).__name__} {client!r:.60}"
        )


def _check_sendable(name: str, value: object) -> None:
    try:
        pickled(value)
    except Exception as error:  # pickle raises what it likes
        raise TypeError(
            f"{name} cannot be sent to another process ({error}): define what is your own at the top of a module that "
            "can be imported, or leave workers and client out"
        ) from error
