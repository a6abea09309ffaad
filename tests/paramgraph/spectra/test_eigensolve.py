import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import NotConvergedError, UnknownNameError, adjacency, eigenpairs, laplacian, list_solvers
from paramgraph.spectra import is_proven_above, smallest_eigenvalue, zero_operator

N = 12
STEP = np.arange(N)
CLOSED_FORMS = {
    "path": (nx.path_graph(N), None, 2 - 2 * np.cos(np.pi * STEP / N)),
    "path, sym": (nx.path_graph(N), "sym", 1 - np.cos(np.pi * STEP / (N - 1))),
    "ring": (nx.cycle_graph(N), None, 2 - 2 * np.cos(2 * np.pi * STEP / N)),
    "ring, sym": (nx.cycle_graph(N), "sym", 1 - np.cos(2 * np.pi * STEP / N)),
    "complete": (nx.complete_graph(N), None, np.r_[0, np.full(N - 1, N)]),
    "complete, sym": (nx.complete_graph(N), "sym", np.r_[0, np.full(N - 1, N / (N - 1))]),
    "star": (nx.star_graph(N - 1), None, np.r_[0, np.ones(N - 2), N]),
    "star, sym": (nx.star_graph(N - 1), "sym", np.r_[0, np.ones(N - 2), 2]),
}


def random_graph(nodes: int, seed: int, degree: float = 3.0) -> nx.Graph:
    graph = nx.gnp_random_graph(nodes, min(1.0, degree / max(nodes, 1)), seed=seed)
    source = np.random.default_rng(seed)
    nx.set_edge_attributes(graph, {edge: source.uniform(0.1, 2.0) for edge in graph.edges}, "weight")
    return graph


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_spectrum_is_the_closed_form(name):
    graph, normalization, expected = CLOSED_FORMS[name]
    spectrum = eigenpairs(laplacian(graph, normalization))
    # Rounding of a dense decomposition of norm up to 12.
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), np.sort(expected), atol=1e-13)
    assert spectrum.complete


@pytest.mark.parametrize("name", [name for name in CLOSED_FORMS if "sym" in name])
def test_rw_has_the_eigenvalues_of_sym(name):
    graph, _, expected = CLOSED_FORMS[name]
    operator = laplacian(graph, "rw")
    spectrum = eigenpairs(operator)
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), np.sort(expected), atol=1e-13)
    assert spectrum.residuals.max() < 1e-13
    np.testing.assert_allclose(np.linalg.norm(spectrum.eigenvectors.numpy(), axis=0), 1, rtol=1e-14)


def test_adjacency_is_descending_with_the_complete_graph_known():
    spectrum = eigenpairs(adjacency(nx.complete_graph(5)))
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), [4, -1, -1, -1, -1], atol=1e-14)
    assert spectrum.kind == "adjacency"


def test_adjacency_of_a_dense_signed_gram_gives_the_strongest_modes():
    features = np.random.default_rng(0).standard_normal((30, 4))
    spectrum = eigenpairs(adjacency(features @ features.T), k=4)
    expected = np.linalg.svd(features, compute_uv=False) ** 2
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("solver", ["auto", *list_solvers()])
def test_thirty_blocks_have_exactly_thirty_zeros(solver):
    block = nx.random_regular_graph(4, 20, seed=1)
    operator = laplacian(nx.disjoint_union_all([block] * 30))
    spectrum = eigenpairs(operator, k=62, solver=solver, certify=True)
    assert spectrum.components == 30
    assert int((spectrum.eigenvalues == 0.0).sum()) == 30
    gap = eigenpairs(laplacian(block)).eigenvalues[1].item()
    np.testing.assert_allclose(spectrum.eigenvalues[30:60].numpy(), gap, rtol=1e-10)
    assert spectrum.certified is True


def test_chain_is_solved_by_shift_invert_and_says_so():
    nodes = 1500
    spectrum = eigenpairs(laplacian(nx.cycle_graph(nodes), None), k=9)
    expected = np.sort(2 - 2 * np.cos(2 * np.pi * np.arange(nodes) / nodes))[:9]
    # Refined pairs have an error of the squared residual: far below the smallest value, 1.8e-5.
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, rtol=1e-8)
    assert spectrum.solver == "shift_invert"
    assert "estimated fill-in 2 entries a row, about 751 levels" in spectrum.reason


