"""One thread for each worker: spinning threads, and more of them than cores, cost five times the work they do."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

# Read as libraries load; with another number of threads sums round otherwise. Bars of libraries would write over
# the one of the run, and a process that is ended would leave their locks behind.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
# What draws from torch's global generator would draw from that of another in the same process.
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these in the environment, for processes that start meanwhile, and leave it as it was."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def alone_on_one_thread() -> Iterator[None]:
    """Wait until nothing else is inside, and compute by one thread; for a process that others have started.

    Environment, torch and BLAS are left as they were: what else runs there, be it the caller himself, is not ours.
    """
    # Libraries read the environment as they load; those that are loaded already are told.
    with _ONE_AT_A_TIME, in_environment(ONE_THREAD), threadpool_limits(1):
        torch = sys.modules.get("torch")
        threads = torch.get_num_threads() if torch else 1
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)
