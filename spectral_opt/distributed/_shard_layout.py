"""Which part of a table this rank holds, where parameters are split over ranks by their first axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64
from torch import Tensor, nn

from paramgraph.nodes import NodeTable, ParameterSlice
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable
from spectral_opt.ranks import is_sharding, is_split

SUPPORTED = (
    "supported are DistributedDataParallel, and FSDP2 (torch.distributed.fsdp.fully_shard) on a mesh of one dimension, "
    "each parameter a DTensor with the one placement Shard(0)"
)


@dataclass(frozen=True)
class TableShard:
    """What lies on this rank of some columns of a table."""

    table: NodeTable  # of some nodes in the full width of these columns, or of all nodes in some of it
    nodes: Int64[np.ndarray, " own"] | None = None  # which of the whole table; None: all
    owner: Int64[np.ndarray, " nodes"] | None = None  # rank of each; None: each rank has all


def check_layout(model: nn.Module) -> None:
    """Refuse by a ValueError a model, bare or wrapped, whose parameters are laid out in an unsupported way.

    Those are ZeRO-3, FSDP1, tensor parallelism, and DTensors of any layout but Shard(0) on one dimension.
    """
    for name, module in model.named_modules():
        # By name: its module need not be imported, and is deprecated.
        if any(kind.__name__ == "FullyShardedDataParallel" for kind in type(module).__mro__):
            raise ValueError(
                f"{name or 'the model'} is wrapped by FSDP1 (FullyShardedDataParallel), whose flat parameters have no "
                f"rows; {SUPPORTED}"
            )
    sharding = tuple(
        f"{name}." if name else "" for name, module in model.named_modules() if is_sharding(module)
    )
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "ds_id") or hasattr(parameter, "ds_status"):
            raise ValueError(f"{name!r} is partitioned by DeepSpeed's ZeRO stage 3; {SUPPORTED}")
        if hasattr(parameter, "_flat_param") or type(parameter).__name__ == "FlatParameter":
            raise ValueError(f"{name!r} is a flat parameter of FSDP1; {SUPPORTED}")
        if is_split(parameter) and not _is_plain_shard(parameter):
            split: Any = parameter
            raise ValueError(
                f"{name!r} is a DTensor with the placements {tuple(split.placements)} on a mesh of the shape "
                f"{tuple(split.device_mesh.shape)}; {SUPPORTED}"
            )
        if is_split(parameter) and not name.startswith(sharding):
            raise ValueError(
                f"{name!r} is a DTensor that no fully_shard has made (tensor parallelism?): its layer computes with a "
                f"part of it alone; {SUPPORTED}"
            )


def check_sharded(
    config: SpectralConfig, tables: Mapping[str, NodeTable], parameters: Mapping[str, Any]
) -> None:
    """Refuse, on split parameters, placement "basis", scheme "entries", and tables whose nodes the shards cut."""
    split = {
        key: table
        for key, table in tables.items()
        if any(is_split(parameters[name]) for name in table.parameters)
    }
    if not split:
        return
    if config.runs_in_basis:
        raise ValueError(
            "placement 'basis' gives the optimizer U^T Theta in place of Theta, and under FSDP2 no rank holds a whole "
            "column of Theta to rotate: use placement='update' or 'gradient'"
        )
    if config.scheme == "entries":
        raise ValueError(
            f"scheme='entries' has a graph of the rows and one of the columns of {next(iter(split))!r}, and every "
            "product with both would move the whole matrix between ranks: use scheme='rows' or 'columns', or "
            "DistributedDataParallel"
        )
    for key, table in split.items():
        kept = [name for name in table.parameters if not is_split(parameters[name])]
        if kept:
            raise ValueError(
                f"of table {key!r} the parameter {kept[0]!r} is whole on each rank and others are split: give all of "
                "them to fully_shard, or none"
            )
        try:
            shards_of(table, parameters[table.parameters[0]].device_mesh.size(), 0)
        except ValueError as error:
            raise ValueError(
                f"table {key!r} cannot be split as FSDP2 splits its parameters: {error}; use scheme='rows' or "
                "'columns', or DistributedDataParallel"
            ) from error


def check_split_filters(
    configs: Sequence[SpectralConfig],
    prepared: Sequence[Sequence[PreparedTable]],
    named: Mapping[str, Tensor],
) -> None:
    """Refuse filters that would need whole columns of a table whose nodes lie on several ranks.

    "chebyshev" and "solve": each of their products moves the whole table between ranks.
    """
    for config, of_config in zip(configs, prepared, strict=True):
        for ready in of_config:
            method = None if ready.filter is None else ready.filter.method
            split = any(is_split(named[name]) for name in ready.table.parameters)
            if split and method in ("chebyshev", "solve") and splits_nodes(ready.table):
                raise ValueError(
                    f"table {ready.table.group!r} has its {ready.nodes} nodes on several ranks, and filter_method="
                    f"{config.filter_method!r} chose {method!r}, each product of which would move the whole table "
                    "between them; use filter_method='lowrank', which adds up rank x width numbers, or scheme='columns'"
                )


def shards_of(table: NodeTable, size: int, rank: int) -> tuple[TableShard, ...]:
    """Find the parts of a table that lie on a rank, one for all columns that are split alike.

    The first axis of each matrix is split as `torch.chunk` splits it. Where it counts nodes (rows, blocks, the heads of
    queries, keys and values) a node is on one rank; where it counts features (columns, whole matrices, the output
    projections of heads) each rank has a part of every node's width. Nodes without entries there are the first rank's.
    A ValueError where a shard ends within a node.
    """
    by_columns: dict[tuple[int, bool], list[ParameterSlice]] = {}
    for part in table.slices:
        by_columns.setdefault((part.at[1], _counts_nodes(part)), []).append(part)
    return tuple(
        _split_nodes(table, parts, size, rank) if of_nodes else _split_width(table, parts, size, rank)
        for (_, of_nodes), parts in by_columns.items()
    )


def splits_nodes(table: NodeTable) -> bool:
    """Say whether nodes of a table, and not their width alone, are what Shard(0) splits."""
    return any(map(_counts_nodes, table.slices))


def _counts_nodes(part: ParameterSlice) -> bool:
    return part.order.index(0) < part.node_axes


def _split_nodes(table: NodeTable, parts: Sequence[ParameterSlice], size: int, rank: int) -> TableShard:
    nodes: list[Int64[np.ndarray, " some"]] = []
    slices, owner = [], np.zeros(len(table.names), dtype=np.int64)
    covered = np.zeros(len(table.names), dtype=bool)
    count = 0
    for part in parts:
        axes = part.order[: part.node_axes]
        places = np.arange(part.at[0], part.at[0] + part.nodes).reshape([part.sizes[axis] for axis in axes])
        covered[places] = True
        for other in range(size):
            low, high = _range(part, size, other)
            start = part.bounds[0][0]
            own = places.take(range(low - start, high - start), axis=axes.index(0)).reshape(-1)
            owner[own] = other
            if other == rank:
                slices.append(replace(_local(part, size, rank), at=(count, 0)))
                nodes.append(own)
                count += len(own)
    if rank == 0:
        nodes.append(np.flatnonzero(~covered))
    chosen = np.concatenate(nodes).astype(np.int64)
    own_table = NodeTable(
        group=table.group,
        scheme=table.scheme,
        slices=tuple(slices),
        names=tuple(table.names[node] for node in chosen),
        layer=tuple(table.layer[node] for node in chosen),
        head=tuple(table.head[node] for node in chosen),
        role=tuple(table.role[node] for node in chosen),
    )
    return TableShard(own_table, chosen, owner)


def _split_width(table: NodeTable, parts: Sequence[ParameterSlice], size: int, rank: int) -> TableShard:
    slices = [replace(_local(part, size, rank), at=(part.at[0], 0)) for part in parts]
    widths = {part.width for part in slices}
    if len(widths) > 1:
        raise ValueError(f"its matrices have parts of {sorted(widths)} entries a node on rank {rank}")
    own = NodeTable(
        table.group, table.scheme, tuple(slices), table.names, table.layer, table.head, table.role
    )
    return TableShard(own)


def _units(part: ParameterSlice, rows: int) -> int:
    """Count what lies before a row of the parameter along the first axis of the view; ValueError within a unit."""
    first, whole = part.view[0], part.shape[0]
    if first % whole == 0:
        return rows * (first // whole)
    if whole % first or rows % (whole // first):
        raise ValueError(
            f"a shard of {part.parameter!r} ends at row {rows} of {whole}, within a node of {whole // first} rows"
        )
    return rows // (whole // first)


def _edges(part: ParameterSlice, size: int, rank: int) -> tuple[int, int]:
    """Give the first row on a rank, and one past the last."""
    chunk = max(-(-part.shape[0] // size), 1)
    first, last = (min(edge * chunk, part.shape[0]) for edge in (rank, rank + 1))
    return first, last


def _range(part: ParameterSlice, size: int, rank: int) -> tuple[int, int]:
    """Give what of the bounds of the first axis of the view lies on a rank."""
    first, last = (_units(part, edge) for edge in _edges(part, size, rank))
    low, high = (min(max(edge, first), last) for edge in part.bounds[0])
    return low, high


def _local(part: ParameterSlice, size: int, rank: int) -> ParameterSlice:
    """Cut a slice to what lies on a rank, of a parameter that is that alone."""
    first, last = _edges(part, size, rank)
    start, stop = _units(part, first), _units(part, last)
    low, high = _range(part, size, rank)
    return replace(
        part,
        shape=(last - first, *part.shape[1:]),
        view=(stop - start, *part.view[1:]),
        bounds=((low - start, high - start), *part.bounds[1:]),
    )


def _is_plain_shard(parameter: Any) -> bool:
    placements = parameter.placements
    # By the exact class: _StridedShard, of tensor parallelism under FSDP2, interleaves its rows.
    return (
        parameter.device_mesh.ndim == 1
        and len(placements) == 1
        and type(placements[0]).__name__ == "Shard"
        and placements[0].dim == 0
    )
