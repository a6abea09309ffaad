import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import adjacency, contrast, heat, identity, laplacian, lowpass, tikhonov
from paramgraph.spectra import zero_operator


def gram(nodes: int, samples: int, seed: int) -> np.ndarray:
    features = np.random.default_rng(seed).standard_normal((samples, nodes)) * np.linspace(0.2, 2, nodes)
    return features.T @ features * (nodes / np.sum(features**2))


NODES = 8
TASK, PRESERVE = gram(NODES, 30, 0), gram(NODES, 5, 1)  # the second has rank 5
DELTA = np.random.default_rng(2).standard_normal((3, NODES))


def filtered(delta: np.ndarray, *arguments, **options) -> np.ndarray:
    return contrast(*arguments, **options)(torch.from_numpy(delta.T)).numpy().T


@pytest.mark.parametrize("gamma", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_delta_is_multiplied_from_the_right_as_the_formula_says(gamma, ridge):
    B = TASK + ridge * np.eye(NODES)
    expected = DELTA @ B @ np.linalg.inv(B + gamma * PRESERVE)
    # Condition number of B is below 100.
    np.testing.assert_allclose(
        filtered(DELTA, TASK, PRESERVE, ridge, tikhonov(gamma)), expected, rtol=0, atol=1e-12
    )


def test_default_is_the_formula_of_ridge_a_tenth():
    B = TASK + 0.1 * np.eye(NODES)
    np.testing.assert_allclose(
        filtered(DELTA, TASK, PRESERVE), DELTA @ B @ np.linalg.inv(B + PRESERVE), rtol=0, atol=1e-12
    )


def test_result_minimises_loss_on_the_task_and_strength_on_the_preserved():
    X = torch.from_numpy(DELTA.T)
    Y = contrast(TASK, PRESERVE, 0.1, tikhonov(2.0))(X).requires_grad_()
    B = torch.from_numpy(TASK + 0.1 * np.eye(NODES))
    loss = ((Y - X) * (B @ (Y - X))).sum() + 2.0 * (Y * (torch.from_numpy(PRESERVE) @ Y)).sum()
    (slope,) = torch.autograd.grad(loss, Y)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-11)


@pytest.mark.parametrize("response", [heat(0.7), lowpass(1.0), lambda x: torch.exp(-x) * torch.cos(x)])
def test_any_response_acts_on_the_generalized_eigenvalues(response):
    B = TASK + 0.1 * np.eye(NODES)
    values, W = np.linalg.eig(np.linalg.solve(B, PRESERVE))
    gain = response(torch.from_numpy(values.real)).numpy()
    expected = (W @ np.diag(gain) @ np.linalg.inv(W)).real @ DELTA.T
    np.testing.assert_allclose(filtered(DELTA, TASK, PRESERVE, 0.1, response).T, expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("response", [tikhonov(0.0), heat(0.0), identity()])
def test_no_strength_gives_back_every_bit(dtype, response):
    X = torch.from_numpy(DELTA.T).to(dtype)
    shrink = contrast(TASK, PRESERVE, response=response)
    assert torch.equal(shrink(X), X)
    assert shrink(X) is not X
    assert not shrink.correction(X).any()


def test_nothing_to_preserve_gives_back_every_bit():
    X = torch.from_numpy(DELTA.T)
    assert torch.equal(contrast(TASK, np.zeros((NODES, NODES)))(X), X)
    assert torch.equal(contrast(TASK, adjacency(zero_operator(NODES).to_scipy()))(X), X)


def test_equal_graphs_have_a_closed_form():
    values, U = np.linalg.eigh(TASK)
    gain = (values + 0.1) / (2 * values + 0.1)
    np.testing.assert_allclose(filtered(DELTA, TASK, TASK), DELTA @ (U * gain) @ U.T, rtol=0, atol=1e-12)


def test_a_task_without_any_graph_is_tikhonov_on_the_preserved_graph():
    zero = np.zeros((NODES, NODES))
    expected = DELTA @ np.linalg.inv(np.eye(NODES) + PRESERVE / 0.5)
    np.testing.assert_allclose(filtered(DELTA, zero, PRESERVE, ridge=0.5), expected, rtol=0, atol=1e-12)


def test_directions_of_the_task_alone_stay_and_those_of_the_preserved_alone_shrink():
    task, preserve = np.diag([100.0, 0.0]), np.diag([0.0, 100.0])
    found = filtered(np.ones((1, 2)), task, preserve)
    np.testing.assert_allclose(found, [[1.0, 0.1 / 100.1]], atol=1e-15)


@given(st.permutations(range(NODES)))
@settings(max_examples=15, deadline=None)
def test_renaming_nodes_renames_the_result(order):
    order = list(order)
    renamed = filtered(DELTA[:, order], TASK[order][:, order], PRESERVE[order][:, order])
    np.testing.assert_allclose(renamed, filtered(DELTA, TASK, PRESERVE)[:, order], rtol=0, atol=1e-11)


def test_result_never_has_more_of_the_preserved_energy():
    before = np.trace(DELTA @ PRESERVE @ DELTA.T)
    energy = [
        np.trace(Y @ PRESERVE @ Y.T)
        for Y in (filtered(DELTA, TASK, PRESERVE, 0.1, tikhonov(gamma)) for gamma in (0.1, 1.0, 10.0))
    ]
    assert before > energy[0] > energy[1] > energy[2]


def test_basis_is_orthonormal_in_the_metric_of_the_task_and_strongest_first():
    found = contrast(TASK, PRESERVE, 0.1)
    torch.testing.assert_close(
        found.basis.T @ found.dual, torch.eye(found.basis.shape[1], dtype=torch.float64), rtol=0, atol=1e-10
    )
    assert (found.eigenvalues.diff() <= 1e-12).all()
    assert (found.eigenvalues >= 0).all()


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_rank_takes_the_strongest_modes_and_leaves_the_others(rank):
    found = contrast(TASK, PRESERVE, rank=rank)
    whole = contrast(TASK, PRESERVE)
    X = torch.from_numpy(DELTA.T)
    V, dual, gain = whole.basis[:, :rank], whole.dual[:, :rank], whole.gain[:rank]
    torch.testing.assert_close(found(X), X + V @ (gain[:, None] * (dual.T @ X)), rtol=0, atol=1e-10)
    assert (found.method, found.rank) == ("exact" if rank == 8 else "lowrank", rank)
    if rank < 8:
        assert f"the other {8 - rank} modes are left as they are" in found.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_comes_back_as_it_came(dtype):
    X = torch.from_numpy(DELTA.T).to(dtype)
    before = X.clone()
    shrink = contrast(TASK, PRESERVE)
    found = shrink(X)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found, shrink(X.double()).to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-5
    )
    assert torch.equal(X, before)


