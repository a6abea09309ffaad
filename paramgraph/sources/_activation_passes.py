"""Which inputs or outputs of a layer belong to which node of a table."""

from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
from jaxtyping import Int64
from torch import Tensor

from paramgraph.nodes import NodeTable, ParameterSlice

SIDES = ("auto", "input", "output")


@dataclass(frozen=True)
class Reading:
    """What some nodes of a table read at one layer.

    Parameters
    ----------
    parameter : str
        Weight of the layer.
    at : (int, int)
        First node, and column of the table that tells apart what one node reads at several layers.
    output : bool
        Whether it is read at the layer's output, and not at its input.
    features : Tensor of shape (nodes, size)
        Indices of the layer's features that belong to each node.
    """

    parameter: str
    at: tuple[int, int]
    output: bool
    features: Int64[Tensor, "nodes size"]


def readings(table: NodeTable, transposed: frozenset[str], side: str) -> list[Reading]:
    """List what the nodes of a table read of activations.

    A node that is a part of the output features of its layers (rows, key/value heads) reads the outputs, one
    that is a part of the input features (columns) the inputs. A query head is both: its part of the output
    projection's input, which is what the head computes, or its query vectors ("output"). A whole matrix
    (layers) reads all its outputs, or all its inputs.

    Parameters
    ----------
    table : NodeTable
        The nodes.
    transposed : frozenset of str
        Parameters that are stored as (in, out).
    side : str
        "input", "output" or "auto": inputs for columns and for heads with a part of an output projection,
        outputs for all others.

    Returns
    -------
    list of Reading
        Such that every node reads as much as every other.

    Raises
    ------
    ValueError
        If the table's nodes have no such side, or only some of them.
    """
    if side not in SIDES:
        raise ValueError(f"side must be 'auto', 'input' or 'output', got {side!r}")
    axes = [_node_axis(part) for part in table.slices]
    if None in axes:
        tiled = table.slices[axes.index(None)].parameter
        raise ValueError(
            f"activations do not belong to the nodes of {table}: a node is a tile of {tiled!r}, and the tiles "
            "beside it have the same outputs, those below it the same inputs; take rows or columns"
        )
    found: dict[bool, list[Reading]] = {True: [], False: []}
    for part, axis in zip(table.slices, axes, strict=True):
        for output, readable in found.items():
            # Stored rows are the output features of a Linear and the input features of a Conv1D.
            stored = int(output == (part.parameter in transposed))
            if axis in (stored, -1):
                readable.append(Reading(part.parameter, part.at, output, _features(part, stored)))
    inputs_first = bool(found[False]) and table.scheme in ("columns", "heads")
    output = side == "output" or (side == "auto" and not inputs_first)
    if not found[output]:
        here, there = ("output", "input") if output else ("input", "output")
        raise ValueError(
            f"the nodes of {table} are {there} features of their layers, so there is no side={here!r}: "
            f"side={there!r} is possible, or the scheme {'rows' if output else 'columns'!r}"
        )
    covered = torch.zeros(table.shape[0], dtype=torch.int64, device="cpu")
    for reading in found[output]:
        first, (nodes, size) = reading.at[0], reading.features.shape
        covered[first : first + nodes] += size
    if len(set(covered.tolist())) > 1:
        raise ValueError(
            f"the nodes of {table} read different numbers of {'out' if output else 'in'}puts: "
            f"{sorted(set(covered.tolist()))}"
        )
    return found[output]


def _node_axis(part: ParameterSlice) -> int | None:
    """Say along which stored axis the nodes lie: 0, 1, -1 for a whole matrix, None for both."""
    if part.node_axes == 0:
        return -1 if part.is_whole else None
    rows = _axes_of_rows(part)
    along = {0 if axis in rows else 1 for axis in part.order[: part.node_axes]}
    across = [a for a in part.order if (0 if a in rows else 1) not in along]
    # A part of both sides is a tile, whichever way its nodes run.
    whole = all(part.sizes[a] == part.view[a] for a in across)
    return along.pop() if len(along) == 1 and whole else None


def _axes_of_rows(part: ParameterSlice) -> range:
    """Find the axes of the view that the stored rows were split into."""
    sizes = list(accumulate(part.view, mul))
    return range(sizes.index(part.shape[0]) + 1 if part.shape[0] in sizes else 0)


def _features(part: ParameterSlice, stored: int) -> Int64[Tensor, "nodes size"]:
    """Index the features along a stored axis that belong to each node."""
    if part.node_axes == 0:
        return torch.arange(part.shape[stored], device="cpu")[None]
    rows = _axes_of_rows(part)
    own = [axis for axis in range(len(part.view)) if (axis in rows) == (stored == 0)]
    index = torch.arange(part.shape[stored], device="cpu").reshape([part.view[axis] for axis in own])
    index = index[tuple(slice(*part.bounds[axis]) for axis in own)]
    order = [own.index(axis) for axis in part.order if axis in own]
    return index.permute(order).reshape(part.nodes, -1)
