import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import (
    NotConvergedError,
    UnknownNameError,
    adjacency,
    generalized_eigenpairs,
    laplacian,
    spectral_gap,
)
from paramgraph.spectra import check_pencil, generalized, zero_operator


def gram(nodes: int, features: int, seed: int):
    x = np.random.default_rng(seed).standard_normal((nodes, features))
    return adjacency(x @ x.T / features)


def sparse_adjacency(nodes: int, seed: int, degree: float = 6.0):
    graph = nx.gnp_random_graph(nodes, degree / nodes, seed=seed)
    source = np.random.default_rng(seed)
    nx.set_edge_attributes(graph, {edge: source.uniform(0.1, 1.0) for edge in graph.edges}, "weight")
    return adjacency(graph)


def check(A, B, ridge, pairs, tolerance=1e-12):
    V, mu = pairs.eigenvectors.numpy(), pairs.eigenvalues.numpy()
    M = B.to_dense() + ridge * np.eye(B.nodes)
    np.testing.assert_allclose(A.to_dense() @ V, M @ V * mu, atol=tolerance)
    np.testing.assert_allclose(V.T @ M @ V, np.eye(pairs.modes), atol=tolerance)


def test_commuting_operators_have_quotients_of_their_eigenvalues():
    # Both are functions of the ring: 2 cos against 2 - 2 cos + ridge, on the same Fourier modes.
    nodes, ridge = 12, 0.5
    ring = nx.cycle_graph(nodes)
    wave = 2 * np.cos(2 * np.pi * np.arange(nodes) / nodes)
    pairs = generalized_eigenpairs(adjacency(ring), laplacian(ring, None), ridge=ridge)
    expected = np.sort(wave / (2 - wave + ridge))[::-1]
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), expected, atol=1e-14)


def test_all_pairs_solve_the_problem_and_are_orthonormal_to_the_reference():
    A, B = gram(20, 5, 0), gram(20, 6, 1)
    pairs = generalized_eigenpairs(A, B, ridge=0.1)
    check(A, B, 0.1, pairs)
    assert pairs.complete
    assert (pairs.eigenvalues.diff() <= 0).all()


def test_eigenvalues_are_those_of_scipy():
    A, B = gram(20, 5, 0), gram(20, 6, 1)
    expected = scipy.linalg.eigh(A.to_dense(), B.to_dense() + 0.1 * np.eye(20), eigvals_only=True)
    pairs = generalized_eigenpairs(A, B, k=4, ridge=0.1)
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), expected[::-1][:4], rtol=1e-12)


def test_a_laplacian_is_ascending_from_zero():
    A, B = laplacian(nx.path_graph(9), None), gram(9, 20, 0)
    pairs = generalized_eigenpairs(A, B, k=3)
    expected = scipy.linalg.eigh(A.to_dense(), B.to_dense(), eigvals_only=True)[:3]
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), expected, atol=1e-13)
    assert pairs.kind == "laplacian"


def test_identity_as_reference_gives_the_ordinary_pairs():
    A = gram(15, 4, 2)
    pairs = generalized_eigenpairs(A, zero_operator(15), k=4, ridge=2.0)
    expected = np.linalg.eigvalsh(A.to_dense())[::-1][:4] / 2
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(torch.linalg.norm(pairs.eigenvectors, dim=0), 2**-0.5, rtol=1e-12)


@pytest.mark.parametrize("entries", [20_000_000, 0], ids=["factor", "gradients"])
def test_large_sparse_problems_are_solved_by_lanczos(monkeypatch, entries):
    monkeypatch.setattr(generalized, "FACTOR_ENTRIES", entries)
    A, B = sparse_adjacency(600, 0), laplacian(nx.random_regular_graph(4, 600, seed=1), None)
    pairs = generalized_eigenpairs(A, B, k=6, ridge=0.5)
    assert pairs.solver in ("arpack", "arpack+dense")  # loners are dense
    dense = generalized_eigenpairs(A, B, k=6, ridge=0.5, solver="dense")
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), dense.eigenvalues.numpy(), rtol=1e-9)
    check(A, B, 0.5, pairs, 1e-6)  # 1e-8 of bounds up to 10


def test_large_dense_reference_is_inverted_by_cholesky():
    A, B = sparse_adjacency(510, 0), gram(510, 700, 1)
    pairs = generalized_eigenpairs(A, B, k=3, ridge=0.5)
    dense = generalized_eigenpairs(A, B, k=3, ridge=0.5, solver="dense")
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), dense.eigenvalues.numpy(), rtol=1e-9)


