"""Shrunk and partial correlations, by scikit-learn's estimators, closed forms and the conditions of a minimum."""

import numpy as np
import pytest
import torch
from sklearn.covariance import GraphicalLasso, LedoitWolf

from paramgraph import NotConvergedError
from paramgraph.graphs.affinity import partial_correlations, shrunk_rows, sparse_precision


def features(nodes: int = 14, width: int = 30, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, width, dtype=torch.float64, generator=source)
    for node in range(1, nodes):  # a chain
        x[node] += 0.8 * x[node - 1]
    return x * torch.arange(1.0, nodes + 1, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("width", [5, 30])
@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
def test_inner_products_are_the_correlations_of_ledoit_and_wolf(width: int, scale: float) -> None:
    x = features(width=width)
    covariance = LedoitWolf().fit(x.T.numpy()).covariance_
    size = np.sqrt(np.diag(covariance))
    expected = covariance / np.outer(size, size)
    rows = shrunk_rows(x * scale)
    found = (rows @ rows.T).numpy()
    off = ~np.eye(len(x), dtype=bool)
    np.testing.assert_allclose(found[off], expected[off], rtol=0, atol=1e-13)  # rounding
    assert (rows.norm(dim=1) < 1.0).all()


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_partial_correlations_are_those_of_the_graphical_lasso(alpha: float) -> None:
    x = features()
    standard = (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, correction=0, keepdim=True)
    precision = GraphicalLasso(alpha=alpha, tol=1e-8, enet_tol=1e-8).fit(standard.T.numpy()).precision_
    size = np.sqrt(np.diag(precision))
    expected = -precision / np.outer(size, size)
    np.fill_diagonal(expected, 1.0)
    # 1e-6: six digits, where both are told to stop.
    np.testing.assert_allclose(partial_correlations(x, alpha), expected, rtol=0, atol=1e-6)


def test_chain_is_found_where_correlation_sees_more() -> None:
    x = features(6, 3000)
    partial, plain = partial_correlations(x, 0.02), torch.corrcoef(x)
    assert plain[0, 2] > 0.3
    assert partial[0, 2].abs() < 0.1
    assert partial[0, 1] > 0.4


@pytest.mark.parametrize("nodes", [0, 1])
def test_too_few_nodes_have_nothing_to_estimate(nodes: int) -> None:
    assert torch.equal(partial_correlations(features()[:nodes], 0.1), torch.eye(nodes, dtype=torch.float64))
    assert shrunk_rows(features()[:nodes]).shape == (nodes, 30)


def test_too_few_iterations_are_an_error() -> None:
    with pytest.raises(NotConvergedError, match=r"in 1 iterations at alpha=0\.01 .*raise alpha"):
        partial_correlations(features(width=8), 0.01, iterations=1)


def test_partial_correlations_draw_from_no_global_random_state() -> None:
    before = np.random.get_state()  # noqa: NPY002  the global generator is the one meant
    partial_correlations(features(), 0.1)
    after = np.random.get_state()  # noqa: NPY002
    assert before[2:] == after[2:]
    assert (before[1] == after[1]).all()


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
