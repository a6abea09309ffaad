"""The null of the same degrees."""

from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import (
    Complete,
    CosineKNN,
    Gram,
    NumericalWarning,
    RandomRewired,
    Ring,
    check_graph,
    graph_from_networkx,
    graph_to_scipy,
)
from paramgraph.graphs import undirected_graph

from helpers.names import shown


def some_nodes(nodes: int = 60) -> Data:
    return Data(x=torch.randn(nodes, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(8)))


@pytest.mark.parametrize("inner", [CosineKNN(k=4), CosineKNN(k=4, signed=True), Ring()], ids=shown)
@pytest.mark.parametrize("seed", [0, 1])
def test_degrees_and_weights_stay_and_the_links_go(inner: Callable[[Data], Data], seed: int) -> None:
    before = inner(some_nodes())
    after = check_graph(RandomRewired(inner, seed=seed)(some_nodes()))
    old, new = graph_to_scipy(before), graph_to_scipy(after)
    np.testing.assert_array_equal(np.diff(old.indptr), np.diff(new.indptr))
    np.testing.assert_array_equal(np.sort(old.data), np.sort(new.data))
    assert after.signed is before.signed
    kept = ((old != 0).multiply(new != 0)).sum() / old.nnz
    assert after.rewired_share == pytest.approx(1.0 - kept)
    # A random graph of these degrees shares about degree / nodes = 12 % of its edges with the old one.
    assert after.rewired_share > 0.7


@pytest.mark.parametrize("graph", ["complete", "star", "one_edge"])
def test_degrees_that_leave_no_choice_are_said_aloud(graph: str) -> None:
    made = {"complete": nx.complete_graph(6), "star": nx.star_graph(5), "one_edge": nx.path_graph(2)}[graph]
    fixed = graph_from_networkx(made)
    with pytest.warns(NumericalWarning, match="came back as it was, .* take `permuted` or `rotated`"):
        after = RandomRewired(lambda data: fixed)(Data(num_nodes=len(made)))
    assert after.rewired_share == 0.0
    assert torch.equal(after.edge_index, fixed.edge_index)


def test_graph_that_is_almost_complete_is_still_rewired() -> None:
    pairs = torch.triu_indices(12, 12, offset=1)[:, 2:-2]
    dense = undirected_graph(Data(num_nodes=12), pairs, torch.ones(pairs.shape[1]))
    after = RandomRewired(lambda data: dense)(Data(num_nodes=12))
    assert 0.0 < after.rewired_share < 0.2  # only the few missing pairs can trade places
    assert torch.equal(after.edge_index[0].bincount(), dense.edge_index[0].bincount())


@pytest.mark.parametrize("seed", range(6))
def test_smallest_graph_with_a_choice_never_comes_back_as_it_was(seed: int) -> None:
    two = CosineKNN(k=1)(Data(x=torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])))
    assert RandomRewired(lambda data: two, seed=seed)(two).rewired_share == 1.0


def test_no_edges_stay_no_edges_without_a_word() -> None:
    empty = RandomRewired(lambda data: Ring()(data))(Data(num_nodes=1))
    assert empty.num_edges == 0
    assert empty.rewired_share == 0.0


def test_diagonal_stays_with_its_nodes() -> None:
    with pytest.warns(NumericalWarning, match="came back as it was"):
        after = RandomRewired(Gram())(some_nodes(8))
    assert torch.equal(after.node_weight, Gram()(some_nodes(8)).node_weight)


def test_options_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match="random: seed must be from 0"):
        RandomRewired(Complete(), seed=-1)
    with pytest.raises(ValueError, match="random: sweeps must be at least 1"):
        RandomRewired(Complete(), sweeps=0)
