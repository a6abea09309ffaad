import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import adjacency, laplacian
from paramgraph.filters import (
    _chebyshev_recurrence as chebyshev_recurrence,
    chebyshev_product,
    chebyshev_products,
)

GRAPH = nx.random_geometric_graph(30, 0.3, seed=0)
TABLE = np.array([[0.5, -1.0, 0.25, 2.0], [1.0, 0.0, 0.0, 0.0]])


def signal(width, dtype=torch.float64):
    return torch.randn(30, width, dtype=dtype, generator=torch.Generator().manual_seed(0))


def polynomial(operator, coefficients):
    values, vectors = np.linalg.eigh(operator.to_dense())
    low, high = operator.interval
    gain = np.polynomial.chebyshev.chebval(2 * (values - low) / (high - low) - 1, coefficients)
    return torch.from_numpy((vectors * gain) @ vectors.T)


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_product_is_the_polynomial_of_the_matrix(order):
    operator = laplacian(nx.path_graph(6), None)
    coefficients = np.arange(1.0, order + 2)
    product = chebyshev_product(operator, torch.eye(6, dtype=torch.float64), coefficients, operator.interval)
    torch.testing.assert_close(product, polynomial(operator, coefficients), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "operator",
    [laplacian(GRAPH), laplacian(GRAPH, None), adjacency(GRAPH), adjacency(np.cov(np.eye(30, 90)))],
    ids=["sym", "combinatorial", "adjacency", "dense"],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_do_not_change_the_polynomial(operator, threads, monkeypatch):
    # Two columns to a block, the last one narrower; torch keeps its own number of threads.
    monkeypatch.setattr(chebyshev_recurrence, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(chebyshev_recurrence, "_NARROWEST", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    X = signal(7)
    found = chebyshev_products(operator, X, TABLE, operator.interval)
    for result, row in zip(found, TABLE, strict=True):
        torch.testing.assert_close(result, polynomial(operator, row) @ X, atol=1e-12, rtol=0)


def test_torch_and_scipy_recur_alike():
    operator, X = laplacian(GRAPH, None), signal(5, torch.float32)
    by_torch = chebyshev_recurrence._recur_torch(operator.__matmul__, X, TABLE, operator.interval)
    by_scipy = chebyshev_recurrence._recur_blocks(operator, X, TABLE, operator.interval)
    assert by_torch.dtype == by_scipy.dtype == torch.float32
    # Four float32 products of some ten terms below 30.
    torch.testing.assert_close(by_torch, by_scipy, atol=1e-4, rtol=0)


def test_signal_may_be_a_view_and_is_not_changed():
    operator, X = laplacian(GRAPH), signal(8)
    before = X.clone()
    product = chebyshev_product(operator, X[:, ::2], TABLE[0], operator.interval)
    torch.testing.assert_close(product, polynomial(operator, TABLE[0]) @ X[:, ::2], atol=1e-12, rtol=0)
    assert torch.equal(X, before)


def test_bank_is_twice_differentiable():
    operator, X = laplacian(GRAPH), signal(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: chebyshev_products(operator, x, TABLE, operator.interval), X)
    assert torch.autograd.gradgradcheck(
        lambda x: chebyshev_products(operator, x, TABLE, operator.interval), X
    )


def test_moved_matrix_is_made_once_and_goes_with_its_operator():
    operator = laplacian(nx.path_graph(5))
    first = chebyshev_recurrence._moved_matrix(operator, np.dtype("float32"), operator.interval)
    assert chebyshev_recurrence._moved_matrix(operator, np.dtype("float32"), operator.interval) is first
    assert first.nnz == 8  # the diagonal of a normalized Laplacian is the centre of its interval
    kept = len(chebyshev_recurrence._MOVED)
    del operator
    assert len(chebyshev_recurrence._MOVED) == kept - 1
