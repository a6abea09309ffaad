"""Workers: processes of one thread each on this machine, and those of a Dask cluster, to which work is handed out.

What is sent there, and what a death means, is for the rooms above to say.

- Calls whose results are to be those of one process: `CallWorkers`, of which `choose_workers` gives `LocalProcesses` or
  `ClusterWorkers`, and beside them the `OwnProcess`; `check_workers` before any work; a `GivenUp` in place of a result.
- On this machine: `WorkerProcesses`, a `Death` of one of them, and `WAIT`, how long one looks for news.
- On a cluster: `connect_to_scheduler`, and `PATIENCE` with it.
- What one thread takes: `ONE_THREAD`, the environment of a process, and `alone_on_one_thread` in one that runs already.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.workers._in_order import GivenUp as GivenUp
    from paramgraph.workers.calls import (
        CallWorkers as CallWorkers,
        ClusterWorkers as ClusterWorkers,
        LocalProcesses as LocalProcesses,
        OwnProcess as OwnProcess,
        check_workers as check_workers,
        choose_workers as choose_workers,
    )
    from paramgraph.workers.one_thread import (
        ONE_THREAD as ONE_THREAD,
        alone_on_one_thread as alone_on_one_thread,
    )
    from paramgraph.workers.processes import WAIT as WAIT, Death as Death, WorkerProcesses as WorkerProcesses
    from paramgraph.workers.scheduler import (
        PATIENCE as PATIENCE,
        connect_to_scheduler as connect_to_scheduler,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
