import networkx as nx
import numpy as np
import pytest

import paramgraph
from paramgraph import eigenpairs, laplacian
from paramgraph.spectra import second_eigenvalue

EXPANDER = nx.random_regular_graph(8, 500, seed=0)


def weighted(graph: nx.Graph) -> nx.Graph:
    source = np.random.default_rng(0)
    nx.set_edge_attributes(graph, {edge: source.uniform(0.1, 2.0) for edge in graph.edges}, "weight")
    return graph


@pytest.mark.parametrize(
    "operator",
    [
        laplacian(weighted(nx.random_regular_graph(8, 500, seed=0)), None),
        laplacian(EXPANDER, "sym"),
        laplacian(nx.complete_graph(500), None),  # a dense matrix of one eigenvalue
        laplacian(nx.complete_bipartite_graph(3, 500), None),  # 3, of 499 copies
        laplacian(nx.cycle_graph(500), None),  # left to shift-invert
        laplacian(nx.star_graph(30), None),  # left to a dense solver
    ],
    ids=["weighted", "normalized", "complete", "bipartite", "ring", "small"],
)
def test_it_is_the_second_of_all(operator):
    # Rounding of a dense decomposition.
    expected = np.linalg.eigvalsh(operator.to_dense())[1]
    assert second_eigenvalue(operator) == pytest.approx(expected, abs=1e-13 * operator.bound)


def test_lanczos_finds_it_without_eigenpairs(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.eigensolve.eigenpairs", lambda *_, **__: pytest.fail("solved"))
    assert second_eigenvalue(laplacian(EXPANDER, None)) > 0


def test_it_is_left_to_eigenpairs_where_it_is_not_assured(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra._lone_eigenvalue.SEARCH_STEPS", 40)
    operator = laplacian(EXPANDER, None)
    assert second_eigenvalue(operator) == float(eigenpairs(operator, k=2).eigenvalues[1])


def test_an_eigenvalue_close_to_others_is_not_passed_over():
    # Two expanders that one weak edge holds together: behind it all other eigenvalues lie in a band far away.
    two = nx.disjoint_union(EXPANDER, EXPANDER)
    two.add_edge(0, 500, weight=1e-3)
    operator = laplacian(two, None)
    value = second_eigenvalue(operator)
    assert 0 < value < 1e-5
    assert value == pytest.approx(np.linalg.eigvalsh(operator.to_dense())[1], abs=1e-13 * operator.bound)


def test_scale_of_the_weights_is_that_of_the_value():
    matrix = nx.to_scipy_sparse_array(EXPANDER, dtype=float)
    one = paramgraph.algebraic_connectivity(matrix)
    assert paramgraph.algebraic_connectivity(2.0**-300 * matrix) == 2.0**-300 * one
