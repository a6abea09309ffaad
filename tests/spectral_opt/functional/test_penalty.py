import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import adjacency, laplacian
from paramgraph.spectra import SignalOperator, zero_operator
from spectral_opt import penalty_gradient, penalty_value
from spectral_opt.functional import checked_operator, decoupled_step

from helpers.names import shown
from helpers.random_graphs import random_signal as signal, random_weights as graph


def test_combinatorial_penalty_is_half_the_sum_of_weighted_differences():
    W, X = graph(7), signal(7, 3)
    pairs = sum(W[i, j] * float((X[i] - X[j]).square().sum()) for i in range(7) for j in range(7))
    value = penalty_value(X, laplacian(W, normalization=None))
    assert float(value) == pytest.approx(pairs / 2, rel=1e-12)  # float64 sums of 49 terms


def test_symmetric_penalty_compares_rows_divided_by_root_degree():
    W, X = graph(7), signal(7, 3)
    d = np.sqrt(W.sum(1))
    pairs = sum(
        W[i, j] * float((X[i] / d[i] - X[j] / d[j]).square().sum()) for i in range(7) for j in range(7)
    )
    assert float(penalty_value(X, laplacian(W))) == pytest.approx(pairs / 2, rel=1e-12)


def test_penalty_is_the_spectrum_weighted_energy():
    L, X = laplacian(graph(9)), signal(9, 2)
    eigenvalues, U = np.linalg.eigh(L.to_dense())
    energy = ((U.T @ X.numpy()) ** 2).sum(1)
    value = penalty_value(X, L, ridge=0.3)
    assert float(value) == pytest.approx(float(((eigenvalues + 0.3) * energy).sum()), rel=1e-10)


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("ridge", [0.0, 0.7])
@settings(max_examples=8, deadline=None)
@given(nodes=st.integers(1, 12), width=st.integers(1, 4), seed=st.integers(0, 99))
def test_closed_form_gradient_equals_autograd(normalization, ridge, nodes, width, seed):
    L = laplacian(graph(nodes, seed), normalization)
    X = signal(nodes, width, seed).requires_grad_()
    (expected,) = torch.autograd.grad(penalty_value(X, L, ridge), X)
    torch.testing.assert_close(penalty_gradient(X, L, ridge), expected)


def test_gradient_of_a_signed_adjacency_equals_autograd():
    W = graph(6) - graph(6, seed=1)
    X = signal(6, 2).requires_grad_()
    (expected,) = torch.autograd.grad(penalty_value(X, adjacency(W)), X)
    torch.testing.assert_close(penalty_gradient(X, adjacency(W)), expected)


def test_second_derivative_is_twice_the_operator():
    L, X = laplacian(graph(5)), signal(5, 1)
    hessian = torch.autograd.functional.hessian(lambda X: penalty_value(X, L), X).squeeze()
    torch.testing.assert_close(hessian, 2 * torch.from_numpy(L.to_dense()))


def test_finite_differences_agree_with_the_value():
    L, X = laplacian(graph(5), "rw"), signal(5, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda X: penalty_value(X, L, 0.2), (X,))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # A sum of 40 x 6 products: rounding of the input dtype only, as sums run in float32 or better.
    [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
def test_narrow_dtypes_come_close_and_come_back(dtype, tolerance):
    L, X = laplacian(graph(40)), signal(40, 6)
    value, gradient = penalty_value(X.to(dtype), L, 0.1), penalty_gradient(X.to(dtype), L, 0.1)
    assert gradient.dtype == dtype
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(penalty_value(X, L, 0.1)), rel=tolerance)
    expected = penalty_gradient(X, L, 0.1)
    assert float((gradient.double() - expected).norm() / expected.norm()) < tolerance


def test_autograd_reaches_bfloat16_parameters():
    L = laplacian(graph(8))
    X = signal(8, 3, dtype=torch.bfloat16).requires_grad_()
    penalty_value(X, L).backward()
    torch.testing.assert_close(X.grad, penalty_gradient(X.detach(), L), rtol=1e-2, atol=1e-2)  # 8 bits