def test_equal_joint_components_do_not_hide_each_other():
    block = nx.random_regular_graph(4, 30, seed=0)
    one = generalized_eigenpairs(adjacency(block), laplacian(block, None), k=1, ridge=0.1)
    many = nx.disjoint_union_all([block] * 20)
    pairs = generalized_eigenpairs(adjacency(many), laplacian(many, None), k=20, ridge=0.1)
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), one.eigenvalues.item(), rtol=1e-12)
    assert pairs.components == 20


def test_components_are_those_of_both_graphs_together():
    first, second = np.zeros((6, 6)), np.zeros((6, 6))
    first[[0, 2, 4], [1, 3, 5]] = 1  # pairs 0-1, 2-3, 4-5
    second[[1, 4], [2, 5]] = 1  # 1-2 joins the first two
    A, B = adjacency(first + first.T), laplacian(second + second.T)
    assert generalized_eigenpairs(A, B, ridge=1.0).components == 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 15), ridge=st.floats(0.05, 5))
def test_pairs_of_any_two_graphs_solve_the_problem(seed, nodes, ridge):
    A, B = sparse_adjacency(nodes, seed, 2.0), laplacian(sparse_adjacency(nodes, seed + 1, 2.0).to_scipy())
    check(A, B, ridge, generalized_eigenpairs(A, B, ridge=ridge), 1e-11)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 12))
def test_relabelling_the_nodes_keeps_the_eigenvalues(seed, nodes):
    A, B = gram(nodes, 3, seed).to_dense(), gram(nodes, 4, seed + 1).to_dense()
    order = np.random.default_rng(seed).permutation(nodes)
    pairs = [
        generalized_eigenpairs(adjacency(a), adjacency(b), ridge=0.5).eigenvalues
        for a, b in ((A, B), (A[np.ix_(order, order)], B[np.ix_(order, order)]))
    ]
    torch.testing.assert_close(*pairs, atol=1e-11, rtol=1e-11)


def test_same_seed_gives_the_same_bits():
    A, B = sparse_adjacency(600, 0), laplacian(nx.random_regular_graph(4, 600, seed=1))
    first, second = (generalized_eigenpairs(A, B, k=3, ridge=1.0, seed=5) for _ in range(2))
    assert torch.equal(first.eigenvectors, second.eigenvectors)


def test_no_nodes_and_one_node():
    empty, one = adjacency(np.zeros((0, 0))), adjacency(np.array([[3.0]]))
    assert generalized_eigenpairs(empty, empty).eigenvalues.shape == (0,)
    assert generalized_eigenpairs(one, one, ridge=3.0).eigenvalues.item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "reference",
    [
        laplacian(nx.path_graph(6), None),
        gram(6, 3, 0),
        adjacency(nx.path_graph(6)),
        adjacency(np.zeros((6, 6))),
    ],
    ids=["laplacian", "low rank", "indefinite", "zero"],
)
def test_reference_that_is_not_positive_definite_raises_with_advice(reference):
    with pytest.raises(ValueError, match=r"not positive definite.*raise ridge above"):
        generalized_eigenpairs(adjacency(nx.path_graph(6)), reference)


def test_large_indefinite_reference_raises_too():
    graph = adjacency(nx.random_regular_graph(4, 700, seed=0))
    with pytest.raises(ValueError, match="not positive definite"):
        generalized_eigenpairs(graph, graph, k=3, ridge=0.5)


def test_ridge_that_the_error_names_is_enough():
    path = adjacency(nx.path_graph(6))
    lowest = 2 * np.cos(np.pi / 7)
    assert generalized_eigenpairs(path, path, k=1, ridge=lowest + 1e-6).modes == 1


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"operator": np.eye(4)}, TypeError, "adjacency"),
        ({"reference": np.eye(4)}, TypeError, "adjacency"),
        ({"operator": laplacian(nx.path_graph(4), "rw")}, ValueError, "'sym'"),
        ({"reference": zero_operator(5)}, ValueError, "4 and 5 nodes"),
        ({"ridge": -1.0}, ValueError, "0 or larger"),
        ({"ridge": float("nan")}, ValueError, "finite"),
        ({"ridge": "some"}, TypeError, "number"),
        ({"ridge": True}, TypeError, "number"),
        ({"k": 0}, ValueError, "1 to 4"),
        ({"k": 5}, ValueError, "1 to 4"),
        ({"k": 1.5}, TypeError, "int"),
        ({"tol": -1.0}, ValueError, "tol"),
        ({"solver": "arpak"}, UnknownNameError, "did you mean 'arpack'"),
    ],
)
def test_bad_arguments_raise_and_say_what_to_do(changes, error, text):
    path = adjacency(nx.path_graph(4))
    arguments = {"operator": path, "reference": zero_operator(4), "ridge": 1.0} | changes
    with pytest.raises(error, match=text):
        generalized_eigenpairs(**arguments)


