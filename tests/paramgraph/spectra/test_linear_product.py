import torch

from paramgraph.spectra import linear_product

MATRIX = torch.arange(6, dtype=torch.float64).reshape(2, 3)


def product(X):
    return linear_product(X, lambda signal: MATRIX @ signal, lambda signal: MATRIX.T @ signal)


def test_backward_is_the_adjoint():
    X = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([[1.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    product(X).backward(upstream)
    assert torch.equal(X.grad, MATRIX.T @ upstream)


def test_first_and_second_derivatives_are_right():
    X = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, X)
    assert torch.autograd.gradgradcheck(lambda signal: product(signal) ** 2, X)


def test_without_a_gradient_the_map_is_only_called():
    assert torch.equal(product(torch.ones(3, 1, dtype=torch.float64)), MATRIX.sum(dim=1, keepdim=True))
