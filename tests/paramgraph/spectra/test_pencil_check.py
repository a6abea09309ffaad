import networkx as nx
import numpy as np
import pytest

from paramgraph import adjacency, laplacian
from paramgraph.spectra import check_pencil


def test_laplacian_with_a_ridge_is_proven_without_a_solve(monkeypatch):
    monkeypatch.setattr(
        "paramgraph.spectra.pencil_check.choose_solvers", lambda problem: pytest.fail("solved")
    )
    path = laplacian(nx.path_graph(5))
    assert check_pencil(path, path, 1) == 1.0


def test_unbalanced_signed_laplacian_needs_no_ridge():
    triangle = laplacian(-(np.ones((3, 3)) - np.eye(3)), signed=True)
    assert check_pencil(triangle, triangle, 0.0) == 0.0


def test_no_nodes_are_definite():
    empty = adjacency(np.zeros((0, 0)))
    assert check_pencil(empty, empty, 0.0) == 0.0


def test_ridge_below_the_lowest_eigenvalue_names_it():
    path = adjacency(nx.path_graph(2))  # eigenvalues 1 and -1
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -0.5 with ridge=0.5; raise ridge above 1"):
        check_pencil(path, path, 0.5)
