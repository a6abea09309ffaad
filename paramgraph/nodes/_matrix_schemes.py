"""Schemes of one table per matrix: its rows, its columns, or its square blocks as nodes."""

import numbers
from collections.abc import Sequence
from math import gcd
from typing import Any

from torch import nn

from paramgraph.nodes.slices import ParameterSlice
from paramgraph.nodes.table import NodeTable
from paramgraph.nodes.targets import LinearLayer, Targets, linear_layers

# A block of 64 x 64 has 4,096 entries, and a matrix of 384 x 1,536 has 144 of them; a quarter of the shorter
# side leaves at least 16 blocks of a small matrix, where one block per matrix would be no graph at all.
LARGEST_BLOCK = 64
BLOCKS_PER_SIDE = 4


def rows(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each output feature of each linear layer a node: :math:`X = W` of shape (out, in).

    Parameters
    ----------
    model : nn.Module
        As in `node_tables`.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        As in `node_tables`.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix. Conv1D stores the transpose of W; its nodes are the output features all the
        same.

    Examples
    --------
    >>> import torch
    >>> rows(torch.nn.Sequential(torch.nn.Linear(4, 8)))["0.weight"].shape
    (8, 4)
    """
    return {layer.parameter: _line_table(layer, "rows") for layer in linear_layers(model, targets, exclude)}


def columns(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each input feature of each linear layer a node: :math:`X = W^\top` of shape (in, out).

    Parameters
    ----------
    model : nn.Module
        As in `node_tables`.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        As in `node_tables`.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix.

    Examples
    --------
    >>> import torch
    >>> columns(torch.nn.Sequential(torch.nn.Linear(4, 8)))["0.weight"].shape
    (4, 8)
    """
    return {
        layer.parameter: _line_table(layer, "columns") for layer in linear_layers(model, targets, exclude)
    }


def blocks(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None, size: Any = None
) -> dict[str, NodeTable]:
    r"""Make each b x b block of each matrix a node: :math:`x_{ij} = \mathrm{vec}(W_{ib:(i+1)b,\,jb:(j+1)b})`.

    Blocks tile the matrix exactly, as it is stored (Conv1D stores the transpose), and are numbered row by
    row.

    Parameters
    ----------
    model : nn.Module
        As in `node_tables`.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        As in `node_tables`.
    size : int, optional
        The b of all matrices. By default, for each matrix, the largest common divisor of its sides that is at
        most 64 and at most a quarter of the shorter side: 64 for 384 x 1,536, 8 for 32 x 64. Where the sides
        have none but 1, each scalar is a node.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix, of shape (out in / b^2, b^2).

    Raises
    ------
    TypeError
        If `size` is no integer.
    ValueError
        If `size` is below 1 or does not divide both sides of every matrix.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6, bias=False))
    >>> table = blocks(model, size=2)["0.weight"]
    >>> table.shape, table.names[5]
    ((6, 4), '0.weight[4:6, 2:4]')
    """
    layers = linear_layers(model, targets, exclude)
    if size is not None:
        _check_size(size, layers)
    return {
        layer.parameter: _block_table(layer, default_block(layer.shape) if size is None else int(size))
        for layer in layers
    }


def default_block(shape: tuple[int, int]) -> int:
    """Choose the side of the blocks of a matrix.

    Parameters
    ----------
    shape : (int, int)
        Of the matrix.

    Returns
    -------
    int
        The largest common divisor of both sides that is at most 64 and at most a quarter of the shorter one.

    Examples
    --------
    >>> default_block((384, 1536)), default_block((32, 64)), default_block((9, 5))
    (64, 8, 1)
    """
    common = gcd(*shape)
    limit = max(1, min(LARGEST_BLOCK, min(shape) // BLOCKS_PER_SIDE))
    return max((size for size in range(1, limit + 1) if common % size == 0), default=1)


def _line_table(layer: LinearLayer, scheme: str) -> NodeTable:
    # Stored rows are nodes for the rows of a Linear and the columns of a Conv1D.
    axis = 0 if (scheme == "rows") != layer.transposed else 1
    nodes = layer.shape[axis]
    bounds = ((0, layer.shape[0]), (0, layer.shape[1]))
    part = ParameterSlice(layer.parameter, layer.shape, layer.shape, bounds, (axis, 1 - axis), 1)
    index = "[{}]" if axis == 0 else "[:, {}]"
    return _matrix_table(layer, scheme, part, [layer.parameter + index.format(i) for i in range(nodes)])


def _block_table(layer: LinearLayer, size: int) -> NodeTable:
    down, across = layer.shape[0] // size, layer.shape[1] // size
    view = (down, size, across, size)
    part = ParameterSlice(
        layer.parameter, layer.shape, view, tuple((0, n) for n in view), (0, 2, 1, 3), node_axes=2
    )
    names = [
        f"{layer.parameter}[{i * size}:{(i + 1) * size}, {j * size}:{(j + 1) * size}]"
        for i in range(down)
        for j in range(across)
    ]
    return _matrix_table(layer, "blocks", part, names)


def _matrix_table(layer: LinearLayer, scheme: str, part: ParameterSlice, names: list[str]) -> NodeTable:
    nodes = len(names)
    return NodeTable(
        group=layer.parameter,
        scheme=scheme,
        slices=(part,),
        names=tuple(names),
        layer=(layer.layer,) * nodes,
        head=(-1,) * nodes,
        role=(layer.role,) * nodes,
    )


def _check_size(size: Any, layers: Sequence[LinearLayer]) -> None:
    if isinstance(size, bool) or not isinstance(size, numbers.Integral):
        raise TypeError(f"size must be an integer, the side of a block, or None; got {size!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    uneven = [layer for layer in layers if gcd(*layer.shape) % int(size)]
    if uneven:
        named = ", ".join(f"{layer.parameter} {layer.shape}" for layer in uneven[:3])
        common = gcd(*(side for layer in layers for side in layer.shape))
        raise ValueError(
            f"blocks of {size} x {size} do not tile {len(uneven)} of {len(layers)} matrices exactly: {named}"
            f"{', ...' if len(uneven) > 3 else ''}; take a divisor of {common}, which tiles them all, leave "
            "these out with exclude=[...], or let size=None choose for each matrix"
        )