def test_autocast_does_not_narrow_the_penalty():
    L, X = laplacian(graph(8)), signal(8, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = penalty_value(X, L)
    assert torch.equal(inside, penalty_value(X, L))


def test_no_graph_with_ridge_is_l2_sp():
    X = signal(6, 2)
    assert float(penalty_value(X, None, 0.5)) == pytest.approx(0.5 * float(X.square().sum()), rel=1e-12)
    torch.testing.assert_close(penalty_gradient(X, None, 0.5), X)
    torch.testing.assert_close(penalty_gradient(X, zero_operator(6), 0.5), X)


@pytest.mark.parametrize("operator", [None, laplacian(graph(4))], ids=["none", "graph"])
def test_zero_delta_has_exactly_zero_penalty_and_gradient(operator):
    X = torch.zeros(4, 3)
    assert float(penalty_value(X, operator, 0.3)) == 0.0
    assert not penalty_gradient(X, operator, 0.3).any()


def test_constant_rows_on_one_component_are_free():
    L = laplacian(np.ones((5, 5)) - np.eye(5), normalization=None)
    assert float(penalty_value(torch.ones(5, 2, dtype=torch.float64), L)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("nodes", [0, 1], ids=["no nodes", "one node"])
def test_smallest_graphs_have_no_penalty(nodes):
    L = laplacian(np.zeros((nodes, nodes)))
    assert float(penalty_value(torch.ones(nodes, 3), L)) == 0.0
    assert penalty_gradient(torch.ones(nodes, 3), L).shape == (nodes, 3)
    assert decoupled_step(torch.ones(nodes, 3), L, 0.0, 9.0)[0].shape == (nodes, 3)


def test_an_isolated_node_is_free_without_ridge():
    L = laplacian(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=float))
    assert not penalty_gradient(torch.ones(3, 2), L)[2].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(value):
    X = torch.ones(3, 2)
    X[0, 0] = value
    L = laplacian(graph(3, density=1.0))
    assert not torch.isfinite(penalty_value(X, L))
    assert not torch.isfinite(penalty_gradient(X, L)).all()
    assert not torch.isfinite(decoupled_step(X, L, 0.0, 9.0)[0]).all()


@pytest.mark.parametrize("function", [penalty_value, penalty_gradient])
def test_a_wrong_number_of_nodes_raises(function):
    with pytest.raises(ValueError, match="X has 3 nodes"):
        function(torch.ones(3, 2), laplacian(graph(4)))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("X", [None, [[1.0]], np.ones((3, 2))])
def test_a_signal_that_is_no_tensor_raises(X):
    with pytest.raises(TypeError, match=r"X is a \w+; a tensor of shape \(nodes, width\) is needed"):
        checked_operator(X, laplacian(graph(3)))


def test_arguments_are_not_changed():
    X = signal(6, 2)
    before = X.clone()
    L = laplacian(graph(6))
    for step in (0.01, 5.0):
        decoupled_step(X, L, 0.1, step)
    penalty_gradient(X, L, 0.1)
    assert torch.equal(X, before)


@pytest.mark.parametrize("layout", ["dense", "coo"])
def test_plain_tensors_are_operators_too(layout):
    L, X = laplacian(graph(6)), signal(6, 2)
    torch.testing.assert_close(penalty_value(X, L.to_torch(layout=layout)), penalty_value(X, L))
    torch.testing.assert_close(penalty_gradient(X, L.to_torch(layout=layout)), penalty_gradient(X, L))


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array, sp.coo_matrix], ids=["numpy", "csr", "matrix"])
def test_arrays_of_numpy_and_scipy_are_operators_too(convert):
    X, matrix = signal(5, 3, 0), np.arange(25.0).reshape(5, 5)  # not symmetric: the gradient needs L + L^T
    operator = convert(matrix)
    assert float(penalty_value(X, operator)) == pytest.approx(np.trace(X.T.numpy() @ matrix @ X.numpy()))
    torch.testing.assert_close(penalty_gradient(X, operator, 0.5), torch.tensor(matrix + matrix.T) @ X + X)
    assert decoupled_step(X, convert(np.eye(5)), 0.0, 0.1)[1] == "explicit"


@pytest.mark.parametrize("operator", ["ring", 3.0, torch.ones(4, 2), np.ones(4)], ids=shown)
@pytest.mark.parametrize("function", [penalty_value, penalty_gradient])
def test_what_is_no_square_operator_raises(function, operator):
    with pytest.raises((TypeError, ValueError), match="operator"):
        function(torch.ones(4, 3), operator)


class Doubled(SignalOperator):
    """An operator of a user's own: 2 I, without a matrix."""

    shape = (3, 3)
    nodes = 3
    bound = 2.0

    def __matmul__(self, X):
        return 2.0 * X


def test_an_operator_of_ones_own_is_welcome():
    X = torch.ones(3, 2, requires_grad=True)
    value = penalty_value(X, Doubled())
    value.backward()
    assert value == 12.0
    assert torch.equal(X.grad, penalty_gradient(X, Doubled()))
    moved, kind = decoupled_step(X.detach(), Doubled(), ridge=0.0, step=1.0)
    assert kind == "proximal"
    torch.testing.assert_close(moved, X.detach() / 5)
