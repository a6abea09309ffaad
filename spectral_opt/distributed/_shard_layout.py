"""Which part of a table this rank holds, where parameters are split over ranks by their first axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64
from torch import Tensor, nn

from paramgraph.nodes import NodeTable
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable
from spectral_opt.ranks import is_sharding, is_split

SUPPORTED = (
    "supported are DistributedDataParallel, and FSDP2 (torch.distributed.fsdp.fully_shard) on a mesh of one dimension, "
    "each parameter a DTensor with the one placement Shard(0)"
)


@dataclass(frozen=True)
class TableShard:
    """The part of a table that lies on this rank."""

    table: NodeTable  # of some nodes in full width, or of all nodes in some of their width
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
    config: SpectralConfig, tables: Mapping[str, NodeTable], parameters: Mapping[str, Tensor]
) -> None:
    """Refuse, on split parameters, placement "basis" and tables that are not rows or columns of one matrix."""
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
    broken = [key for key, table in split.items() if not _is_lines(table)]
    if broken or config.scheme not in ("rows", "columns"):
        raise ValueError(
            f"under FSDP2 a table is the rows or the columns of one matrix; scheme={config.scheme!r} makes "
            f"{(broken or list(split))[0]!r}, whose nodes are cut by the shards: use scheme='rows' or 'columns', or "
            "DistributedDataParallel"
        )


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
            if split and splits_nodes(ready.table) and method in ("chebyshev", "solve"):
                raise ValueError(
                    f"table {ready.table.group!r} has its {ready.nodes} nodes on several ranks, and filter_method="
                    f"{config.filter_method!r} chose {method!r}, each product of which would move the whole table "
                    "between them; use filter_method='lowrank', which adds up rank x width numbers, or scheme='columns'"
                )


def shard_of(table: NodeTable, size: int, rank: int) -> TableShard:
    """Find the part of a table, rows or columns of one matrix, that lies on a rank.

    The first axis of the matrix is split as `torch.chunk` splits it: rows are nodes of one rank each, of columns each
    rank has a part of every node's width. The other way round where the matrix is stored transposed.
    """
    (part,) = table.slices
    chunk = max(-(-part.shape[0] // size), 1)
    first, last = (min(edge * chunk, part.shape[0]) for edge in (rank, rank + 1))
    low, high = (min(max(edge, first), last) for edge in part.bounds[0])
    shape = (last - first, part.shape[1])
    bounds = ((low - first, high - first), part.bounds[1])
    local = replace(part, shape=shape, view=shape, bounds=bounds)
    if part.order[0] == 1:
        return TableShard(replace(table, slices=(local,)))
    begin = part.bounds[0][0]
    nodes = np.arange(low - begin, high - begin, dtype=np.int64)
    chosen = slice(low - begin, high - begin)
    own = NodeTable(
        group=table.group,
        scheme=table.scheme,
        slices=(local,),
        names=table.names[chosen],
        layer=table.layer[chosen],
        head=table.head[chosen],
        role=table.role[chosen],
    )
    owner = (np.arange(*part.bounds[0], dtype=np.int64)) // chunk
    return TableShard(own, nodes, owner)


def splits_nodes(table: NodeTable) -> bool:
    """Say whether the nodes of a table, and not their width, are what Shard(0) splits."""
    return table.slices[0].order[0] == 0


def _is_plain_shard(parameter: Any) -> bool:
    placements = parameter.placements
    # By the exact class: _StridedShard, of tensor parallelism under FSDP2, interleaves its rows.
    return (
        parameter.device_mesh.ndim == 1
        and len(placements) == 1
        and type(placements[0]).__name__ == "Shard"
        and placements[0].dim == 0
    )


def _is_lines(table: NodeTable) -> bool:
    """Whether the table is one slice of rows or columns of one matrix."""
    if type(table) is not NodeTable or len(table.slices) != 1:
        return False
    part = table.slices[0]
    return len(part.shape) == 2 and part.view == part.shape and part.node_axes == 1 and part.at == (0, 0)