def test_expander_is_solved_by_plain_lanczos_and_certified():
    operator = laplacian(nx.random_regular_graph(8, 1200, seed=0))
    spectrum = eigenpairs(operator, k=8, certify=True)
    assert "Lanczos on bound - L" in spectrum.reason
    assert spectrum.certified is True
    assert spectrum.iterations > 0


def test_many_pairs_are_solved_densely_with_the_reason():
    spectrum = eigenpairs(laplacian(nx.path_graph(1100)), k=200)
    assert spectrum.solver == "dense"
    assert "eighth" in spectrum.reason


@pytest.mark.parametrize("solver", sorted(set(list_solvers()) - {"dense"}))
def test_named_solver_that_cannot_leaves_it_to_dense_and_says_so(solver):
    spectrum = eigenpairs(adjacency(nx.path_graph(6)), solver=solver)
    assert spectrum.solver == "dense"
    assert solver in spectrum.reason


def test_projectors_of_whole_eigenspaces_agree_between_solvers():
    # Pairs of the ring are double: 9 is a zero and four whole pairs.
    operator = laplacian(nx.cycle_graph(60), None)
    projectors = []
    for solver in list_solvers():
        U = eigenpairs(operator, k=9, solver=solver, tol=1e-10).eigenvectors
        projectors.append(U @ U.T)
    # Angle of a subspace: residual 4e-10 over the gap to the next eigenvalue, 0.07.
    for other in projectors[1:]:
        torch.testing.assert_close(projectors[0], other, atol=1e-8, rtol=0)


@pytest.mark.parametrize("solver", list_solvers())
def test_same_seed_gives_the_same_bits(solver):
    operator = laplacian(random_graph(200, 0, 6.0))
    first, second = (eigenpairs(operator, k=10, solver=solver, seed=3) for _ in range(2))
    assert torch.equal(first.eigenvectors, second.eigenvectors)


def test_global_random_states_are_left_alone():
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for solver in list_solvers():
        eigenpairs(laplacian(nx.complete_graph(50)), k=5, solver=solver)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 25), normalization=st.sampled_from([None, "sym", "rw"]))
def test_zeros_are_exact_and_as_many_as_components(seed, nodes, normalization):
    operator = laplacian(random_graph(nodes, seed, 1.5), normalization)
    spectrum = eigenpairs(operator)
    assert int((spectrum.eigenvalues == 0.0).sum()) == operator.components == spectrum.components
    assert (spectrum.eigenvalues.diff() >= 0).all()
    assert spectrum.residuals.max() < 1e-12


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 25))
def test_eigenvectors_are_a_basis_that_keeps_energy(seed, nodes):
    U = eigenpairs(laplacian(random_graph(nodes, seed))).eigenvectors
    torch.testing.assert_close(U.T @ U, torch.eye(nodes, dtype=torch.float64), atol=1e-12, rtol=0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 20))
def test_relabelling_the_nodes_keeps_the_spectrum(seed, nodes):
    weights = nx.to_numpy_array(random_graph(nodes, seed))
    order = np.random.default_rng(seed).permutation(nodes)
    one, other = eigenpairs(laplacian(weights)), eigenpairs(laplacian(weights[np.ix_(order, order)]))
    torch.testing.assert_close(one.eigenvalues, other.eigenvalues, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "operator",
    [zero_operator(0), laplacian(sp.csr_array((0, 0)), "rw"), adjacency(sp.csr_array((0, 0)))],
    ids=["L", "rw", "A"],
)
def test_no_nodes_give_an_empty_spectrum(operator):
    spectrum = eigenpairs(operator)
    assert spectrum.eigenvectors.shape == (0, 0)
    assert spectrum.complete


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_one_node_gives_one_zero(normalization):
    spectrum = eigenpairs(laplacian(sp.csr_array((1, 1)), normalization), k=1)
    assert spectrum.eigenvalues.tolist() == [0.0]
    assert spectrum.eigenvectors.tolist() == [[1.0]]


def test_graph_without_edges_is_all_null_space():
    spectrum = eigenpairs(zero_operator(5), k=3)
    assert spectrum.eigenvalues.tolist() == [0.0] * 3
    assert spectrum.solver == "closed form"


