"""Which part of a table this rank holds, where parameters are split over ranks by their first axis."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64
from torch import Tensor, nn

from paramgraph.nodes import NodeTable
from spectral_opt.config import SpectralConfig
from spectral_opt.ranks import is_sharding, is_split

SUPPORTED = (
    "supported are DistributedDataParallel, and FSDP2 (torch.distributed.fsdp.fully_shard) on a mesh of one dimension, "
    "each parameter a DTensor with the one placement Shard(0)"
)


@dataclass(frozen=True)
class TableShard:
    """The part of a table that lies on this rank.

    Parameters
    ----------
    table : NodeTable
        On the local part of the parameter: of some nodes in full width, or of all nodes in some of their width.
    nodes : ndarray of shape (own,), optional
        Which nodes of the whole table; None: all.
    owner : ndarray of shape (nodes,), optional
        Rank of each node of the whole table; None where each rank has all.
    """

    table: NodeTable
    nodes: Int64[np.ndarray, "own"] | None = None
    owner: Int64[np.ndarray, "nodes"] | None = None


def check_layout(model: nn.Module) -> None:
    """Refuse a model whose parameters are laid out over ranks in a way that is not supported.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped.

    Raises
    ------
    ValueError
        For ZeRO-3, FSDP1, tensor parallelism, and DTensors of any layout but Shard(0) on one dimension; what was
        found, and what is supported, is named.

    Examples
    --------
    >>> check_layout(nn.Linear(2, 2))
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
    """Refuse what cannot be done with tables whose parameters are split over ranks.

    Parameters
    ----------
    config : SpectralConfig
        What to do.
    tables : mapping of str to NodeTable
        What it acts on.
    parameters : mapping of str to Tensor
        By name.

    Raises
    ------
    ValueError
        For placement "basis", and for tables that are not the rows or the columns of one matrix.

    Examples
    --------
    >>> check_sharded(SpectralConfig(), {}, {})
    """
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


def shard_of(table: NodeTable, size: int, rank: int) -> TableShard:
    """Find the part of a table that lies on a rank.

    Parameters
    ----------
    table : NodeTable
        Rows or columns of one matrix.
    size, rank : int
        Number of ranks, and of this one; the first axis of the matrix is split as `torch.chunk` splits it.

    Returns
    -------
    TableShard
        Rows of a matrix are nodes of one rank each; of columns each rank has a part of every node's width. The
        other way round where the matrix is stored transposed.

    Examples
    --------
    >>> from paramgraph import rows
    >>> shard = shard_of(rows(nn.Sequential(nn.Linear(2, 5)))["0.weight"], 2, 1)
    >>> shard.nodes.tolist(), shard.owner.tolist(), shard.table.shape
    ([3, 4], [0, 0, 0, 1, 1], (2, 2))
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
    """Say whether the nodes of a table, and not their width, are what Shard(0) splits.

    Parameters
    ----------
    table : NodeTable
        Rows or columns of one matrix.

    Returns
    -------
    bool
        True for the rows of a matrix that is stored as (out, in).

    Examples
    --------
    >>> from paramgraph import columns
    >>> splits_nodes(columns(nn.Sequential(nn.Linear(2, 5)))["0.weight"])
    False
    """
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