def test_no_convergence_raises_with_advice(monkeypatch):
    monkeypatch.setattr(generalized, "RESTARTS", 1)
    A, B = sparse_adjacency(600, 0), laplacian(nx.random_regular_graph(4, 600, seed=1))
    with pytest.raises(NotConvergedError, match="solver='dense'"):
        generalized_eigenpairs(A, B, k=20, ridge=1.0, solver="arpack")
    whole = generalized_eigenpairs(A, B, k=20, ridge=1.0)
    assert whole.solver == "dense"
    assert "arpack did not converge" in whole.reason


def test_arguments_are_not_changed():
    A, B = gram(10, 3, 0), gram(10, 3, 1)
    before = A.fingerprint(), B.fingerprint()
    generalized_eigenpairs(A, B, ridge=1.0)
    assert (A.fingerprint(), B.fingerprint()) == before


def test_sparse_matrices_stay_sparse(monkeypatch):
    monkeypatch.setattr(sp.csr_array, "toarray", lambda self: pytest.fail("made dense"))
    expander = nx.random_regular_graph(4, 2000, seed=0)
    pairs = generalized_eigenpairs(adjacency(expander), laplacian(expander), k=1, ridge=1.0)
    assert pairs.eigenvalues.item() == pytest.approx(4.0, rel=1e-8)


def test_zeros_of_a_laplacian_are_its_own_whatever_the_reference_connects():
    two = laplacian(nx.disjoint_union(nx.path_graph(3), nx.path_graph(3)), None)
    pairs = generalized_eigenpairs(two, laplacian(nx.path_graph(6), None), ridge=0.5)
    assert (pairs.components, pairs.zeros) == (1, 2)
    assert spectral_gap(pairs) == pytest.approx(pairs.eigenvalues[2].item())
    assert spectral_gap(pairs) > 0.1


def test_laplacian_with_a_ridge_is_proven_without_a_solve(monkeypatch):
    monkeypatch.setattr(generalized, "smallest_eigenvalue", lambda *_: pytest.fail("solved"))
    path = laplacian(nx.path_graph(5))
    assert check_pencil(path, path, 1) == 1.0


def test_unbalanced_signed_laplacian_needs_no_ridge():
    triangle = laplacian(-(np.ones((3, 3)) - np.eye(3)), signed=True)
    assert check_pencil(triangle, triangle, 0.0) == 0.0


def test_no_nodes_are_definite():
    empty = adjacency(np.zeros((0, 0)))
    assert check_pencil(empty, empty, 0.0) == 0.0


def test_ridge_below_the_lowest_eigenvalue_names_it():
    path = adjacency(nx.path_graph(2))  # eigenvalues 1 and -1
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -0.5 with ridge=0.5; raise ridge above 1"):
        check_pencil(path, path, 0.5)


@pytest.mark.parametrize(("up", "under"), [(1e-170, 1.0), (1.0, 1e-170), (1e160, 1e160), (1e-200, 1e100)])
@pytest.mark.parametrize("solver", ["dense", "arpack"])
def test_weights_of_any_scale_are_solved(up, under, solver):
    A, B = (
        nx.to_scipy_sparse_array(nx.gnp_random_graph(520, 8 / 520, seed=seed), dtype=float) for seed in (0, 1)
    )
    one = generalized_eigenpairs(adjacency(A), laplacian(B, None), k=4, ridge=1.0, solver=solver)
    other = generalized_eigenpairs(
        adjacency(up * A), laplacian(under * B, None), k=4, ridge=under, solver=solver
    )
    np.testing.assert_allclose(other.eigenvalues / (up / under), one.eigenvalues, rtol=1e-10)
    M = B.sum(axis=1)[:, None] * np.eye(520) - B.toarray() + np.eye(520)
    V = other.eigenvectors.numpy() * under**0.5
    np.testing.assert_allclose(V.T @ M @ V, np.eye(4), atol=1e-9)
