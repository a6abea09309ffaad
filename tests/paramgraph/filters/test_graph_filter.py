from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import (
    NumericalWarning,
    adjacency,
    apply_filter,
    bandpass,
    eigenpairs,
    heat,
    highpass,
    identity,
    laplacian,
    lowpass,
    prepare_filter,
    tikhonov,
)
from paramgraph.spectra import zero_operator

from helpers.names import shown

METHODS = [
    {"method": "exact"},
    {"method": "lowrank", "rank": 12},
    {"method": "chebyshev"},
    {"method": "solve"},
]


def smoothing(options):
    """A response that the method can do: "solve" is one linear system."""
    return tikhonov(1.0) if options.get("method") == "solve" else heat(1.0)


def signal(nodes: int, width: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(
        dtype
    )


def some_graph(nodes: int = 40, seed: int = 0) -> nx.Graph:
    graph = nx.random_geometric_graph(nodes, 0.3, seed=seed)
    source = np.random.default_rng(seed)
    nx.set_edge_attributes(graph, {edge: source.uniform(0.1, 2.0) for edge in graph.edges}, "weight")
    return graph


def written_out(operator, X: torch.Tensor, response) -> torch.Tensor:
    """h(L) X by an unsymmetric eigendecomposition, which shares no code with the filters."""
    values, vectors = np.linalg.eig(operator.to_dense())
    gain = response(torch.from_numpy(values.real.copy())).numpy()
    return torch.from_numpy(((vectors * gain) @ np.linalg.solve(vectors, X.numpy())).real)


@pytest.mark.parametrize("options", [{"method": "exact"}, {"method": "chebyshev", "order": 60}], ids=str)
@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("response", [heat(0.7), tikhonov(0.5), identity()], ids=shown)
def test_filter_is_the_function_of_the_matrix(options, normalization, response):
    operator = laplacian(some_graph(), normalization)
    X = signal(40)
    # Truth by an unsymmetric solver: its double eigenvalues are good to about 1e-8.
    torch.testing.assert_close(
        apply_filter(operator, X, response, **options), written_out(operator, X, response), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("response", [heat(0.7), tikhonov(0.3)], ids=shown)
def test_adjacency_filter_shrinks_strong_modes(response):
    features = np.random.default_rng(0).standard_normal((20, 40)) / 6
    operator = adjacency(features @ features.T)
    X = signal(20)
    values, vectors = torch.linalg.eigh(torch.from_numpy(operator.to_dense()))
    expected = vectors @ (response(values)[:, None] * (vectors.T @ X))
    torch.testing.assert_close(apply_filter(operator, X, response), expected, atol=1e-12, rtol=0)


def test_tikhonov_on_an_adjacency_is_the_refinement_of_a_delta():
    features = np.random.default_rng(0).standard_normal((20, 40)) / 6
    C = torch.from_numpy(features @ features.T)
    delta = signal(20)
    expected = torch.linalg.solve(torch.eye(20, dtype=torch.float64) + 0.3 * C, delta)
    torch.testing.assert_close(apply_filter(adjacency(C), delta, tikhonov(0.3)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("order", [3, 6, 12, 24])
@pytest.mark.parametrize("response", [heat(3.0), tikhonov(2.0)], ids=shown)
@pytest.mark.filterwarnings("ignore::paramgraph.errors.NumericalWarning")
def test_chebyshev_is_exact_within_its_error(order, response):
    operator = laplacian(some_graph())
    exact = prepare_filter(operator, response, "exact")
    short = prepare_filter(operator, response, "chebyshev", order=order)
    X = signal(40, 1)
    assert torch.linalg.norm(short(X) - exact(X)) <= short.error * torch.linalg.norm(X) + 1e-12


def test_complete_lowrank_is_exact():
    operator = laplacian(some_graph())
    X = signal(40)
    exact, complete = (
        apply_filter(operator, X, heat(1.0), "exact"),
        apply_filter(operator, X, heat(1.0), rank=40),
    )
    torch.testing.assert_close(complete, exact, atol=1e-13, rtol=0)


@pytest.mark.parametrize(("tail", "level"), [("edge", None), (0, 0.0), (1, 1.0)])
def test_tail_is_what_happens_to_the_other_modes(tail, level):
    operator = laplacian(some_graph())
    whole = eigenpairs(operator)
    X, response = signal(40), tikhonov(2.0)
    gain = response(whole.eigenvalues)
    gain[9:] = gain[8] if level is None else level
    expected = whole.eigenvectors @ (gain[:, None] * (whole.eigenvectors.T @ X))
    smooth = prepare_filter(operator, response, rank=9, tail=tail)
    torch.testing.assert_close(smooth(X), expected, atol=1e-10, rtol=0)
    assert f"h = {gain[-1]:.4g}" in smooth.reason
    assert (smooth.method, smooth.rank) == ("lowrank", 9)


def test_mean_and_rest_on_the_complete_graph():
    X, nodes, gamma = signal(7), 7, 0.8
    mean = X.mean(dim=0)
    plain = apply_filter(laplacian(nx.complete_graph(nodes), None), X, tikhonov(gamma))
    normalised = apply_filter(laplacian(nx.complete_graph(nodes), "sym"), X, tikhonov(gamma))
    torch.testing.assert_close(plain, mean + (X - mean) / (1 + gamma * nodes), atol=1e-14, rtol=0)
    factor = 1 + gamma * nodes / (nodes - 1)
    torch.testing.assert_close(normalised, mean + (X - mean) / factor, atol=1e-14, rtol=0)


def test_centring_operator_gives_mean_plus_shrunk_rest():
    X, nodes, gamma = signal(6), 6, 1.5
    weights = (np.ones((nodes, nodes)) - np.eye(nodes)) / nodes
    filtered = apply_filter(laplacian(weights, None), X, tikhonov(gamma))
    mean = X.mean(dim=0)
    torch.testing.assert_close(filtered, mean + (X - mean) / (1 + gamma), atol=1e-14, rtol=0)


@pytest.mark.parametrize("shape", [(5, 7), (64,)])
def test_ring_of_all_entries_is_laplacian_smoothing_by_fft(shape):
    # arXiv 1806.06317: (I + gamma L)^-1 on the flattened gradient, diagonal in Fourier space.
    G, gamma = signal(int(np.prod(shape)), 1).reshape(shape), 1.3
    flat = G.flatten()
    frequency = 2 * torch.pi * torch.arange(len(flat), dtype=torch.float64) / len(flat)
    expected = torch.fft.ifft(torch.fft.fft(flat) / (1 + gamma * (2 - 2 * torch.cos(frequency)))).real
    filtered = apply_filter(laplacian(nx.cycle_graph(len(flat)), None), flat, tikhonov(gamma))
    torch.testing.assert_close(filtered, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", METHODS, ids=str)
@pytest.mark.parametrize("normalization", ["sym", "rw"])
def test_identity_changes_no_bit(dtype, options, normalization):
    X = signal(40, dtype=dtype)
    X[0, 0] = -0.0
    prepared = prepare_filter(laplacian(some_graph(), normalization), identity(), **options)
    assert prepared.is_identity
    assert torch.equal(prepared(X).view(torch.uint8), X.view(torch.uint8))
    assert not prepared.correction(X).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", METHODS, ids=str)
def test_dtype_comes_back_and_half_precision_is_summed_in_float32(dtype, options):
    operator = laplacian(some_graph())
    X = signal(40, dtype=dtype)
    filtered = apply_filter(operator, X, smoothing(options), **options)
    assert filtered.dtype == dtype
    expected = apply_filter(operator, X.double(), smoothing(options), **options)
    # One rounding of entries below 4 to the dtype, and float32 sums of 40 terms.
    atol = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(filtered.double(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_callers_autocast_does_not_round_the_result(options):
    operator, X = laplacian(some_graph()), signal(40, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        filtered = apply_filter(operator, X, smoothing(options), **options)
    assert torch.equal(filtered, apply_filter(operator, X, smoothing(options), **options))


@pytest.mark.parametrize("options", METHODS, ids=str)
@pytest.mark.parametrize("normalization", ["sym", "rw"])
def test_filter_is_differentiable(options, normalization):
    prepared = prepare_filter(laplacian(some_graph(12), normalization), smoothing(options), **options)
    assert torch.autograd.gradcheck(prepared, signal(12, 2).requires_grad_())


@pytest.mark.parametrize("options", METHODS, ids=str)
@pytest.mark.parametrize("normalization", ["sym", "rw"])
def test_filter_made_and_called_in_inference_mode_is_differentiable_later(options, normalization):
    X = signal(40, dtype=torch.float32)
    with torch.inference_mode():
        smooth = prepare_filter(laplacian(some_graph(), normalization), smoothing(options), **options)
        expected = smooth(X)
    watched = X.clone().requires_grad_()
    again = smooth(watched)
    again.sum().backward()
    assert torch.equal(again.detach(), expected)
    assert watched.grad.abs().sum() > 0


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_result_is_signal_plus_correction_and_the_signal_is_not_changed(options):
    prepared = prepare_filter(laplacian(some_graph()), smoothing(options), **options)
    X = signal(40)
    before = X.clone()
    assert torch.equal(prepared(X), X + prepared.correction(X))
    assert torch.equal(X, before)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_vector_is_filtered_like_a_column(options):
    prepared = prepare_filter(laplacian(some_graph()), smoothing(options), **options)
    X = signal(40, 1)
    torch.testing.assert_close(prepared(X[:, 0]), prepared(X)[:, 0], atol=1e-15, rtol=0)


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_given_spectrum_is_used(normalization):
    operator = laplacian(some_graph(), normalization)
    spectrum = eigenpairs(operator)
    X = signal(40)
    with_it = prepare_filter(operator, heat(1.0), spectrum=spectrum)
    assert with_it.method == "exact"
    torch.testing.assert_close(with_it(X), prepare_filter(operator, heat(1.0))(X), atol=1e-13, rtol=0)


def test_incomplete_spectrum_makes_a_lowrank_filter():
    operator = laplacian(some_graph())
    prepared = prepare_filter(operator, heat(1.0), spectrum=eigenpairs(operator, k=10))
    assert (prepared.method, prepared.rank) == ("lowrank", 10)
    assert "incomplete spectrum given" in prepared.reason


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 20), t=st.floats(0, 5), s=st.floats(0, 5))
def test_heat_adds_up_over_time_and_never_amplifies(seed, nodes, t, s):
    operator = laplacian(some_graph(nodes, seed))
    X = signal(nodes, seed=seed)
    twice = apply_filter(operator, apply_filter(operator, X, heat(t)), heat(s))
    torch.testing.assert_close(twice, apply_filter(operator, X, heat(t + s)), atol=1e-12, rtol=0)
    assert torch.linalg.norm(twice) <= torch.linalg.norm(X) * (1 + 1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 20), gamma=st.floats(0, 50), normalized=st.booleans())
def test_solve_is_exact(seed, nodes, gamma, normalized):
    operator = laplacian(some_graph(nodes, seed), "sym" if normalized else None)
    X = signal(nodes, seed=seed)
    solved, exact = (apply_filter(operator, X, tikhonov(gamma), method) for method in ("solve", "exact"))
    torch.testing.assert_close(solved, exact, atol=1e-11, rtol=0)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    nodes=st.integers(1, 20),
    order=st.integers(1, 40),
    t=st.floats(0, 20),
    damping=st.sampled_from(["none", "jackson"]),
)
@pytest.mark.filterwarnings("ignore::paramgraph.errors.NumericalWarning")
def test_chebyshev_differs_from_exact_by_no_more_than_its_bound(seed, nodes, order, t, damping):
    operator = laplacian(some_graph(nodes, seed), None)
    X = signal(nodes, seed=seed)
    short = prepare_filter(operator, heat(t), "chebyshev", order=order, damping=damping)
    gap = torch.linalg.norm(short(X) - apply_filter(operator, X, heat(t), "exact"))
    assert gap <= short.error * torch.linalg.norm(X) + 1e-11


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(1, 20), scale=st.floats(-3, 3), at=st.integers(0, 3))
def test_filters_are_linear_in_the_signal_and_products_are_one_after_the_other(seed, nodes, scale, at):
    operator = laplacian(some_graph(nodes, seed))
    X, Y = signal(nodes, seed=seed), signal(nodes, seed=seed + 1)
    prepared = prepare_filter(operator, smoothing(METHODS[at]), **METHODS[at])
    torch.testing.assert_close(prepared(X + scale * Y), prepared(X) + scale * prepared(Y), atol=1e-11, rtol=0)
    both = apply_filter(operator, X, heat(1.0) * tikhonov(2.0))
    after = apply_filter(operator, apply_filter(operator, X, tikhonov(2.0)), heat(1.0))
    torch.testing.assert_close(both, after, atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_parts_of_a_sum_of_responses_add_up(method):
    operator, X = laplacian(some_graph()), signal(40)
    parts = [
        apply_filter(operator, X, response, method) for response in (1 - 0.3 * heat(1.0), 0.3 * heat(1.0))
    ]
    torch.testing.assert_close(parts[0] + parts[1], X, atol=1e-12, rtol=0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 20), low=st.floats(0, 2), high=st.floats(0, 2))
def test_bands_take_the_signal_apart(seed, nodes, low, high):
    operator, X = laplacian(some_graph(nodes, seed)), signal(nodes, seed=seed)
    low, high = min(low, high), max(low, high)
    bands = [apply_filter(operator, X, h) for h in (lowpass(low), bandpass(low, high), highpass(high))]
    torch.testing.assert_close(sum(bands), X, atol=1e-12, rtol=0)
    energy = sum(band.square().sum() for band in bands)
    torch.testing.assert_close(energy, X.square().sum(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("normalization", [None, "sym"])
@pytest.mark.parametrize("options", METHODS, ids=str)
def test_gradient_is_the_filter_of_the_upstream_gradient(options, normalization):
    prepared = prepare_filter(laplacian(some_graph(), normalization), smoothing(options), **options)
    X, upstream = signal(40).requires_grad_(), signal(40, seed=1)
    prepared(X).backward(upstream)
    torch.testing.assert_close(X.grad, prepared(upstream), atol=1e-12, rtol=0)


def test_large_graph_of_little_fill_in_is_solved_for_tikhonov():
    operator = laplacian(nx.cycle_graph(4100), None)
    prepared = prepare_filter(operator, tikhonov(1e5))
    assert prepared.method == "solve"
    assert "SuperLU" in prepared.reason
    assert "float64 on the CPU" in prepared.reason
    X = signal(4100, 2)
    Y = prepared(X)
    # Residual of a system of condition 4e5, solved in float64.
    torch.testing.assert_close(Y + 1e5 * (operator @ Y), X, atol=1e-9, rtol=0)


def test_one_signal_on_a_middling_graph_is_solved_and_not_diagonalized(monkeypatch):
    monkeypatch.setattr(
        "paramgraph.filters.design.eigenpairs", lambda *_, **__: pytest.fail("an eigenproblem")
    )
    operator, X = laplacian(nx.cycle_graph(1100)), signal(1100, 1)
    Y = apply_filter(operator, X, tikhonov(1.0))
    torch.testing.assert_close(Y + operator @ Y, X, atol=1e-12, rtol=0)


def test_pole_on_the_interval_of_a_large_adjacency_goes_to_solve():
    operator = adjacency(nx.to_scipy_sparse_array(nx.path_graph(4100)))
    prepared = prepare_filter(operator, tikhonov(0.45))
    assert prepared.method == "solve"
    with pytest.raises(ValueError, match="pole"):
        prepare_filter(operator, tikhonov(0.6))


def test_identity_has_nothing_to_solve():
    prepared = prepare_filter(laplacian(some_graph()), identity(), "solve")
    assert prepared.is_identity
    assert "nothing to solve" in prepared.reason


@pytest.mark.parametrize("response", [heat(1.0), 0.5 * tikhonov(1.0), lambda x: 1 / (1 + x)])
def test_solve_refuses_what_is_no_single_system(response):
    with pytest.raises(ValueError, match="tikhonov"):
        prepare_filter(laplacian(some_graph()), response, "solve")


def test_damped_jump_stays_between_its_values_where_a_plain_one_does_not():
    operator = laplacian(nx.cycle_graph(200))
    eye = torch.eye(200, dtype=torch.float64)
    damped = prepare_filter(operator, lowpass(0.7), "chebyshev", order=40, damping="jackson")
    assert "Jackson" in damped.reason
    with pytest.warns(NumericalWarning):
        plain = prepare_filter(operator, lowpass(0.7), "chebyshev", order=40)
    gains = {name: torch.linalg.eigvalsh(f(eye)) for name, f in (("damped", damped), ("plain", plain))}
    assert gains["damped"].min() > -1e-12
    assert gains["damped"].max() < 1 + 1e-12
    assert gains["plain"].min() < -0.02


def test_damping_asked_for_makes_a_polynomial_of_the_given_order():
    prepared = prepare_filter(laplacian(some_graph()), heat(1.0), damping="jackson", order=12)
    assert (prepared.method, prepared.order) == ("chebyshev", 12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 20), cutoff=st.floats(0, 2))
def test_lowpass_is_a_projector_and_highpass_its_complement(seed, nodes, cutoff):
    operator = laplacian(some_graph(nodes, seed))
    X = signal(nodes, seed=seed)
    low, high = apply_filter(operator, X, lowpass(cutoff)), apply_filter(operator, X, highpass(cutoff))
    torch.testing.assert_close(low + high, X, atol=1e-12, rtol=0)
    torch.testing.assert_close(apply_filter(operator, low, lowpass(cutoff)), low, atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_relabelling_the_nodes_relabels_the_result(options):
    weights = nx.to_numpy_array(some_graph())
    order = np.random.default_rng(0).permutation(40)
    X = signal(40)
    here = apply_filter(laplacian(weights), X, smoothing(options), **options)
    there = apply_filter(laplacian(weights[np.ix_(order, order)]), X[order], smoothing(options), **options)
    torch.testing.assert_close(there, here[order], atol=1e-9, rtol=0)  # the low-rank one ends at a gap


def test_large_graph_goes_to_chebyshev_of_the_order_needed():
    prepared = prepare_filter(laplacian(nx.cycle_graph(4100)), heat(40.0), order=5)
    assert prepared.method == "chebyshev"
    assert prepared.order > 5
    assert prepared.error <= 1e-6
    constant = torch.ones(4100, 1)
    torch.testing.assert_close(prepared(constant), constant, atol=1e-5, rtol=0)  # float32 recurrence


def test_jump_on_a_large_graph_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="rank="):
        prepare_filter(laplacian(nx.cycle_graph(4100)), lowpass(1.0))


def test_poor_polynomial_that_was_asked_for_warns():
    with pytest.warns(NumericalWarning, match="raise order"):
        prepare_filter(laplacian(some_graph()), tikhonov(1e4), "chebyshev", order=3)


def test_any_callable_is_a_response():
    operator = laplacian(some_graph())
    X = signal(40)
    torch.testing.assert_close(
        apply_filter(operator, X, lambda x: 1 - x), X - operator @ X, atol=1e-13, rtol=0
    )


@pytest.mark.parametrize("options", [{}, {"method": "chebyshev"}, {"method": "solve"}, {"rank": 3}], ids=str)
def test_no_nodes_one_node_and_no_edges(options):
    assert apply_filter(zero_operator(0), torch.zeros(0, 2), smoothing(options), **options).shape == (0, 2)
    for operator in (zero_operator(1), zero_operator(4)):
        X = signal(operator.nodes)
        torch.testing.assert_close(apply_filter(operator, X, smoothing(options), **options), X)


def test_signal_without_columns_stays_empty():
    assert apply_filter(laplacian(nx.path_graph(3)), torch.zeros(3, 0), heat(1.0)).shape == (3, 0)


def test_rank_above_the_nodes_uses_all_and_says_so():
    prepared = prepare_filter(laplacian(nx.path_graph(5)), heat(1.0), rank=32)
    assert prepared.rank == 5
    assert "32" in prepared.reason


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_signal_that_is_not_finite_raises(value):
    X = torch.ones(3, 2)
    X[1, 1] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        apply_filter(laplacian(nx.path_graph(3)), X, heat(1.0))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("shape", [(4, 2), (), (3, 2, 2)])
def test_signal_of_wrong_shape_raises(shape):
    with pytest.raises(ValueError, match=r"\(3,\)"):
        apply_filter(laplacian(nx.path_graph(3)), torch.ones(shape), heat(1.0))


@pytest.mark.parametrize("X", [torch.ones(4, 2), torch.full((3, 2), torch.nan)], ids=["rows", "NaN"])
def test_signals_are_looked_at_before_the_eigenpairs(X, monkeypatch):
    monkeypatch.setattr("paramgraph.filters.design.eigenpairs", lambda *_, **__: pytest.fail("solved"))
    with pytest.raises(ValueError, match=r"\(3,\)|NaN"):
        apply_filter(laplacian(nx.path_graph(3)), X, heat(1.0))


@pytest.mark.usefixtures("unchecked_types")
def test_integer_signal_raises():
    with pytest.raises(TypeError, match="floating"):
        apply_filter(laplacian(nx.path_graph(3)), torch.ones(3, 2, dtype=torch.int64), heat(1.0))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "solve"}, "tikhonov"),
        ({"method": "fft"}, "allowed"),
        ({"damping": "fejer"}, "jackson"),
        ({"damping": "jackson", "method": "exact"}, "chebyshev"),
        ({"order": -1}, "order"),
        ({"tail": "zero"}, "edge"),
        ({"order": 0}, "order"),
        ({"rank": 0}, "rank"),
        ({"rank": 2.5}, "rank"),
    ],
)
def test_option_that_is_not_allowed_raises(options, text):
    with pytest.raises(ValueError, match=text):
        prepare_filter(laplacian(nx.path_graph(3)), heat(1.0), **options)


