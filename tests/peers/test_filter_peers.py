"""The same filters through PyGSP and SciPy."""

import networkx as nx
import numpy as np
import pygsp
import pytest
import scipy.linalg
import torch

from paramgraph.filters import apply_filter
from paramgraph.responses import heat, tikhonov
from paramgraph.shifts import laplacian

WEIGHTS = nx.to_numpy_array(nx.karate_club_graph())
X = np.random.default_rng(0).standard_normal((34, 2))


@pytest.mark.parametrize(("normalization", "name"), [(None, "combinatorial"), ("sym", "normalized")])
@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_heat_is_that_of_pygsp(normalization, name, method):
    graph = pygsp.graphs.Graph(WEIGHTS, lap_type=name)
    graph.compute_fourier_basis()
    # PyGSP's heat kernel is exp(-scale x / lmax).
    peer = pygsp.filters.Heat(graph, 0.5 * graph.lmax)
    expected = peer.filter(X, method=method, order=60)
    filtered = apply_filter(
        laplacian(WEIGHTS, normalization), torch.from_numpy(X), heat(0.5), method, order=60
    )
    # Order 60 of exp(-0.5 x) on [0, 100] leaves about 1e-9.
    np.testing.assert_allclose(filtered.numpy(), expected, atol=1e-7)


def test_heat_is_the_matrix_exponential_of_scipy():
    operator = laplacian(WEIGHTS)
    expected = scipy.linalg.expm(-2.0 * operator.to_dense()) @ X
    np.testing.assert_allclose(
        apply_filter(operator, torch.from_numpy(X), heat(2.0)).numpy(), expected, atol=1e-13
    )


def test_tikhonov_is_the_linear_solve_of_scipy():
    operator = laplacian(WEIGHTS, None)
    expected = scipy.linalg.solve(np.eye(34) + 3.0 * operator.to_dense(), X)
    np.testing.assert_allclose(
        apply_filter(operator, torch.from_numpy(X), tikhonov(3.0)).numpy(), expected, atol=1e-13
    )
