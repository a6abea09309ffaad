import itertools
import math

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings, strategies as st

from paramgraph import edge_agreement


def random_graph(seed: int, nodes: int = 12, signed: bool = False, share: float = 0.4) -> np.ndarray:
    numbers = np.random.default_rng(seed)
    weight = numbers.uniform(0.1, 1.0, (nodes, nodes)) * (numbers.random((nodes, nodes)) < share)
    weight *= numbers.choice([-1.0, 1.0], weight.shape) if signed else 1.0
    return np.triu(weight, 1) + np.triu(weight, 1).T


def test_path_in_a_ring_shares_all_but_one_edge():
    found = edge_agreement(nx.path_graph(10), nx.cycle_graph(10))
    assert (found.shared, found.edges) == (9, (9, 10))
    assert found.jaccard == found.ruzicka == 0.9


@pytest.mark.parametrize("signed", [False, True])
def test_a_graph_agrees_with_itself_wholly(signed):
    graph = random_graph(0, signed=signed)
    found = edge_agreement(graph, sp.csr_array(graph))
    assert found.jaccard == found.ruzicka == 1.0
    assert found.z_score > 5


def test_graphs_without_a_common_edge_agree_in_nothing():
    ring = nx.cycle_graph(6)
    found = edge_agreement(ring, nx.complement(ring))
    assert found.jaccard == found.ruzicka == found.shared == 0
    assert found.z_score < -3  # less than chance


def test_half_the_weight_is_half_the_weighted_agreement():
    graph = random_graph(1)
    found = edge_agreement(graph, graph / 2)
    assert found.jaccard == 1.0
    assert found.ruzicka == pytest.approx(0.5, rel=1e-14)


def test_opposite_signs_agree_in_the_edge_but_in_no_weight():
    graph = random_graph(2, signed=True)
    found = edge_agreement(graph, -graph)
    assert (found.jaccard, found.ruzicka) == (1.0, 0.0)


def test_diagonal_is_no_edge():
    graph = random_graph(3)
    assert edge_agreement(graph, graph + np.eye(12)) == edge_agreement(graph, graph)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), signed=st.booleans())
def test_agreement_is_symmetric_bounded_and_the_same_whatever_the_nodes_are_called(seed, signed):
    first, second = random_graph(seed, signed=signed), random_graph(seed + 1, signed=signed)
    found = edge_agreement(first, second)
    assert 0 <= found.ruzicka <= 1
    assert 0 <= found.jaccard <= 1
    swapped = edge_agreement(second, first)
    assert (swapped.jaccard, swapped.shared) == (found.jaccard, found.shared)
    # Sums in another order.
    assert swapped.ruzicka == pytest.approx(found.ruzicka, rel=1e-13)
    order = np.random.default_rng(seed).permutation(12)
    renamed = edge_agreement(first[np.ix_(order, order)], second[np.ix_(order, order)])
    assert renamed.shared == found.shared
    assert renamed.ruzicka == pytest.approx(found.ruzicka, rel=1e-13)


@pytest.mark.parametrize(("first", "second"), [(2, 3), (5, 5), (1, 6), (4, 1), (6, 6), (0, 3)])
def test_chance_is_the_mean_over_all_pairs_of_graphs(first, second):
    # Four nodes have six pairs: every edge set of these sizes, one by one.
    pairs = list(itertools.combinations(range(6), 2))[:6]
    fixed = set(pairs[:first])
    others = [set(chosen) for chosen in itertools.combinations(pairs, second)]
    mean = np.mean([len(fixed & other) / len(fixed | other) for other in others])
    edges = list(itertools.combinations(range(4), 2))
    a, b = nx.empty_graph(4), nx.empty_graph(4)
    a.add_edges_from(edges[:first])
    b.add_edges_from(edges[:second])
    assert edge_agreement(a, b).expected_jaccard == pytest.approx(mean, rel=1e-9)


def test_random_graphs_agree_as_much_as_chance_says():
    found = [edge_agreement(random_graph(2 * seed, 40), random_graph(2 * seed + 1, 40)) for seed in range(40)]
    # Forty graphs of a standard deviation near .012 each: three standard errors are .006.
    assert np.mean([one.jaccard - one.expected_jaccard for one in found]) == pytest.approx(0, abs=0.006)
    assert abs(np.mean([one.z_score for one in found])) < 3 / math.sqrt(40)


def test_chance_of_millions_of_edges_is_that_of_their_densities():
    # Each of 20,000 nodes joined with the next ones around a ring: both densities p, J by chance near p / (2 - p).
    nodes, reach, both = 20_000, 50, 26
    first, second = (around(nodes, range(start, start + reach)) for start in (1, 1 + reach - both))
    density = 2 * reach / (nodes - 1)
    found = edge_agreement(first, second)
    assert found.shared == both * nodes
    # The curvature of J is of the order of one shared edge in 5,000.
    assert found.expected_jaccard == pytest.approx(density / (2 - density), rel=1e-3)
    mean = reach * nodes * density
    assert found.z_score == pytest.approx((found.shared - mean) / (mean**0.5 * (1 - density)), rel=1e-3)


def around(nodes, steps):
    row = np.tile(np.arange(nodes), len(steps))
    column = (row + np.repeat(steps, nodes)) % nodes
    half = sp.coo_array((np.ones(len(row)), (row, column)), shape=(nodes, nodes))
    return sp.csr_array(half + half.T)


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_no_edges_at_all_are_no_agreement_and_no_disagreement(nodes):
    found = edge_agreement(np.zeros((nodes, nodes)), np.zeros((nodes, nodes)))
    assert all(math.isnan(value) for value in (found.jaccard, found.ruzicka, found.expected_jaccard))
    assert found.edges == (0, 0)


def test_complete_graphs_leave_chance_no_choice():
    found = edge_agreement(nx.complete_graph(4), nx.complete_graph(4))
    assert found.expected_jaccard == 1.0
    assert math.isnan(found.z_score)


def test_other_numbers_of_nodes_raise():
    with pytest.raises(ValueError, match="5 and 6 nodes"):
        edge_agreement(nx.path_graph(5), nx.path_graph(6))
