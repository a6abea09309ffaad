"""The graph on the entries of a matrix through networkx and SciPy."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch

from paramgraph import ProductGraph, heat, tikhonov

ROWS, COLUMNS = nx.karate_club_graph(), nx.ladder_graph(4)
X = np.random.default_rng(0).standard_normal((34, 8))


def cartesian() -> sp.csr_array:
    """networkx keeps edge weights; its nodes are pairs (row, column), rows outside, as the entries of X."""
    graph = nx.cartesian_product(ROWS, COLUMNS)
    order = [(row, column) for row in ROWS for column in COLUMNS]
    return sp.csr_array(nx.laplacian_matrix(graph, nodelist=order), dtype=float)


def test_operator_is_the_laplacian_of_the_cartesian_product_of_networkx():
    assert abs(ProductGraph(ROWS, COLUMNS).operator.to_scipy() - cartesian()).max() < 1e-12


def test_penalty_is_the_quadratic_form_of_networkx():
    expected = X.reshape(-1) @ (cartesian() @ X.reshape(-1))
    assert ProductGraph(ROWS, COLUMNS).penalty(torch.from_numpy(X)).item() == pytest.approx(
        expected, rel=1e-12
    )


def test_lowest_eigenvalues_are_those_of_scipy_on_the_formed_sum():
    expected = np.sort(spla.eigsh(cartesian(), k=12, sigma=-1e-3, v0=np.ones(272))[0])
    np.testing.assert_allclose(ProductGraph(ROWS, COLUMNS).eigenvalues(12).numpy(), expected, atol=1e-9)


def test_heat_is_the_matrix_exponential_of_scipy():
    expected = spla.expm_multiply(-0.4 * cartesian(), X.reshape(-1), traceA=-0.4 * cartesian().trace())
    found = ProductGraph(ROWS, COLUMNS).apply_filter(torch.from_numpy(X), heat(0.4))
    np.testing.assert_allclose(found.numpy().reshape(-1), expected, atol=1e-12)


def tensor() -> sp.csr_array:
    """networkx's tensor product drops edge weights: those of the karate club are set to 1 for it."""
    graph = nx.tensor_product(nx.Graph(ROWS.edges), COLUMNS)
    order = [(row, column) for row in ROWS for column in COLUMNS]
    return sp.csr_array(nx.adjacency_matrix(graph, nodelist=order, weight=None), dtype=float)


def unweighted() -> ProductGraph:
    rows = nx.to_scipy_sparse_array(ROWS, weight=None, dtype=float)
    return ProductGraph(rows, COLUMNS, kind="tensor")


def test_operator_is_the_adjacency_of_the_tensor_product_of_networkx():
    assert abs(unweighted().operator.to_scipy() - tensor()).max() == 0
    assert unweighted().components == sp.csgraph.connected_components(tensor())[0]


def test_strongest_eigenvalues_are_those_of_scipy_on_the_formed_product():
    expected = np.sort(spla.eigsh(tensor(), k=12, which="LA", v0=np.ones(272))[0])[::-1]
    np.testing.assert_allclose(unweighted().eigenvalues(12).numpy(), expected, atol=1e-9)


def test_tikhonov_of_the_product_solves_the_system_of_scipy():
    rows, columns = (factor @ factor.T for factor in (X, X.T))
    system = sp.eye_array(272) + 0.01 * sp.kron(rows, columns)
    expected = spla.spsolve(sp.csc_array(system), X.reshape(-1))
    product = ProductGraph(rows, columns, kind="tensor")
    found = product.apply_filter(torch.from_numpy(X), tikhonov(0.01))
    # The largest eigenvalue is 3e3, so that the system has lost four digits.
    np.testing.assert_allclose(found.numpy().reshape(-1), expected, atol=1e-10)
