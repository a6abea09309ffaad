"""The part of a parameter in which a table lies: a step reads and writes that, and never the whole.

Experts share a parameter (experts, out, in), and so do the factors of their adapters. Cut, scattered or copied as a
whole for each of them, it would cost a step as many stacks as there are experts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from paramgraph.nodes import NodeTable


def own_table(table: NodeTable) -> NodeTable:
    """Give a table that is one part of a parameter on that part alone; any other table is given back as it is."""
    if not _is_part(table):
        return table
    (part,) = table.slices
    sizes = part.sizes
    own = replace(part, shape=sizes, view=sizes, bounds=tuple((0, size) for size in sizes))
    return replace(table, slices=(own,))


def own_parts(table: NodeTable, tensors: Mapping[str, Tensor | Sequence[Tensor]]) -> dict[str, Tensor]:
    """View in each tensor, or take out of a stack that was unbound, what `own_table` reads and writes."""
    found: dict[str, Tensor] = {}
    for name in table.parameters:
        value = tensors[name]
        if not isinstance(value, Tensor):
            found[name] = value[table.expert].view(table.slices[0].sizes)
        elif _is_part(table):
            (part,) = table.slices
            found[name] = value.view(part.view)[tuple(slice(*bound) for bound in part.bounds)]
        else:
            found[name] = value
    return found


def _is_part(table: NodeTable) -> bool:
    """Say whether a table is one part of a parameter, cut along axes into which its axes are split: always a view."""
    if len(table.slices) != 1 or table.slices[0].is_whole:
        return False
    shape, view = list(table.slices[0].shape), list(table.slices[0].view)
    while shape and view:
        size, split = shape.pop(), view.pop()
        while split < size and view:
            split *= view.pop()
        if split != size:
            return False
    return not shape and not view
