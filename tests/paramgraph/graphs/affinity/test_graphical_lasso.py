"""The graphical lasso: optimality conditions, closed forms, and inputs on which coordinate descent breaks down."""

import numpy as np
import pytest

from paramgraph import NotConvergedError
from paramgraph.graphs.affinity import sparse_precision


def correlations(nodes: int, width: int, shared: float) -> np.ndarray:
    rng = np.random.default_rng(nodes + width)
    rows = rng.standard_normal((nodes, width)) + shared * rng.standard_normal(width)
    found: np.ndarray = np.corrcoef(rows)
    return (found + found.T) / 2


@pytest.mark.parametrize("shared", [0.0, 3.0])  # independent rows, and nearly equal ones
@pytest.mark.parametrize("width", [4, 50])  # fewer observations than nodes, and more
@pytest.mark.parametrize("alpha", [0.05, 0.4])
def test_solution_fulfils_the_conditions_of_the_minimum(shared: float, width: int, alpha: float) -> None:
    sample = correlations(24, width, shared)
    precision = sparse_precision(sample, alpha)
    gradient = sample - np.linalg.inv(precision)
    off = ~np.eye(24, dtype=bool)
    linked = off & (precision != 0)
    # 1e-3 of alpha: a relative error of 1e-7 in P grows by its condition, up to 1e4, in its inverse.
    slack = 1e-3 * alpha
    np.testing.assert_allclose(np.diag(gradient), 0.0, atol=slack)
    np.testing.assert_allclose(gradient[linked], -alpha * np.sign(precision[linked]), rtol=0, atol=slack)
    assert (np.abs(gradient[off & ~linked]) <= alpha + slack).all()
    assert (precision == precision.T).all()


@pytest.mark.parametrize(("r", "alpha"), [(0.8, 0.3), (-0.8, 0.3), (0.2, 0.3)])
def test_two_nodes_have_a_closed_form(r: float, alpha: float) -> None:
    left = np.sign(r) * max(abs(r) - alpha, 0.0)  # the covariance is shrunk, its diagonal is not
    expected = np.linalg.inv(np.array([[1.0, left], [left, 1.0]]))
    found = sparse_precision(np.array([[1.0, r], [r, 1.0]]), alpha)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # the tolerance of 1e-7, times ten


def test_relabelled_nodes_have_the_relabelled_solution() -> None:
    sample, order = correlations(20, 10, 1.0), np.random.default_rng(0).permutation(20)
    found = sparse_precision(sample[np.ix_(order, order)], 0.1)
    np.testing.assert_allclose(found, sparse_precision(sample, 0.1)[np.ix_(order, order)], atol=1e-8)


def test_correlations_are_not_changed() -> None:
    sample = correlations(5, 9, 0.0)
    kept = sample.copy()
    sparse_precision(sample, 0.1)
    assert (sample == kept).all()


def test_penalty_of_almost_nothing_on_a_singular_matrix_says_what_to_do() -> None:
    with pytest.raises(
        NotConvergedError, match=r"of 20 nodes did not converge in 50 iterations .*raise alpha"
    ):
        sparse_precision(correlations(20, 6, 0.0), 1e-9, iterations=50)
