import networkx as nx
import numpy as np

from paramgraph import laplacian
from paramgraph.spectra import EigenProblem
from paramgraph.spectra.solvers.lobpcg import refusal, solve


def test_uneven_degrees_are_preconditioned_to_the_closed_form():
    star = laplacian(nx.star_graph(40), None)
    task = EigenProblem(star.matrix, 3, True, star.interval, star.null_space()[:, 0])
    np.testing.assert_allclose(solve(task).eigenvalues, 1.0, rtol=1e-8)


def test_block_that_is_too_wide_is_refused():
    assert "at most 2" in refusal(EigenProblem(np.eye(10), 3, False, (1.0, 1.0)))
