"""The one matrix of a stack of experts in which a table lies: a step reads and writes that, and never the stack.

Experts share a parameter (experts, out, in). Cut, scattered or copied as a whole for each of them, it would cost a step
as many stacks as there are experts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from paramgraph.nodes import NodeTable


def expert_of(table: NodeTable) -> int:
    """Say which expert a table is of, and of no other; -1 where it lies in whole parameters."""
    return table.slices[0].expert if len(table.slices) == 1 else -1


def own_table(table: NodeTable) -> NodeTable:
    """Give the table of an expert on its matrix alone; any other table is given back as it is."""
    if expert_of(table) < 0:
        return table
    (part,) = table.slices
    own = replace(
        part,
        shape=part.shape[1:],
        view=part.view[1:],
        bounds=part.bounds[1:],
        order=tuple(axis - 1 for axis in part.order if axis),
        node_axes=sum(axis > 0 for axis in part.order[: part.node_axes]),
    )
    return replace(table, slices=(own,))


def own_parts(table: NodeTable, tensors: Mapping[str, Tensor | Sequence[Tensor]]) -> dict[str, Tensor]:
    """View in each tensor, or take out of a stack that was unbound, what `own_table` reads and writes."""
    expert = expert_of(table)
    found: dict[str, Tensor] = {}
    for name in table.parameters:
        value = tensors[name]
        part = value if expert < 0 else value[expert]
        assert isinstance(part, Tensor)  # only stacks are unbound
        found[name] = part
    return found
