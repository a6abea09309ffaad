import numpy as np
import pytest
import torch

from paramgraph import adjacency, laplacian, prepare_filter
from spectral_opt import penalty_gradient
from spectral_opt.functional import decoupled_step, step_kind

from helpers.random_graphs import random_signal as signal, random_weights as graph


def test_small_steps_are_explicit_and_descend_the_gradient():
    L, X = laplacian(graph(8)), signal(8, 3)
    moved, kind = decoupled_step(X, L, 0.2, 0.1)
    assert kind == "explicit"
    torch.testing.assert_close(moved, X - 0.1 * penalty_gradient(X, L, 0.2))


@pytest.mark.parametrize("step", [0.3, 3.0, 300.0])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_large_steps_solve_the_proximal_system(step, ridge):
    L, X = laplacian(graph(8)), signal(8, 3)
    moved, kind = decoupled_step(X, L, ridge, step)
    system = (1 + 2 * step * ridge) * np.eye(8) + 2 * step * L.to_dense()
    assert kind == "proximal"
    np.testing.assert_allclose(moved.numpy(), np.linalg.solve(system, X.numpy()), rtol=1e-9, atol=1e-10)


def test_the_two_steps_agree_to_first_order():
    L, X = laplacian(graph(8)), signal(8, 3)
    explicit, _ = decoupled_step(X, L, 0.1, 1e-4)
    system = (1 + 2e-4 * 0.1) * np.eye(8) + 2e-4 * L.to_dense()  # what the proximal step solves
    # The difference is (2 step)^2 lambda^2 |X|, about 1e-7.
    np.testing.assert_allclose(explicit.numpy(), np.linalg.solve(system, X.numpy()), rtol=0, atol=1e-6)


def test_the_proximal_limit_is_the_projection_onto_the_null_space():
    L, X = laplacian(np.ones((5, 5)) - np.eye(5), normalization=None), signal(5, 2)
    moved, _ = decoupled_step(X, L, 0.0, 1e5)
    torch.testing.assert_close(moved, X.mean(0).expand(5, 2), rtol=0, atol=1e-5)  # 1 / (2 step lambda)


def test_the_switch_is_at_the_stability_bound():
    L = laplacian(np.ones((4, 4)) - np.eye(4))
    assert step_kind(L, 0.0, 0.2499) == "explicit"
    assert step_kind(L, 0.0, 0.25) == "proximal"
    assert step_kind(None, 0.5, 0.99) == "explicit"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("step", [0.1, 10.0])
def test_decoupled_steps_keep_the_dtype(dtype, step):
    assert decoupled_step(signal(6, 2, dtype=dtype), laplacian(graph(6)), 0.1, step)[0].dtype == dtype


@pytest.mark.parametrize("step", [-0.1, float("nan"), float("inf")])
def test_a_step_out_of_range_raises(step):
    with pytest.raises(ValueError, match="step"):
        decoupled_step(torch.ones(2, 1), None, 0.0, step)


@pytest.mark.parametrize("ridge", [-0.1, float("nan"), float("inf")])
def test_a_ridge_out_of_range_raises(ridge):
    with pytest.raises(ValueError, match="ridge"):
        decoupled_step(torch.ones(2, 1), None, ridge, 0.1)


@pytest.mark.parametrize("by_filter", [False, True])
def test_where_the_penalty_has_no_minimum_there_is_no_proximal_step(by_filter):
    A = adjacency(np.array([[0.0, 1.0], [1.0, 0.0]]))  # eigenvalues 1 and -1, whose mode X is

    def prepare(response):
        return prepare_filter(A, response)

    with pytest.raises(ValueError, match="without negative eigenvalues"):
        decoupled_step(torch.tensor([[1.0], [-1.0]]), A, 0.0, 5.0, prepare if by_filter else None)


def test_a_decoupled_step_of_an_asymmetric_operator_raises():
    with pytest.raises(ValueError, match="symmetric"):
        decoupled_step(torch.ones(5, 1), laplacian(graph(5), "rw"), 0.0, 0.1)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("step", [1e-6, 0.3, 300.0])
def test_the_proximal_step_by_a_filter_is_the_solution_of_the_system(step, ridge):
    gram = signal(8, 12).numpy() @ signal(8, 12).numpy().T
    C, X = adjacency(np.asarray(gram)), signal(8, 3)
    moved, _ = decoupled_step(X, C, ridge, step, lambda response: prepare_filter(C, response))
    system = (1 + 2 * step * ridge) * np.eye(8) + 2 * step * gram
    # An explicit step of 1e-6 leaves (2 step lambda)^2, about 1e-8.
    np.testing.assert_allclose(moved.numpy(), np.linalg.solve(system, X.numpy()), rtol=1e-7, atol=1e-8)
