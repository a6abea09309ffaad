import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from hypothesis import given, settings, strategies as st

from paramgraph.spectra import FillIn, estimate_fill_in


def matrix(graph: nx.Graph) -> sp.csr_array:
    return nx.to_scipy_sparse_array(graph, format="csr", dtype=float)


def test_path_has_one_entry_a_row_and_a_level_for_each_node():
    fill = estimate_fill_in(matrix(nx.path_graph(100)))
    assert fill.entries == 99
    assert fill.levels == pytest.approx(100, rel=0.02)


def test_ring_has_two_entries_a_row():
    # The second node has one neighbour before it, the last two nodes close the ring.
    assert estimate_fill_in(matrix(nx.cycle_graph(100))).entries == pytest.approx(2 * 98, abs=2)


def test_complete_graph_fills_the_triangle():
    assert estimate_fill_in(matrix(nx.complete_graph(10))).entries == 45
    assert estimate_fill_in(np.ones((10, 10))).entries == 45


def test_grid_is_as_wide_as_its_side():
    fill = estimate_fill_in(matrix(nx.grid_2d_graph(30, 30)))
    assert 10 * 900 < fill.entries < 31 * 900


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_no_edges_fill_nothing(nodes):
    assert estimate_fill_in(sp.csr_array((nodes, nodes))).entries == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 30), degree=st.floats(0.5, 6))
def test_a_cholesky_factor_in_that_order_has_no_more_entries(seed, nodes, degree):
    graph = nx.gnp_random_graph(nodes, min(1.0, degree / nodes), seed=seed)
    laplacian = nx.laplacian_matrix(graph).toarray().astype(float) + np.eye(nodes)
    order = sp.csgraph.reverse_cuthill_mckee(sp.csr_matrix(laplacian), symmetric_mode=True)
    factor = np.tril(scipy.linalg.cholesky(laplacian[np.ix_(order, order)], lower=True), -1)
    # A zero that cancels exactly in the factor is no entry, so this is an inequality.
    assert np.count_nonzero(np.abs(factor) > 1e-14) <= estimate_fill_in(matrix(graph)).entries


def test_text_gives_the_entries_of_a_row():
    assert str(FillIn(4, 8)) == "estimated fill-in 2 entries a row"
    assert str(FillIn(0, 0)) == "estimated fill-in 0 entries a row"
