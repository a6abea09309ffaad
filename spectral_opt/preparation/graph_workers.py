"""Who builds graphs and filters of features that this process measures: itself, processes, or a Dask cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

from paramgraph.digests import readable
from paramgraph.nodes import NodeTable
from paramgraph.workers import CallWorkers, OwnProcess, check_workers, choose_workers
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.factor_table import config_on, measured_table

BY_THIS_PROCESS = "graphs that tables have in common, and filters of these, were made by this process"


def check_graph_workers(
    called: str,
    workers: int | None,
    client: Any,  # Any: as in `choose_graph_workers`
    memory_budget: int | None,
    configs: Sequence[SpectralConfig],
) -> None:
    """Say what is wrong as `check_workers` does, or by a ValueError that there is no graph to build."""
    check_workers(called, workers, client, memory_budget)
    if (workers is not None or client is not None) and all(config.builder is None for config in configs):
        raise ValueError("no config has a builder, so workers and client would be ignored: leave them out")


def told_in_common(workers: CallWorkers | None) -> tuple[str, ...]:
    """Say, where there are workers, of what they have no part in."""
    return (BY_THIS_PROCESS,) if workers is not None and workers.sends else ()


def choose_graph_workers(
    called: str,
    workers: int | None,
    client: Any,  # Any: distributed's Client, of an optional and untyped library
    memory_budget: int | None,
    configs: Sequence[SpectralConfig],
    tables: Sequence[Mapping[str, NodeTable]],
) -> CallWorkers:
    """Decide who builds the graphs of some tables for each config, as `choose_workers` does."""
    check_graph_workers(called, workers, client, memory_budget, configs)
    needs: dict[str, int] = {}
    for config, found in zip(configs, tables, strict=True):
        for key, table in found.items():
            needs[key] = max(needs.get(key, 0), _bytes_of(config, table))
    sent = {f"a config with the builder {readable(config.builder)}": config for config in configs}
    chosen = choose_workers(
        called, "Graphs were built", __name__, workers, client, memory_budget, needs, sent
    )
    return OwnProcess() if chosen is None else chosen


def _bytes_of(config: SpectralConfig, table: NodeTable) -> int:
    """Estimate what a table takes: features as they are sent, unpacked and worked on, and all eigenvectors."""
    nodes, width = measured_table(table).shape
    sides = (nodes, width) if config_on(config, table).scheme == "entries" else (nodes,)
    features = 8 * nodes * max(width, nodes + 1)
    return 3 * features + sum(8 * 8 * side * side for side in sides)
