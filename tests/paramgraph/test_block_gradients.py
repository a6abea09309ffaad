import networkx as nx
import numpy as np

from paramgraph.block_gradients import block_refusal, solve_block
from paramgraph.shifts import laplacian
from paramgraph.spectrum import EigenProblem


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
