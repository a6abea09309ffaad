import networkx as nx
import numpy as np
import pytest

from paramgraph import laplacian
from paramgraph.spectra import EigenProblem, block_refusal, solve_block


def test_block_larger_than_a_fifth_of_the_nodes_is_refused():
    assert block_refusal(EigenProblem(np.eye(20), 4, True, (0.0, 1.0))) == ""
    assert "at most 3 pairs" in block_refusal(EigenProblem(np.eye(19), 4, True, (0.0, 1.0)))


def test_steps_that_end_early_give_what_there_is():
    operator = laplacian(nx.cycle_graph(200))
    null = operator.null_space()[:, 0]
    result = solve_block(EigenProblem(operator.matrix, 4, True, operator.interval, null), None, 3, "short")
    assert result.note == "short"
    # Ritz values are upper bounds of the eigenvalues, 1 - cos(2 pi / 200) the first of them.
    assert result.eigenvalues[0] > 1 - np.cos(2 * np.pi / 200)
    assert (np.diff(result.eigenvalues) >= 0).all()


@pytest.mark.parametrize("nodes", [21, 29])
def test_search_directions_that_become_dependent_do_not_stop_it(nodes):
    # SciPy's iteration ends there at residuals of 4.5e-8 and 2.2e-8.
    operator = laplacian(nx.cycle_graph(nodes))
    null = operator.null_space()[:, 0]
    result = solve_block(EigenProblem(operator.matrix, 2, True, operator.interval, null), None, 1000, "")
    errors = operator.matrix @ result.eigenvectors - result.eigenvectors * result.eigenvalues
    assert np.linalg.norm(errors, axis=0).max() <= 1e-8  # tol 1e-8, bound 2, half of it
    np.testing.assert_allclose(result.eigenvalues, 1 - np.cos(2 * np.pi / nodes), atol=1e-12)
