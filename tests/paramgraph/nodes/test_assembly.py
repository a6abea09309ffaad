"""Tables put together from parameters that come one at a time."""

import pytest
import torch

from paramgraph import node_tables
from paramgraph.nodes import SCHEMES, TableAssembly


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_any_order_gives_what_gather_gives_once_per_round(tiny_transformer, scheme):
    tables, found = node_tables(tiny_transformer, scheme), []
    parameters = {name: value.detach() for name, value in tiny_transformer.named_parameters()}
    assembly = TableAssembly(tables, lambda group, X: found.append((group, X)))
    for order in (list(parameters), list(reversed(parameters))):
        for name in order:
            assembly.add(name, parameters[name])
        assert sorted(group for group, _ in found) == sorted(tables)
        assert all(torch.equal(X, tables[group].gather(parameters)) for group, X in found)
        found.clear()


def test_the_widest_dtype_wins(tiny_transformer):
    (table,) = node_tables(tiny_transformer, "layers", targets=["query"]).values()
    found = []
    assembly = TableAssembly({"q": table}, lambda group, X: found.append(X))
    first, second = table.parameters
    assembly.add(first, torch.ones(32, 32))
    assembly.add(second, torch.ones(32, 32, dtype=torch.float64))
    assert found[0].dtype == torch.float64
