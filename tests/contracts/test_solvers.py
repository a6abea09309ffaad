"""What every eigensolver keeps; a new file in `paramgraph/spectra/solvers` gets these tests by being there."""

import importlib

import networkx as nx
import numpy as np
import pytest

from paramgraph import adjacency, laplacian, list_solvers
from paramgraph.spectra import EigenProblem


@pytest.fixture(params=list_solvers())
def solver(request: pytest.FixtureRequest):
    return importlib.import_module(f"paramgraph.spectra.solvers.{request.param}")


def problem(kind: str, count: int = 5, tol: float = 1e-9) -> EigenProblem:
    graph = nx.random_regular_graph(6, 80, seed=2)
    operator = laplacian(graph) if kind == "laplacian" else adjacency(graph)
    null = operator.null_space()[:, 0] if kind == "laplacian" else None
    return EigenProblem(operator.matrix, count, kind == "laplacian", operator.interval, null, tol)


@pytest.mark.parametrize("kind", ["laplacian", "adjacency"])
def test_pairs_are_those_of_numpy_in_the_order_asked_for(solver, kind):
    task = problem(kind)
    result = solver.solve(task)
    truth = np.linalg.eigvalsh(task.matrix.toarray())
    expected = truth[1:6] if kind == "laplacian" else truth[::-1][:5]
    # An error of a Ritz value is at most its residual: 1e-9 of a norm up to 6.
    np.testing.assert_allclose(result.eigenvalues, expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["laplacian", "adjacency"])
def test_vectors_are_orthonormal_and_solve_the_problem(solver, kind):
    task = problem(kind)
    _, vectors, *_ = result = solver.solve(task)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-8)
    residuals = np.linalg.norm(task.matrix @ vectors - vectors * result.eigenvalues, axis=0)
    assert residuals.max() < 1e-8 * task.scale


def test_null_vector_is_left_out(solver):
    task = problem("laplacian")
    overlap = task.null @ solver.solve(task).eigenvectors
    np.testing.assert_allclose(overlap, 0, atol=1e-8)


def test_multiple_eigenvalues_are_all_found(solver):
    graph = laplacian(nx.complete_graph(60), None)
    task = EigenProblem(graph.matrix, 6, True, graph.interval, graph.null_space()[:, 0], 1e-9)
    np.testing.assert_allclose(solver.solve(task).eigenvalues, 60.0, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_scale_of_the_weights_costs_no_digits(solver, scale):
    graph = laplacian(scale * nx.to_numpy_array(nx.random_regular_graph(6, 80, seed=2)), None)
    task = EigenProblem(graph.matrix, 5, True, graph.interval, graph.null_space()[:, 0], 1e-9)
    _, vectors, *_ = result = solver.solve(task)
    residuals = np.linalg.norm(task.matrix @ vectors - vectors * result.eigenvalues, axis=0)
    assert residuals.max() < 1e-8 * task.scale


def test_matrix_is_not_changed(solver):
    task = problem("laplacian")
    before = task.matrix.copy()
    solver.solve(task)
    assert (task.matrix != before).nnz == 0


def test_same_seed_gives_the_same_bits(solver):
    first, second = solver.solve(problem("laplacian")), solver.solve(problem("laplacian"))
    assert np.array_equal(first.eigenvectors, second.eigenvectors)


def test_solver_accepts_what_it_does_not_refuse(solver):
    task = problem("adjacency", count=80)
    if not solver.refusal(task):
        assert len(solver.solve(task).eigenvalues) == 80
    assert solver.refusal(problem("laplacian")) == ""


def test_every_solver_finds_the_same_eigenspaces_of_a_signed_graph(solver):
    source = np.random.default_rng(3)
    graph = nx.random_regular_graph(6, 80, seed=2)
    nx.set_edge_attributes(graph, {edge: source.choice([-1.0, 1.0]) for edge in graph.edges}, "weight")
    operator = laplacian(graph, None, signed=True)
    task = EigenProblem(operator.matrix, 4, True, operator.interval, None, 1e-9)
    found = solver.solve(task).eigenvectors
    expected = np.linalg.eigh(operator.to_dense())[1][:, :4]
    # Angle of the subspaces: 1e-9 of a norm of 12, over a gap of 0.1.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)


def test_refusal_is_a_text_and_changes_nothing(solver):
    task = problem("laplacian")
    assert isinstance(solver.refusal(task), str)


def test_list_names_the_file(solver):
    assert solver.__name__.rpartition(".")[2] in list_solvers()
