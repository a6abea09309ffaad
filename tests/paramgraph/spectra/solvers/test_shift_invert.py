import networkx as nx
import numpy as np
import pytest

from paramgraph import NotConvergedError, adjacency, laplacian
from paramgraph.spectra import EigenProblem
from paramgraph.spectra.solvers.shift_invert import refusal, solve


def task(graph: nx.Graph, count: int) -> EigenProblem:
    operator = laplacian(graph, None)
    return EigenProblem(operator.matrix, count, True, operator.interval, operator.null_space()[:, 0])


def test_smallest_pair_of_a_long_chain_is_accurate():
    # Eigenvalue 6e-7 beside a known zero: the shift 4e-5 is larger than the gap.
    result = solve(task(nx.path_graph(4000), 2))
    expected = 2 - 2 * np.cos(np.pi * np.arange(1, 3) / 4000)
    np.testing.assert_allclose(result.eigenvalues, expected, rtol=1e-5)
    assert "shift-invert" in result.note


def test_largest_pairs_of_a_ring_come_from_just_above_the_interval():
    operator = adjacency(nx.cycle_graph(500))
    result = solve(EigenProblem(operator.matrix, 5, False, operator.interval))
    expected = 2 * np.cos(2 * np.pi * np.array([0, 1, 1, 2, 2]) / 500)
    np.testing.assert_allclose(result.eigenvalues, expected, rtol=1e-8)  # the tolerance


def test_two_nodes_have_one_pair_beside_the_zero():
    np.testing.assert_allclose(solve(task(nx.path_graph(2), 1)).eigenvalues, [2.0], rtol=1e-12)


def test_all_pairs_are_refused():
    assert "at most 2" in refusal(EigenProblem(np.eye(3), 3, False, (1.0, 1.0)))


def test_no_convergence_is_named(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.solvers.shift_invert.RESTARTS", 1)
    with pytest.raises(NotConvergedError, match="1 restarts"):
        solve(task(nx.random_regular_graph(8, 400, seed=0), 8))


def test_lower_end_below_zero_is_found():
    ring = adjacency(nx.cycle_graph(60))
    found = solve(EigenProblem(ring.matrix, 3, True, ring.interval))
    assert np.allclose(found.eigenvalues, 2 * np.cos(2 * np.pi * np.array([30, 29, 31]) / 60), atol=1e-9)
