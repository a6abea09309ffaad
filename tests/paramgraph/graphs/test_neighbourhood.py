import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from paramgraph.graphs import strongest_neighbourhood


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
