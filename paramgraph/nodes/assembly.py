"""Put the matrices of node tables together from parameters that come one at a time."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from paramgraph.nodes.table import NodeTable


class TableAssembly:
    """Gather tables from parameters in any order, each of which may be dropped once it was added.

    The same as `NodeTable.gather` of all of them, with the memory of the tables that are not complete plus one
    parameter, and not of the parameters as well. A complete table is handed on at once, as `sink(group, X)` with
    X of shape (nodes, width), and forgotten; then the next round may begin.

    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    >>> found = {}
    >>> TableAssembly(rows(model), found.__setitem__).add("0.weight", torch.ones(3, 2))
    >>> found["0.weight"].shape
    torch.Size([3, 2])
    """

    def __init__(self, tables: Mapping[str, NodeTable], sink: Callable[[str, Tensor], None]) -> None:
        self._sink = sink
        self._tables = tables
        self._users: dict[str, list[str]] = {}
        for group, table in tables.items():
            for name in table.parameters:
                self._users.setdefault(name, []).append(group)
        self._partial: dict[str, tuple[Tensor, set[str]]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take a parameter in, once per round; one that no table has is ignored.

        `value` is not changed, and not kept unless a table is a view of it.
        """
        for group in self._users.get(name, []):
            table = self._tables[group]
            if len(table.parameters) == 1:
                self._sink(group, table.gather({name: value}))
                continue
            if group not in self._partial:
                self._partial[group] = (value.new_zeros(table.shape), set(table.parameters))
            X, missing = self._partial.pop(group)
            X = X.to(torch.promote_types(X.dtype, value.dtype))
            for part in table.slices:
                if part.parameter == name:
                    node, column = part.at
                    X[node : node + part.nodes, column : column + part.width] += part.take(value).to(X.device)
            missing.discard(name)
            if missing:
                self._partial[group] = (X, missing)
            else:
                self._sink(group, X)
