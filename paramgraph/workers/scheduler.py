"""The scheduler of a Dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Seconds for a scheduler to answer, and for a worker to come or to come back.
PATIENCE = 60.0


@contextmanager
def connect_to_scheduler(
    address: str, patience: float = PATIENCE
) -> Iterator[Any]:  # Any: distributed is an optional library, and untyped
    """Connect to a scheduler, and leave it as it was; ImportError without dask, OSError where nobody answers."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a scheduler needs dask: pip install 'paramgraph[dask]'") from error
    # An address may also be refused for how it is written.
    try:
        client = Client(address, timeout=patience, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise OSError(f"no Dask scheduler answers at {address}: {' '.join(str(error).split())}") from error
    try:
        yield client
    finally:
        client.close()