def test_spectrum_of_another_operator_raises():
    operator = laplacian(nx.path_graph(5))
    with pytest.raises(ValueError, match="adjacency"):
        prepare_filter(operator, heat(1.0), spectrum=eigenpairs(adjacency(nx.path_graph(5))))
    with pytest.raises(ValueError, match="compute more"):
        prepare_filter(operator, heat(1.0), "exact", spectrum=eigenpairs(operator, k=2))


@pytest.mark.parametrize("k", [1, 3, None])
@pytest.mark.parametrize(
    "other",
    [laplacian(nx.cycle_graph(9)), laplacian(nx.star_graph(8)), laplacian(nx.path_graph(9), None)],
    ids=["cycle", "star", "unnormalized"],
)
def test_spectrum_of_another_graph_of_as_many_nodes_raises(other, k):
    path = laplacian(nx.path_graph(9))
    with pytest.raises(ValueError, match="that of another laplacian"):
        prepare_filter(path, heat(1.0), spectrum=eigenpairs(other, k=k))
    own = eigenpairs(path, k=k)
    assert prepare_filter(path, heat(1.0), spectrum=own).rank == own.modes
    coarse = replace(own, eigenvalues=own.eigenvalues.float(), eigenvectors=own.eigenvectors.float())
    assert prepare_filter(path, heat(1.0), spectrum=coarse).rank == own.modes


def test_chebyshev_names_the_pole_in_the_interval_of_an_adjacency():
    operator = adjacency(sp.csr_array(nx.to_numpy_array(nx.path_graph(6))))
    with pytest.raises(ValueError, match="method='exact'"):
        prepare_filter(operator, tikhonov(1.0), "chebyshev")


def test_repr_tells_what_runs_and_why():
    prepared = prepare_filter(laplacian(nx.path_graph(3)), heat(1.0))
    assert repr(prepared) == "GraphFilter(heat(t=1.0), exact, nodes=3: no more than 4096 nodes)"


@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("scale", [1e-160, 1e150])
def test_weights_of_any_scale_filter_single_precision_by_the_random_walk(options, scale):
    matrix = nx.to_scipy_sparse_array(nx.path_graph(30), dtype=float)
    X = signal(30, dtype=torch.float32)
    found = apply_filter(laplacian(scale * matrix, "rw"), X, smoothing(options), **options)
    torch.testing.assert_close(found, apply_filter(laplacian(matrix, "rw"), X, smoothing(options), **options))
