import networkx as nx
import numpy as np
import pytest

from paramgraph import laplacian
from paramgraph.spectra import EigenProblem
from paramgraph.spectra.solvers.dense import refusal, solve


@pytest.mark.parametrize("count", [1, 3, 11])
def test_few_and_all_pairs_of_the_path_are_the_closed_form(count):
    path = laplacian(nx.path_graph(12), None)
    task = EigenProblem(path.matrix, count, True, path.interval, path.null_space()[:, 0])
    expected = 2 - 2 * np.cos(np.pi * np.arange(1, count + 1) / 12)
    np.testing.assert_allclose(solve(task).eigenvalues, expected, atol=1e-14)  # a norm of 4, 12 nodes


def test_largest_pairs_come_in_descending_order():
    task = EigenProblem(np.diag([1.0, 5.0, 3.0]), 2, False, (1.0, 5.0))
    assert solve(task).eigenvalues.tolist() == [5.0, 3.0]


def test_nothing_is_refused():
    assert refusal(EigenProblem(np.eye(2), 2, False, (1.0, 1.0))) == ""
