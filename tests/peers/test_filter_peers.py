"""The same filters through PyGSP and SciPy."""

import networkx as nx
import numpy as np
import pygsp
import pytest
import scipy.linalg
import scipy.sparse.linalg as spla
import torch

from paramgraph import apply_filter, apply_filter_bank, heat, laplacian, tikhonov, wavelets

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


@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_heat_is_the_action_of_the_exponential_of_scipy(method):
    operator = laplacian(WEIGHTS, None)
    expected = spla.expm_multiply(-0.3 * operator.to_scipy(), X)
    filtered = apply_filter(operator, torch.from_numpy(X), heat(0.3), method, order=80)
    # expm_multiply is good to about 1e-12; order 80 of exp(-0.3 x) on [0, 33] leaves less.
    np.testing.assert_allclose(filtered.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("scales", [2, 4, 6])
@pytest.mark.parametrize(
    ("kind", "name"), [("itersine", "Itersine"), ("meyer", "Meyer"), ("mexican_hat", "MexicanHat")]
)
def test_wavelets_are_those_of_pygsp(kind, name, scales):
    graph = pygsp.graphs.Graph(WEIGHTS, lap_type="combinatorial")
    graph.compute_fourier_basis()
    peer = getattr(pygsp.filters, name)(graph, Nf=scales)
    signal = np.random.default_rng(1).standard_normal(
        (34, 3)
    )  # PyGSP takes 2 columns for 2 filters' features
    expected = peer.filter(signal, method="exact")
    bank = wavelets(graph.lmax, scales, kind)
    filtered = apply_filter_bank(laplacian(WEIGHTS, None), torch.from_numpy(signal), bank)
    # PyGSP puts the filters last. Its bank squares and takes roots of sines: 1e-8 near their zeros.
    np.testing.assert_allclose(torch.stack(filtered, dim=-1).numpy(), expected, atol=1e-6)


def test_damping_is_that_of_pygsp():
    from pygsp.filters import approximations

    from paramgraph.filters import jackson_damping

    plain, damped = approximations.compute_jackson_cheby_coeff([0.0, 1.0], [0.0, 2.0], 30)
    used = np.abs(plain) > 1e-12
    np.testing.assert_allclose((damped[used] / plain[used]), jackson_damping(30)[used], atol=1e-12)
