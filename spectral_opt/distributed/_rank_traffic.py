"""What attach, a step and a refresh move between ranks, in bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from paramgraph.nodes import NodeTable
from paramgraph.sources import as_source
from paramgraph.spectra import ShiftOperator
from spectral_opt.config import SpectralConfig
from spectral_opt.distributed._node_split import NodeSplit
from spectral_opt.distributed._shard_layout import shards_of
from spectral_opt.preparation import PreparedTable, measured_table, reads_features
from spectral_opt.ranks import Ranks, is_split


def rank_traffic(
    ranks: Ranks,
    configs: Sequence[SpectralConfig],
    prepared: Sequence[Any],
    named: Mapping[str, Tensor],
) -> dict[str, int]:
    """Count the bytes that each rank hands to the others, beside what DDP and FSDP2 move themselves.

    `prepared` has for each config its prepared tables, or node tables where no graph is built, whose graphs are left
    out of the count. "attach": features, graphs, filters, and sharded weights gathered for their checksum; "step":
    payload of all reductions in one step with an explicit decoupled penalty; "largest": of the largest of them;
    "refresh": features, graphs and filters of one refresh of all tables. Empty for one rank.
    """
    if ranks.size == 1:
        return {}
    total = {"ranks": ranks.size, "attach": 0, "step": 0, "largest": 0, "refresh": 0}
    for config, of_config in zip(configs, prepared, strict=True):
        for item in of_config.values() if isinstance(of_config, dict) else of_config:
            ready = item if isinstance(item, PreparedTable) else None
            table: NodeTable = item if ready is None else ready.table
            sharded = any(is_split(named[name]) for name in table.parameters)
            built = _feature_bytes(config, measured_table(table), sharded)
            built += 0 if ready is None else _graph_bytes(ready)
            total["attach"] += built
            total["refresh"] += built if config.refresh != "never" else 0
            if sharded:
                total["attach"] += sum(_size(named[name]) for name in table.parameters)
                moved = _step_bytes(ranks, config, ready) if ready is not None else [0]
                total["step"] += sum(moved)
                total["largest"] = max(total["largest"], *moved)
    return total


def traffic_text(traffic: Mapping[str, int]) -> str:
    """Write the traffic of `rank_traffic`, not empty, as a line of text in MiB."""
    amounts = {
        key: f"{traffic[key] / 2**20:.3f} MiB" if traffic[key] else "0 bytes"
        for key in ("attach", "step", "refresh")
    }
    largest = f" (at most {traffic['largest'] / 2**20:.3f} MiB at once)" if traffic["largest"] else ""
    return (
        f"between {traffic['ranks']} ranks: attach moves {amounts['attach']}, a step {amounts['step']}{largest}, "
        f"a refresh {amounts['refresh']}"
    )


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _feature_bytes(config: SpectralConfig, table: NodeTable, sharded: bool) -> int:
    """Bytes of the features of one table: what its accumulator joins, or the matrix itself in float32."""
    if not reads_features(config):
        return 0
    sides = {table.scheme: table.shape}
    if config.scheme == "entries":
        sides = {"rows": table.shape, "columns": table.shape[::-1]}
    sources = {scheme: as_source(config.source_on(scheme)[0]) for scheme in sides}
    return sum(
        sources[scheme].bytes_between(nodes, width)
        for scheme, (nodes, width) in sides.items()
        if sharded or not sources[scheme].from_checkpoint
    )


def _graph_bytes(ready: PreparedTable) -> int:
    """Bytes of an operator and of the numbers of its filter."""
    if ready.operator is None:
        return 0
    size = 0
    for part in ready.operator.parts:
        # Values in float64, an index of 32 bits; degrees and labels of each node.
        matrix: Any = part.matrix
        size += 16 * part.nodes + (8 * matrix.size if part.is_dense else 12 * matrix.nnz)
    size += sum(map(_size, _modes(ready)))
    return size + (0 if ready.spectrum is None else _size(ready.spectrum.eigenvectors))


def _step_bytes(ranks: Ranks, config: SpectralConfig, ready: PreparedTable) -> list[int]:
    """Payload of each reduction that a sharded table makes in a step, in float32."""
    moved, piece = [0], config.rank
    if config.has_filter and ready.filter is not None and not ready.filter.is_identity:
        moved.append(8)  # two squared norms
    for shard in shards_of(ready.table, ranks.size, ranks.rank):
        if shard.nodes is None or shard.owner is None:
            continue
        row = 4 * shard.table.shape[1]
        for basis in _modes(ready)[:1]:
            moved += _pieces(basis.shape[1], piece, row)
        if config.penalty and config.penalty_mode != "loss" and isinstance(ready.operator, ShiftOperator):
            split = NodeSplit(ranks, shard.owner, shard.nodes, piece)
            moved += _pieces(len(split.boundary(ready.operator.matrix)), piece, row)
    return moved


def _modes(ready: PreparedTable) -> tuple[Tensor, ...]:
    """Eigenvectors and gains of a filter that has them."""
    return () if ready.filter is None else ready.filter.modes or ()


def _pieces(rows: int, piece: int, row: int) -> list[int]:
    return [row * min(piece, rows - start) for start in range(0, rows, piece)]
