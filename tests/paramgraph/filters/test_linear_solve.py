import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from paramgraph import NotConvergedError, adjacency, apply_filter, laplacian, tikhonov
from paramgraph.filters import _linear_solve as linear_solve, factor_is_cheap, prepare_solve, solve_shifted
from paramgraph.spectra import zero_operator

GRAPH = nx.random_geometric_graph(60, 0.2, seed=0)
RIGHT = np.random.default_rng(0).standard_normal((60, 3))


@pytest.fixture
def no_factor(monkeypatch):
    monkeypatch.setattr(linear_solve, "FACTOR_ENTRIES", 0)


@pytest.mark.parametrize("normalization", [None, "sym"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 100.0])
@pytest.mark.parametrize("solver", ["superlu", "cg"])
def test_solution_is_that_of_the_dense_system(normalization, gamma, solver, request):
    if solver == "cg":
        request.getfixturevalue("no_factor")
    operator = laplacian(GRAPH, normalization)
    solve = prepare_solve(operator, gamma)
    assert solve.solver == solver
    expected = np.linalg.solve(np.eye(60) + gamma * operator.to_dense(), RIGHT)
    gap = np.linalg.norm(solve(RIGHT) - expected)
    assert gap <= solve.error * np.linalg.norm(RIGHT) + 1e-12


def test_dense_operator_goes_to_cholesky():
    features = np.random.default_rng(1).standard_normal((60, 90)) / 10
    operator = adjacency(features @ features.T)
    solve = prepare_solve(operator, 2.0)
    assert solve.solver == "cholesky"
    np.testing.assert_allclose(solve(RIGHT) + 2.0 * (operator.matrix @ solve(RIGHT)), RIGHT, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "superlu", "cg"])
def test_pole_above_the_smallest_eigenvalue_is_refused(kind, request):
    if kind == "cg":
        request.getfixturevalue("no_factor")
    # Smallest eigenvalue of a path: -2 cos(pi / 51), of a triangle's edge: -1.
    operator = adjacency(nx.complete_graph(6) if kind == "dense" else nx.path_graph(50))
    assert operator.is_dense == (kind == "dense")
    gamma = 1.1 if kind == "dense" else 0.51
    with pytest.raises(ValueError, match="pole"):
        prepare_solve(operator, gamma)


@pytest.mark.usefixtures("no_factor")
def test_adjacency_whose_interval_reaches_the_pole_is_solved_all_the_same():
    operator = adjacency(sp.block_diag([nx.to_scipy_sparse_array(nx.star_graph(3))] * 15, format="csr"))
    gamma = 0.5  # Gershgorin allows -3, the smallest eigenvalue is -sqrt(3)
    solve = prepare_solve(operator, gamma)
    np.testing.assert_allclose(solve(RIGHT) + gamma * (operator.matrix @ solve(RIGHT)), RIGHT, atol=1e-8)


@pytest.mark.usefixtures("no_factor")
def test_iteration_that_does_not_converge_raises_with_its_residual(monkeypatch):
    monkeypatch.setattr(linear_solve, "_most_steps", lambda *_: 2)
    with pytest.raises(NotConvergedError, match="lowrank") as caught:
        prepare_solve(laplacian(GRAPH, None), 1e3)(RIGHT)
    assert 0 < caught.value.residuals[0] < 1


@pytest.mark.usefixtures("no_factor")
def test_zero_column_stays_zero_and_the_argument_is_not_changed():
    right = RIGHT.copy()
    right[:, 1] = 0
    before = right.copy()
    solved = prepare_solve(laplacian(GRAPH), 1.0)(right)
    assert not solved[:, 1].any()
    assert np.array_equal(right, before)


def test_random_graph_is_too_full_to_factor_and_a_grid_is_not():
    assert factor_is_cheap(laplacian(nx.grid_2d_graph(70, 70)))
    assert not factor_is_cheap(laplacian(nx.random_regular_graph(8, 5000, seed=0)))


@pytest.mark.parametrize("nodes", [0, 1, 4])
def test_graph_without_edges(nodes):
    right = np.ones((nodes, 2))
    np.testing.assert_array_equal(prepare_solve(zero_operator(nodes), 3.0)(right), right)


@pytest.mark.parametrize("solver", ["superlu", "cg"])
def test_cost_is_stated(solver, request):
    if solver == "cg":
        request.getfixturevalue("no_factor")
    operator = laplacian(GRAPH)
    solve = prepare_solve(operator, 1.0)
    assert solve.operations >= 2 * operator.matrix.nnz
    assert solve.stored_bytes >= 8 * operator.matrix.nnz


@pytest.mark.parametrize("gamma", [1e12, 1e16, 1e17, 1e30])
def test_a_strength_that_leaves_nothing_but_rounding_is_refused(gamma):
    operator, X = laplacian(nx.cycle_graph(30)), torch.arange(30.0)[:, None]
    with pytest.raises(ValueError, match="no linear system that float64 can solve"):
        apply_filter(operator, X, tikhonov(gamma), method="solve")
    torch.testing.assert_close(apply_filter(operator, X, tikhonov(gamma)), X.mean().expand(30, 1))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 40.0, 5e4])
@pytest.mark.parametrize("diagonal", [1.0, 3.0])
def test_without_looking_as_many_steps_are_taken_as_the_condition_can_need(gamma, diagonal):
    operator = laplacian(nx.random_geometric_graph(60, 0.25, seed=1), None)
    X = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X[:, 1] = 0.0  # done at once, and must stay so
    found = solve_shifted(operator, X, gamma, diagonal, looks=False)
    system = diagonal * np.eye(60) + gamma * operator.to_dense()
    # A residual of 1e-12 of X, over the smallest eigenvalue of the system, 1 and more; rounding times the condition.
    atol = 1e-11 + 1e-16 * gamma * operator.bound
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(system, X.numpy()), rtol=0, atol=atol)
    torch.testing.assert_close(found, solve_shifted(operator, X, gamma, diagonal), rtol=0, atol=atol)


@pytest.mark.parametrize("looks", [True, False])
def test_a_system_with_a_negative_eigenvalue_is_not_solved(looks):
    A = adjacency(np.array([[0.0, 1.0], [1.0, 0.0]]))
    X = torch.tensor([[1.0], [-1.0]])  # the mode of eigenvalue -1
    if looks:
        with pytest.raises(ValueError, match="has a negative eigenvalue"):
            solve_shifted(A, X, 10.0)
    else:  # nothing is asked of an accelerator: the result says it
        assert solve_shifted(A, X, 10.0, looks=False).isnan().all()


def test_a_system_that_is_not_solved_to_its_goal_raises(monkeypatch):
    operator = laplacian(GRAPH, None)
    monkeypatch.setattr(linear_solve, "range", lambda limit: range(3), raising=False)
    with pytest.raises(NotConvergedError, match="relative residual") as raised:
        solve_shifted(operator, torch.from_numpy(RIGHT), 1e3)
    assert raised.value.residuals[0] > 1e-12
