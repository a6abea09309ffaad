import networkx as nx
import numpy as np
import pytest

from paramgraph import NotConvergedError, eigenpairs, laplacian
from paramgraph.spectra import EigenProblem, _lanczos as lanczos

DIAGONAL = np.diag([9.0, 7.0, 7.0, 5.0, *np.linspace(0, 4, 40)])


def largest(problem: EigenProblem):
    return lanczos.largest_pairs(problem, lambda x: problem.matrix @ x, lambda v: v, "Lanczos", 500)


@pytest.fixture
def skipping(monkeypatch):
    """Let ARPACK pass over its second pair, the first time it is asked for more than one."""
    whole = lanczos.eigsh

    def skips(operator, k, **options):
        if k == 1:
            return whole(operator, k=k, **options)
        values, vectors = whole(operator, k=k + 1, **options)
        keep = np.argsort(-values)[[0, *range(2, k + 1)]]
        return values[keep], vectors[:, keep]

    monkeypatch.setattr(lanczos, "eigsh", skips)


@pytest.mark.usefixtures("skipping")
def test_a_pair_that_was_passed_over_is_added():
    result = largest(EigenProblem(DIAGONAL, 3, False, (0.0, 9.0)))
    np.testing.assert_allclose(result.eigenvalues, [9, 7, 7], atol=1e-7)  # the tolerance, 1e-8 of 9
    assert "1 passed over, then added" in result.note
    np.testing.assert_allclose(result.eigenvectors.T @ result.eigenvectors, np.eye(3), atol=1e-7)


@pytest.mark.usefixtures("skipping")
def test_a_double_value_of_a_ring_is_completed():
    nodes = 600
    spectrum = eigenpairs(laplacian(nx.cycle_graph(nodes), None), k=7, solver="shift_invert")
    expected = np.sort(2 - 2 * np.cos(2 * np.pi * np.arange(nodes) / nodes))[:7]
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tol", [1e-4, 1e-8])
def test_all_double_values_of_a_ring_are_found_from_any_start(seed, tol):
    nodes = 800
    spectrum = eigenpairs(laplacian(nx.cycle_graph(nodes)), k=17, solver="shift_invert", tol=tol, seed=seed)
    expected = np.sort(1 - np.cos(2 * np.pi * np.arange(nodes) / nodes))[:17]
    # Of the bound 2; a missed copy of the last value would be 5e-4 off.
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-5)


def test_complete_result_is_left_as_it_is():
    assert largest(EigenProblem(DIAGONAL, 3, False, (0.0, 9.0))).note == "Lanczos"


def test_no_convergence_carries_the_residuals_of_what_was_found():
    graph = laplacian(nx.random_regular_graph(4, 500, seed=0))
    problem = EigenProblem(graph.matrix, 12, False, graph.interval, tol=1e-14)
    with pytest.raises(NotConvergedError, match="larger tol") as failure:
        lanczos.largest_pairs(problem, lambda x: problem.matrix @ x, lambda v: v, "Lanczos", 8)
    assert all(0 <= residual < 1 for residual in failure.value.residuals)


def test_search_sees_a_copy_of_which_its_start_holds_little():
    # A copy of 7 is missing; the start vector holds a hundred-thousandth of it.
    problem = EigenProblem(DIAGONAL, 2, False, (0.0, 9.0))
    search = lanczos._Lanczos(problem, lambda x: problem.matrix @ x, "", 500)
    start = np.ones(44)
    start[2] = 1e-5
    found = np.eye(44)[:, [0, 1, 3]]
    assert search.search(np.array([9.0, 7.0, 5.0]), found, 5.0, start) == "a pair"
    assert search.search(np.array([9.0, 7.0, 5.0]), np.eye(44)[:, :3], 5.0, np.ones(44)) == "nothing"
