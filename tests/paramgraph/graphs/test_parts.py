"""Components, and the strongest neighbourhood of a node."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from paramgraph import connected_components, graph_from_scipy, graph_to_scipy
from paramgraph.graphs import component_labels, strongest_neighbourhood


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("two_components", [0, 1, 0, 1, 0, 1]),
        ("isolated_node", [0, 0, 1, 0]),
        ("no_edges", [0, 1, 2]),
        ("one_node", [0]),
        ("no_nodes", []),
        ("star", [0] * 7),
    ],
)
def test_components_are_numbered_by_their_first_node(
    graphs: dict[str, Data], name: str, labels: list[int]
) -> None:
    found = connected_components(graphs[name])
    assert found.tolist() == labels
    assert found.dtype == torch.int64


def test_edge_of_weight_zero_connects_nothing(graphs: dict[str, Data]) -> None:
    graph = graphs["path"]
    graph.edge_weight = torch.zeros_like(graph.edge_weight)
    assert connected_components(graph).tolist() == [0, 1, 2, 3, 4]
    assert graph_to_scipy(graph).nnz == 0


def test_negative_edge_connects() -> None:
    assert connected_components(graph_from_scipy(np.array([[0.0, -1.0], [-1.0, 0.0]]))).tolist() == [0, 0]


def test_relabelling_the_nodes_relabels_the_components(graphs: dict[str, Data]) -> None:
    matrix = graph_to_scipy(graphs["two_components"]).toarray()
    order = np.array([3, 0, 5, 1, 4, 2])
    moved = connected_components(graph_from_scipy(matrix[np.ix_(order, order)])).numpy()
    original = connected_components(graphs["two_components"]).numpy()[order]
    np.testing.assert_array_equal(moved[:, None] == moved, original[:, None] == original)


def test_one_direction_of_an_edge_is_enough_for_a_component() -> None:
    assert component_labels(sp.coo_array(([1.0, 1.0], ([3, 2], [0, 1])), shape=(5, 5))).tolist() == [
        0,
        1,
        1,
        0,
        2,
    ]


def test_part_grows_along_the_heaviest_edges():
    star = nx.Graph()
    star.add_weighted_edges_from((0, node, node / 10) for node in range(1, 8))
    assert strongest_neighbourhood(star, 4).tolist() == [0, 5, 6, 7]


def test_sign_does_not_matter():
    star = nx.Graph()
    star.add_weighted_edges_from((0, node, (-1) ** node * node / 10) for node in range(1, 8))
    assert strongest_neighbourhood(star, 4).tolist() == [0, 5, 6, 7]


@pytest.mark.parametrize("around", [2, 7])
def test_part_of_a_ring_lies_around_its_start(around):
    assert strongest_neighbourhood(nx.cycle_graph(20), 5, around).tolist() == list(
        range(around - 2, around + 3)
    )


def test_next_component_is_begun_where_one_ends():
    graph = nx.disjoint_union(nx.complete_graph(4), nx.path_graph(5))
    assert strongest_neighbourhood(graph, 5, around=8).tolist() == [4, 5, 6, 7, 8]
    assert strongest_neighbourhood(graph, 6, around=8).tolist() == [0, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("nodes", [0, 1, 3])
def test_more_than_all_is_all(nodes):
    assert strongest_neighbourhood(sp.csr_array((nodes, nodes)), 9).tolist() == list(range(nodes))


def test_part_of_one_component_is_connected():
    graph = nx.connected_watts_strogatz_graph(60, 4, 0.3, seed=2)
    chosen = strongest_neighbourhood(graph, 17)
    assert len(chosen) == 17
    assert chosen.dtype == np.int64
    assert nx.is_connected(graph.subgraph(chosen.tolist()))


@pytest.mark.parametrize(
    ("nodes", "around", "match"), [(0, None, "at least one"), (2, 5, "0 to 4"), (2, -1, "0 to 4")]
)
def test_what_is_no_part_raises(nodes, around, match):
    with pytest.raises(ValueError, match=match):
        strongest_neighbourhood(nx.path_graph(5), nodes, around)
