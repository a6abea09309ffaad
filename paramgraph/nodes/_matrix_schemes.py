"""Matrices cut one by one, into lines or square blocks, and whole matrices put side by side."""

from collections.abc import Mapping, Sequence
from math import gcd, prod

from paramgraph._checks import is_whole
from paramgraph.nodes._numbered_names import NumberedNames
from paramgraph.nodes.linear_modules import LinearLayer, split_at_depth
from paramgraph.nodes.slices import ParameterSlice
from paramgraph.nodes.table import NodeTable
from paramgraph.nodes.targets import each_weight_once

# A block of 64 x 64 has 4,096 entries, and a matrix of 384 x 1,536 has 144 of them; a quarter of the shorter
# side leaves at least 16 blocks of a small matrix, where one block per matrix would be no graph at all.
LARGEST_BLOCK = 64
BLOCKS_PER_SIDE = 4


def line_tables(targeted: Mapping[str, LinearLayer], scheme: str) -> dict[str, NodeTable]:
    """Make a table of each matrix, whose nodes are its "rows" (output features) or "columns" (input features)."""
    return {layer.group: _line_table(layer, scheme) for layer in each_weight_once(targeted.values())}


def block_tables(targeted: Mapping[str, LinearLayer], size: object = None) -> dict[str, NodeTable]:
    """Make a table of each matrix, whose nodes are its square blocks, row by row."""
    layers = each_weight_once(targeted.values())
    fixed = None if size is None else _checked_size(size, layers)
    return {
        layer.group: _block_table(layer, _default_block(layer.shape) if fixed is None else fixed)
        for layer in layers
    }


def depth_tables(targeted: Mapping[str, LinearLayer]) -> dict[str, NodeTable]:
    """Make a table of each role, whose nodes are whole matrices, and one of each stored shape where they differ."""
    by_role: dict[str, dict[tuple[int, int], list[LinearLayer]]] = {}
    for layer in each_weight_once(targeted.values()):
        role = _without_depth(layer.parameter, layer.depth_number)
        by_role.setdefault(role, {}).setdefault(layer.shape, []).append(layer)
    tables = {}
    for role, by_shape in by_role.items():
        for shape, members in by_shape.items():
            key = role if len(by_shape) == 1 else f"{role}[{shape[0]}x{shape[1]}]"
            tables[key] = _depth_table(key, members)
    return tables


def _default_block(shape: tuple[int, int]) -> int:
    common = gcd(*shape)
    limit = max(1, min(LARGEST_BLOCK, min(shape) // BLOCKS_PER_SIDE))
    return max((size for size in range(1, limit + 1) if common % size == 0), default=1)


def _part(
    layer: LinearLayer, view: tuple[int, ...], order: tuple[int, ...], node_axes: int, node: int = 0
) -> ParameterSlice:
    """Cut a whole matrix, given as axes of its own; an expert's matrix lies at one index of one more axis before."""
    if layer.expert < 0:
        bounds = tuple((0, size) for size in view)
        return ParameterSlice(layer.parameter, layer.shape, view, bounds, order, node_axes, (node, 0))
    return ParameterSlice(
        layer.parameter,
        (layer.experts, *layer.shape),
        (layer.experts, *view),
        ((layer.expert, layer.expert + 1), *((0, size) for size in view)),
        (0, *(axis + 1 for axis in order)),
        node_axes + 1 if node_axes else 0,
        (node, 0),
    )


def _line_table(layer: LinearLayer, scheme: str) -> NodeTable:
    # Stored rows are nodes for the rows of a Linear and the columns of a Conv1D.
    axis = 0 if (scheme == "rows") != layer.transposed else 1
    part = _part(layer, layer.shape, (axis, 1 - axis), 1)
    before = "[" if axis == 0 else "[:, "
    names = NumberedNames(f"{layer.group}{before}", "]", range(layer.shape[axis]))
    return _table(layer.group, scheme, [part], names, [layer])


def _block_table(layer: LinearLayer, size: int) -> NodeTable:
    down, across = layer.shape[0] // size, layer.shape[1] // size
    part = _part(layer, (down, size, across, size), (0, 2, 1, 3), node_axes=2)
    names = [
        f"{layer.group}[{i * size}:{(i + 1) * size}, {j * size}:{(j + 1) * size}]"
        for i in range(down)
        for j in range(across)
    ]
    return _table(layer.group, "blocks", [part], names, [layer])


def _depth_table(group: str, members: Sequence[LinearLayer]) -> NodeTable:
    slices = [
        _part(layer, (prod(layer.shape),), (0,), 0, node)
        if layer.expert < 0
        else _part(layer, layer.shape, (0, 1), 0, node)
        for node, layer in enumerate(members)
    ]
    return _table(group, "layers", slices, [layer.group for layer in members], members)


def _table(
    group: str,
    scheme: str,
    slices: Sequence[ParameterSlice],
    names: Sequence[str],
    layers: Sequence[LinearLayer],
) -> NodeTable:
    """Make a table of nodes that each lie in one layer, the same for all where one is given, and in no head."""
    each = len(names) // len(layers)
    return NodeTable(
        group=group,
        scheme=scheme,
        slices=tuple(slices),
        names=names if isinstance(names, NumberedNames) else tuple(names),
        layer=tuple(layer.layer for layer in layers) * each,
        head=(-1,) * len(names),
        role=tuple(layer.role for layer in layers) * each,
    )


def _without_depth(parameter: str, number: int) -> str:
    path, rest = split_at_depth(parameter, number)
    return ".".join([*path, "*", *rest]) if rest else parameter


def _checked_size(size: object, layers: Sequence[LinearLayer]) -> int:
    if not is_whole(size):
        raise TypeError(f"size must be an integer, the side of a block, or None; got {size!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    uneven = [layer for layer in layers if gcd(*layer.shape) % int(size)]
    if uneven:
        named = ", ".join(f"{layer.group} {layer.shape}" for layer in uneven[:3])
        common = gcd(*(side for layer in layers for side in layer.shape))
        raise ValueError(
            f"blocks of {size} x {size} do not tile {len(uneven)} of {len(layers)} matrices exactly: {named}"
            f"{', ...' if len(uneven) > 3 else ''}; take a divisor of {common}, which tiles them all, leave "
            "these out with exclude=[...], or let size=None choose for each matrix"
        )
    return int(size)