def test_vector_and_empty_width_and_no_nodes_work():
    shrink = contrast(TASK, PRESERVE)
    X = torch.from_numpy(DELTA.T)
    torch.testing.assert_close(shrink(X[:, 0]), shrink(X)[:, 0])
    assert shrink(X[:, :0]).shape == (NODES, 0)
    assert contrast(np.zeros((0, 0)), np.zeros((0, 0)))(torch.zeros(0, 2)).shape == (0, 2)
    assert contrast(2 * np.eye(1), np.eye(1), ridge=0)(torch.ones(1, 1)).item() == pytest.approx(2 / 3)


def test_filter_is_differentiable_in_the_signal():
    shrink = contrast(TASK, PRESERVE)
    assert torch.autograd.gradcheck(shrink, torch.from_numpy(DELTA.T).requires_grad_())


def test_laplacians_are_welcome_and_the_constant_is_theirs_to_leave_alone():
    graph = laplacian(nx.path_graph(NODES), None)
    shrink = contrast(laplacian(nx.cycle_graph(NODES), None), graph, ridge=0.5)
    torch.testing.assert_close(shrink(torch.ones(NODES)), torch.ones(NODES))
    with pytest.raises(ValueError, match="leave rank out"):
        contrast(TASK, graph, rank=2)


def test_gram_of_float32_features_is_positive_semidefinite_but_for_rounding():
    features = torch.randn(4, NODES, generator=torch.Generator().manual_seed(0))
    found = contrast(TASK, features.T @ features)
    assert "below 0 by rounding" in found.reason
    assert (found.eigenvalues >= 0).all()


def test_indefinite_graph_to_be_preserved_is_refused():
    with pytest.raises(ValueError, match="negative eigenvalues"):
        contrast(TASK, nx.cycle_graph(NODES))
    with pytest.raises(ValueError, match=r"negative eigenvalues \(-5\)"):
        contrast(np.eye(4), np.diag([3.0, 1.0, -5.0, 0.5]), rank=2)  # the strongest two are positive


def test_gram_of_float32_features_may_be_preserved_by_its_strongest_modes():
    features = torch.randn(2, NODES, generator=torch.Generator().manual_seed(0))
    assert contrast(TASK, features.T @ features, rank=1).rank == 1


def test_task_that_is_singular_without_a_ridge_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        contrast(PRESERVE, TASK, ridge=0.0)


def test_graphs_on_other_nodes_are_refused():
    with pytest.raises(ValueError, match="nodes"):
        contrast(TASK, np.eye(3))


@pytest.mark.parametrize("ridge", [-1.0, float("nan")])
def test_ridge_is_checked(ridge):
    with pytest.raises(ValueError, match="ridge"):
        contrast(TASK, PRESERVE, ridge=ridge)


def test_signal_that_is_not_finite_or_has_other_rows_is_refused():
    shrink = contrast(TASK, PRESERVE)
    with pytest.raises(ValueError, match="NaN"):
        shrink(torch.full((NODES, 1), torch.nan))
    with pytest.raises(ValueError, match=r"\(8, width\)"):
        shrink(torch.ones(3, NODES))


def test_repr_says_what_it_does():
    text = repr(contrast(TASK, PRESERVE))
    assert text.startswith(
        "ContrastFilter(tikhonov(gamma=1.0), ridge=0.1, exact, nodes=8: 8 generalized pairs"
    )


def test_filter_first_called_in_inference_mode_is_differentiable_later():
    shrink = contrast(2 * np.eye(3), np.eye(3), ridge=0)
    X = torch.ones(3, 1, requires_grad=True)
    with torch.inference_mode():
        shrink(X)
    shrink(X).sum().backward()
    torch.testing.assert_close(X.grad, torch.full((3, 1), 2 / 3))