def test_adjacency_without_edges_has_its_diagonal_as_eigenvalues():
    assert eigenpairs(adjacency(np.diag([1.0, 3.0, 0.0]))).eigenvalues.tolist() == [3.0, 1.0, 0.0]


@pytest.mark.parametrize("k", [0, -1, 4])
def test_number_of_pairs_must_fit_the_nodes(k):
    with pytest.raises(ValueError, match="1 to 3"):
        eigenpairs(laplacian(nx.path_graph(3)), k=k)


@pytest.mark.parametrize("k", [True, 2.0, "all"])
def test_number_of_pairs_must_be_an_int(k):
    with pytest.raises(TypeError, match="int"):
        eigenpairs(laplacian(nx.path_graph(3)), k=k)


def test_unknown_solver_suggests_a_near_one():
    with pytest.raises(UnknownNameError, match="did you mean 'lobpcg'"):
        eigenpairs(laplacian(nx.path_graph(3)), solver="lobcpg")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("seed", [None, "0", 1.5, True, torch.Generator()])
def test_seed_is_an_int_or_a_generator_of_numpy(seed):
    with pytest.raises(TypeError, match=r"numpy\.random\.Generator"):
        eigenpairs(laplacian(nx.path_graph(3)), seed=seed)


SCALES = [1e-300, 1e-170, 1e-30, 1e30, 1e160, 1e300]


@pytest.mark.parametrize("scale", [1e-12, *SCALES])
def test_weights_of_any_scale_are_solved(scale):
    values = eigenpairs(laplacian(scale * nx.to_numpy_array(nx.path_graph(4)), None)).eigenvalues.numpy()
    np.testing.assert_allclose(values / scale, 2 - 2 * np.cos(np.pi * np.arange(4) / 4), rtol=1e-12)


@pytest.mark.parametrize("solver", list_solvers())
@pytest.mark.parametrize("shift", ["adjacency", None, "sym", "rw"])
@pytest.mark.parametrize("scale", SCALES)
def test_every_solver_takes_weights_of_any_scale(scale, shift, solver):
    weights = nx.to_scipy_sparse_array(random_graph(450, 0, 8.0))
    operators = [
        adjacency(each) if shift == "adjacency" else laplacian(each, shift)
        for each in (weights, scale * weights)
    ]
    one, other = (eigenpairs(operator, k=4, solver=solver) for operator in operators)
    unit = scale if shift in ("adjacency", None) else 1.0
    np.testing.assert_allclose(other.eigenvalues / unit, one.eigenvalues, atol=1e-12 * operators[0].bound)
    assert 0 < other.residuals.max() / unit <= 1e-8 * operators[0].bound
    assert smallest_eigenvalue(operators[1].symmetrized()[0]) / unit == pytest.approx(
        smallest_eigenvalue(operators[0].symmetrized()[0]), abs=1e-12 * operators[0].bound
    )


def test_powers_of_two_change_no_bit():
    weights = nx.to_numpy_array(random_graph(450, 1, 8.0))
    one, other = (eigenpairs(laplacian(each, None), k=5) for each in (weights, 2.0**600 * weights))
    assert torch.equal(one.eigenvectors, other.eigenvectors)
    assert torch.equal(2.0**600 * one.eigenvalues, other.eigenvalues)


def test_negative_tolerance_raises():
    with pytest.raises(ValueError, match="tol"):
        eigenpairs(laplacian(nx.path_graph(3)), tol=-1.0)


def test_negative_seed_raises_on_small_graphs_too():
    with pytest.raises(ValueError, match="seed is an int of 0 or above, got -1"):
        eigenpairs(laplacian(nx.path_graph(3)), seed=-1)


