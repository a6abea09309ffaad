import networkx as nx
import numpy as np
import pytest

from paramgraph import NotConvergedError, laplacian
from paramgraph.spectra import EigenProblem
from paramgraph.spectra.solvers.arpack import refusal, solve


def task(graph: nx.Graph, count: int) -> EigenProblem:
    operator = laplacian(graph, None)
    return EigenProblem(operator.matrix, count, True, operator.interval, operator.null_space()[:, 0])


def test_wanted_end_is_turned_up():
    assert solve(task(nx.random_regular_graph(8, 200, seed=0), 3)).note == "Lanczos on bound - L"
    assert solve(EigenProblem(np.diag([1.0, 5.0, 3.0]), 1, False, (1.0, 5.0))).note == "Lanczos on A"


def test_two_nodes_have_one_pair_beside_the_zero():
    np.testing.assert_allclose(solve(task(nx.path_graph(2), 1)).eigenvalues, [2.0], rtol=1e-12)


def test_all_pairs_are_refused():
    assert "at most 2" in refusal(EigenProblem(np.eye(3), 3, False, (1.0, 1.0)))


def test_no_convergence_is_named(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.solvers.arpack.RESTARTS", 1)
    with pytest.raises(NotConvergedError, match="1 restarts"):
        solve(task(nx.random_regular_graph(8, 400, seed=0), 8))
