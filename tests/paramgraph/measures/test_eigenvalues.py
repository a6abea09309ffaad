import math

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import adjacency, algebraic_connectivity, eigenpairs, laplacian, spectral_distance


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (nx.complete_graph(7), 7.0),
        (nx.cycle_graph(9), 2 - 2 * math.cos(2 * math.pi / 9)),
        (nx.path_graph(6), 2 - 2 * math.cos(math.pi / 6)),
        (nx.star_graph(5), 1.0),
        (nx.complete_bipartite_graph(3, 4), 3.0),
        (nx.disjoint_union(nx.path_graph(3), nx.path_graph(2)), 0.0),
        (nx.empty_graph(2), 0.0),
    ],
    ids=["complete", "ring", "path", "star", "bipartite", "two components", "no edges"],
)
def test_connectivity_has_its_closed_form(graph, expected):
    assert algebraic_connectivity(graph) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100))
def test_connectivity_grows_with_the_weights_and_with_every_edge(seed, scale):
    graph = nx.connected_watts_strogatz_graph(14, 4, 0.3, seed=seed)
    before = algebraic_connectivity(graph)
    matrix = nx.to_scipy_sparse_array(graph, dtype=float)
    assert algebraic_connectivity(scale * matrix) == pytest.approx(scale * before, rel=1e-10)
    graph.add_edge(*next(nx.non_edges(graph)))
    assert algebraic_connectivity(graph) >= before - 1e-12


def test_connectivity_of_an_operator_is_that_of_its_graph():
    assert algebraic_connectivity(laplacian(nx.complete_graph(4), None)) == pytest.approx(4, abs=1e-12)


@pytest.mark.parametrize(
    ("graph", "match"),
    [
        (nx.empty_graph(1), "1 nodes"),
        (sp.csr_array((0, 0)), "0 nodes"),
        (laplacian(nx.path_graph(3), "sym"), "normalization=None"),
        (adjacency(nx.path_graph(3)), "normalization=None"),
        (np.array([[0.0, -1.0], [-1.0, 0.0]]), "not negative"),
        (laplacian(np.array([[0.0, -1.0], [-1.0, 0.0]]), None, signed=True), "without negative weights"),
        (np.array([[0.0, math.nan], [math.nan, 0.0]]), "NaN"),
    ],
    ids=["one node", "no nodes", "normalized", "adjacency", "signed", "signed operator", "NaN"],
)
def test_graph_without_a_connectivity_raises(graph, match):
    with pytest.raises(ValueError, match=match):
        algebraic_connectivity(graph)


def test_distance_of_a_complete_graph_to_no_edges_is_the_mean_eigenvalue():
    # 0 once and n / (n - 1) else, against zeros: the mean is 1.
    assert spectral_distance(nx.complete_graph(6), nx.empty_graph(6)) == pytest.approx(1, abs=1e-13)


def test_distance_of_two_complete_graphs_of_any_size_has_its_closed_form():
    # Quantiles: zeros up to 1/4 and 4/3 beyond, against zeros up to 1/2 and 2 beyond.
    expected = 0.25 * 4 / 3 + 0.5 * (2 - 4 / 3)
    assert spectral_distance(nx.complete_graph(4), nx.complete_graph(2)) == pytest.approx(expected, abs=1e-13)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_distance_is_a_metric_that_names_of_nodes_do_not_change(seed):
    a, b, c = (nx.to_numpy_array(nx.gnp_random_graph(15, 0.2, seed=seed + at)) for at in range(3))
    order = np.random.default_rng(seed).permutation(15)
    assert spectral_distance(a, a[np.ix_(order, order)]) == 0.0
    assert spectral_distance(a, b) == pytest.approx(spectral_distance(b, a), abs=1e-13)
    assert spectral_distance(a, c) <= spectral_distance(a, b) + spectral_distance(b, c) + 1e-12
    assert spectral_distance(a, b) <= 2


def test_distance_does_not_see_the_scale_of_weights_but_that_of_a_combinatorial_laplacian_does():
    ring = nx.to_numpy_array(nx.cycle_graph(5))
    assert spectral_distance(ring, 3 * ring) == 0.0
    combinatorial = spectral_distance(laplacian(ring, None), laplacian(3 * ring, None))
    assert combinatorial == pytest.approx(2 * 2, rel=1e-12)  # the mean eigenvalue, a degree, is 2 and 6


def test_cospectral_graphs_cannot_be_told_apart():
    star, ring_and_loner = nx.star_graph(4), nx.disjoint_union(nx.cycle_graph(4), nx.empty_graph(1))
    assert not nx.is_isomorphic(star, ring_and_loner)
    assert spectral_distance(adjacency(star), adjacency(ring_and_loner)) == 0.0
    assert spectral_distance(star, ring_and_loner) > 0.1


def test_signed_graphs_are_compared_by_their_adjacency():
    pair = np.array([[0.0, -1.0], [-1.0, 0.0]])
    assert spectral_distance(adjacency(pair), adjacency(-pair)) == 0.0
    assert spectral_distance(adjacency(pair), adjacency(2 * pair)) == pytest.approx(1, abs=1e-14)


def test_complete_spectra_are_taken_as_they_are():
    graphs = nx.path_graph(6), nx.cycle_graph(7)
    spectra = [eigenpairs(laplacian(graph)) for graph in graphs]
    assert spectral_distance(*spectra) == pytest.approx(spectral_distance(*graphs), abs=1e-12)
    assert spectral_distance(spectra[0].to(dtype=torch.float32), graphs[0]) == pytest.approx(0, abs=1e-6)


def test_random_walk_and_symmetric_laplacian_have_the_same_eigenvalues():
    graph = nx.star_graph(4)
    spectra = [eigenpairs(laplacian(graph, name)) for name in ("rw", "sym")]
    assert spectral_distance(*spectra) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (sp.csr_array((0, 0)), nx.path_graph(2), "without nodes"),
        (eigenpairs(laplacian(nx.path_graph(5)), k=2), nx.path_graph(5), "all 5 modes"),
        (adjacency(nx.path_graph(2)), nx.path_graph(2), "one kind"),
        (laplacian(nx.path_graph(2), None), nx.path_graph(2), "one kind"),
        (sp.csr_array((9000, 9000)), nx.path_graph(2), "9000 nodes"),
    ],
    ids=["no nodes", "incomplete", "kinds", "normalizations", "large"],
)
def test_spectra_that_cannot_be_compared_raise(first, second, match):
    with pytest.raises(ValueError, match=match):
        spectral_distance(first, second)


def test_one_node_has_one_eigenvalue():
    assert spectral_distance(nx.empty_graph(1), nx.empty_graph(3)) == 0.0