def test_no_convergence_raises_with_residuals_and_advice(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.solvers.lobpcg.BLOCK_STEPS", 2)
    with pytest.raises(NotConvergedError, match="larger tol") as failure:
        eigenpairs(laplacian(nx.path_graph(300)), k=5, solver="lobpcg")
    assert len(failure.value.residuals) == 4  # the fifth pair is the known zero


def test_auto_falls_back_and_says_so(monkeypatch):
    monkeypatch.setattr("paramgraph.spectra.solvers.arpack.RESTARTS", 1)
    operator = laplacian(nx.random_regular_graph(8, 1100, seed=0))
    spectrum = eigenpairs(operator, k=20)
    assert spectrum.solver != "arpack"
    assert "arpack did not converge" in spectrum.reason


def test_certificate_finds_a_missed_pair(monkeypatch):
    operator = laplacian(nx.path_graph(40))
    from paramgraph.spectra import eigensolve

    whole = eigensolve._assemble

    def skips_one(operator, k, solver, tol, seed):
        values, vectors, reports, steps = whole(operator, k + 1, solver, tol, seed)
        return np.delete(values, 2), np.delete(vectors, 2, axis=1), reports, steps

    monkeypatch.setattr(eigensolve, "_assemble", skips_one)
    spectrum = eigenpairs(operator, k=6, certify=True)
    assert spectrum.certified is False
    assert "1 pairs missed" in spectrum.reason


def test_certificate_is_not_asked_by_default_and_refused_for_large_graphs():
    operator = laplacian(nx.random_regular_graph(6, 2002, seed=0))
    assert eigenpairs(operator, k=3).certified is None
    refused = eigenpairs(operator, k=3, certify=True)
    assert refused.certified is False
    assert "2002 nodes, more than 2000, whose estimated fill-in" in refused.reason


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), normalization=st.sampled_from([None, "sym"]))
def test_projectors_of_any_graph_agree_between_solvers(seed, normalization):
    operator = laplacian(random_graph(90, seed, 6.0), normalization)
    whole = eigenpairs(operator)
    # Cut where the spectrum has its widest gap, never through a cluster.
    gaps = whole.eigenvalues[operator.components : operator.components + 8].diff()
    k = operator.components + 1 + int(gaps.argmax())
    expected = whole.eigenvectors[:, :k] @ whole.eigenvectors[:, :k].T
    for solver in list_solvers():
        U = eigenpairs(operator, k=k, solver=solver, tol=1e-9).eigenvectors
        # Residual 1e-9 of a norm up to 30, over a gap of the order of 0.05.
        torch.testing.assert_close(U @ U.T, expected, atol=1e-6, rtol=0)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), k=st.integers(1, 6))
def test_relabelling_the_nodes_permutes_the_projector(seed, k):
    weights = nx.to_numpy_array(random_graph(30, seed, 4.0))
    order = np.random.default_rng(seed).permutation(30)
    whole = eigenpairs(laplacian(weights)).eigenvalues
    k += int(
        (whole[k:].diff(prepend=whole[k - 1 : k]) < 1e-6).long().cumprod(0).sum()
    )  # not through a cluster
    one = eigenpairs(laplacian(weights), k=k).eigenvectors
    other = eigenpairs(laplacian(weights[np.ix_(order, order)]), k=k).eigenvectors
    torch.testing.assert_close(other @ other.T, (one @ one.T)[order][:, order], atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (nx.complete_graph(5), -1.0),
        (nx.cycle_graph(600), -2.0),
        (nx.empty_graph(500), 0.0),
        (nx.Graph(), 0.0),
    ],
    ids=["dense", "sparse", "no edges", "no nodes"],
)
def test_smallest_eigenvalue_of_any_graph(graph, expected):
    assert smallest_eigenvalue(adjacency(graph)) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_what_lies_above_a_level_is_proven_of_dense_graphs_alone(scale):
    # A complete graph: -1, four times, and 4; of a Gram matrix of 3 wide rows of 40 the others are 0 but for rounding.
    complete = adjacency(scale * (np.ones((5, 5)) - np.eye(5)))
    assert is_proven_above(complete, -1.001 * scale)
    assert not is_proven_above(complete, -0.999 * scale)
    rows = np.random.default_rng(0).standard_normal((3, 40))
    gram = adjacency(scale * rows.T @ rows)
    assert is_proven_above(gram, -1e-10 * gram.bound)
    assert not is_proven_above(gram, 1e-10 * gram.bound)
    ring = adjacency(scale * nx.to_scipy_sparse_array(nx.cycle_graph(9)))
    assert is_proven_above(ring, -2.001 * scale)  # by its interval, the row sums
    assert not is_proven_above(ring, -1.99 * scale)
    assert is_proven_above(laplacian(np.zeros((0, 0))), -scale)
