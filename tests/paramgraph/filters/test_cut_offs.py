"""Steps at an eigenvalue: all of its copies pass, or none, by every method, whatever nodes are called."""

import functools
import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import paramgraph
from paramgraph import (
    ProductGraph,
    adjacency,
    apply_filter,
    bandpass,
    contrast,
    eigenpairs,
    highpass,
    laplacian,
    lowpass,
    prepare_filter,
)
from paramgraph.errors import NumericalWarning
from paramgraph.filters import eigenvalue_rounding, evaluate_response, measured_steps

GRAPHS = {
    "star": nx.star_graph(24),
    "complete": nx.complete_graph(9),
    "bipartite": nx.complete_bipartite_graph(7, 12),
    "hypercube": nx.hypercube_graph(5),
    "ring": nx.cycle_graph(30),
    "torus": nx.grid_2d_graph(6, 6, periodic=True),
    "wheel": nx.wheel_graph(17),
    "tree": nx.balanced_tree(2, 4),
    "cliques": nx.disjoint_union_all([nx.complete_graph(5)] * 4),
    "petersen": nx.petersen_graph(),
    "barbell": nx.barbell_graph(8, 3),
    "turan": nx.turan_graph(18, 6),
}
OPERATORS = {
    "sym": functools.partial(laplacian, normalization="sym"),
    "rw": functools.partial(laplacian, normalization="rw"),
    "none": functools.partial(laplacian, normalization=None),
    "adjacency": adjacency,
}


def renamed(graph, seed):
    nodes = list(graph)
    order = np.random.default_rng(seed).permutation(len(nodes))
    again = nx.Graph()
    again.add_nodes_from(nodes[place] for place in order)
    again.add_edges_from(graph.edges)
    return again, order


def kept(operator, response, **options):
    eye = torch.eye(operator.nodes, dtype=torch.float64)
    return torch.trace(apply_filter(operator, eye, response, **options)).item()


def levels(operator):
    """List each eigenvalue once, with how many modes lie at or below it; by NumPy, apart from what is tested."""
    return levels_of(operator.symmetrized()[0].to_dense())


def levels_of(matrix):
    values = np.sort(np.linalg.eigvalsh(matrix))
    gaps = np.flatnonzero(np.diff(values) > 1e-7) + 1
    return [
        (part.mean(), int(end))
        for part, end in zip(np.split(values, gaps), [*gaps, len(values)], strict=True)
    ]


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("name", GRAPHS)
def test_lowpass_at_an_eigenvalue_keeps_all_its_copies_whatever_nodes_are_called(name, kind):
    for seed in (0, 1):
        graph, _ = renamed(GRAPHS[name], seed)
        operator = OPERATORS[kind](graph)
        below_zero = kept(operator, lowpass(0.0))
        for value, below in [level for level in levels(operator) if level[0] > -1e-9]:
            cut = max(float(value), 0.0)
            assert kept(operator, lowpass(cut)) == pytest.approx(below)
            assert kept(operator, highpass(cut)) == pytest.approx(operator.nodes - below)
            assert kept(operator, bandpass(0.0, cut)) == pytest.approx(below - below_zero)
            steps = measured_steps([cut], [1.0, 0.25])
            assert kept(operator, steps) == pytest.approx(below + 0.25 * (operator.nodes - below))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(GRAPHS)), st.sampled_from(sorted(OPERATORS)), st.data())
def test_renaming_nodes_renames_the_filtered_signal(name, kind, data):
    graph = GRAPHS[name]
    operator = OPERATORS[kind](graph)
    value, _ = data.draw(st.sampled_from([level for level in levels(operator) if level[0] > -1e-9]))
    again, order = renamed(graph, data.draw(st.integers(0, 99)))
    signal = torch.from_numpy(np.random.default_rng(0).standard_normal((operator.nodes, 3)))
    response = 1 - 0.5 * lowpass(max(value, 0.0))
    one = apply_filter(operator, signal, response)
    other = apply_filter(OPERATORS[kind](again), signal[torch.from_numpy(order)], response)
    torch.testing.assert_close(other, one[torch.from_numpy(order)])


def test_an_eigenvalue_of_a_tiny_or_huge_scale_is_told_from_its_neighbours():
    for scale in (1e-150, 1e-9, 1.0, 1e9):
        L = laplacian(scale * nx.to_numpy_array(nx.path_graph(6)), None)
        values = np.linalg.eigvalsh(L.to_dense())
        for place, value in enumerate(values):
            assert kept(L, lowpass(max(value, 0.0))) == pytest.approx(place + 1)


def test_a_sum_of_eigenvalues_at_the_cut_off_keeps_all_pairs():
    ring, star = nx.cycle_graph(8), nx.star_graph(5)
    product = ProductGraph(ring, star)
    found = levels_of(product.operator.to_scipy().toarray())
    for method, options in (("exact", {}), ("lowrank", {"rank": 48})):
        for value, below in found:
            ready = product.prepare_filter(lowpass(max(value, 0.0)), method=method, **options)
            passed = sum(
                ready(torch.eye(48, dtype=torch.float64)[entry].reshape(8, 6)).flatten()[entry].item()
                for entry in range(48)
            )
            assert passed == pytest.approx(below)


def test_a_contrast_at_a_cut_off_keeps_all_copies():
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0]
    preserve = torch.from_numpy(Q @ np.diag([3.0] * 4 + [1.0] * 5 + [0.0] * 3) @ Q.T)
    preserve = (preserve + preserve.T) / 2
    found = contrast(torch.eye(12, dtype=torch.float64), preserve, ridge=1.0, response=lowpass(0.5))
    assert torch.trace(found(torch.eye(12, dtype=torch.float64))).item() == pytest.approx(8)


@pytest.mark.parametrize("shift", ["laplacian", "adjacency"])
def test_a_rank_that_parts_a_level_leaves_the_level_to_the_tail(shift):
    graph = nx.complete_bipartite_graph(6, 9) if shift == "adjacency" else nx.star_graph(20)
    operator = adjacency(graph) if shift == "adjacency" else laplacian(graph, None)
    eye = torch.eye(operator.nodes, dtype=torch.float64)
    ready = prepare_filter(operator, "identity", rank=5, tail=0)
    assert ready.rank == 1
    assert "ends among the copies of" in ready.reason
    assert torch.trace(ready(eye)).item() == pytest.approx(1)
    again, order = renamed(graph, 3)
    twice = prepare_filter(
        adjacency(again) if shift == "adjacency" else laplacian(again, None), "identity", rank=5, tail=0
    )
    torch.testing.assert_close(twice(eye), ready(eye)[order][:, order], atol=1e-12, rtol=0)


def test_a_rank_within_the_first_level_is_refused_where_the_tail_would_part_it():
    L = laplacian(GRAPHS["cliques"])
    with pytest.raises(ValueError, match="rank 3 ends among the copies of the first eigenvalue"):
        prepare_filter(L, "identity", rank=3, tail=0)
    assert prepare_filter(L, "identity", rank=3, tail=1).is_identity
    assert prepare_filter(L, "identity", rank=4, tail=0).rank == 4


def test_a_spectrum_that_may_end_within_a_level_says_so():
    L = laplacian(GRAPHS["star"])
    ready = prepare_filter(L, "identity", spectrum=eigenpairs(L, k=5), tail=0)
    assert "whether the last eigenvalue has more copies is not known" in ready.reason


@pytest.mark.parametrize("name", ["star", "complete", "hypercube", "bipartite"])
def test_a_function_of_the_users_that_jumps_at_an_eigenvalue_is_refused(name):
    L = laplacian(GRAPHS[name])
    value = [value for value, _ in levels(L)][1]
    for step in (
        lambda x: (x <= value).double(),
        lambda x: 1 - 0.3 * torch.heaviside(x - value, torch.ones_like(x)),
    ):
        with pytest.raises(ValueError, match=r"jumps within rounding .* of the eigenvalue"):
            apply_filter(L, torch.eye(L.nodes), step)
        with pytest.raises(ValueError, match="jumps within rounding"):
            apply_filter(
                L, torch.eye(L.nodes), 2 * lowpass(0.1) * (1.0 - 0.5 * paramgraph.heat(1.0)) + _Step(value)
            )


class _Step:
    """A callable that the algebra of responses takes."""

    def __init__(self, value):
        self.value = value

    def __call__(self, x):
        return (x < self.value).to(x.dtype)


def test_functions_that_do_not_jump_at_an_eigenvalue_are_as_before():
    L = laplacian(GRAPHS["star"])
    for smooth in (
        lambda x: torch.exp(-1e6 * x),
        lambda x: x.clamp(min=0).sqrt(),
        lambda x: (x <= 0.5).double(),
        lambda x: (x == 0).double(),  # zeros of a Laplacian are exact
        lambda x: torch.where(x > 0, 1 / x, 0.0),
        lambda x: x.abs(),
    ):
        values = eigenpairs(L).eigenvalues
        rounding = eigenvalue_rounding(eigenpairs(L), L.bound)
        torch.testing.assert_close(evaluate_response(smooth, values, rounding), smooth(values))


WIDTHS = (1e-2, 1e-4, 1e-5)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("named", [True, False])
def test_the_bound_of_a_polynomial_sees_a_band_narrower_than_its_samples(width, named):
    L = laplacian(nx.cycle_graph(1500))
    centre = eigenpairs(L, k=3, solver="dense").eigenvalues[2].item() + 1.0
    band = bandpass(centre - width / 2, centre + width / 2)
    response = band if named else lambda x: band(x)
    with pytest.warns(NumericalWarning):
        ready = prepare_filter(L, response, method="chebyshev", order=30)
    assert ready.error >= 0.4
    with pytest.raises(ValueError, match="needs a polynomial of an order above"):
        _auto_beyond_exact(response)
    if not named:
        assert "as far as 1,048,577 values of it show" in ready.reason


def _auto_beyond_exact(response):
    return prepare_filter(laplacian(nx.cycle_graph(4200)), response)


def test_a_band_of_any_width_around_an_eigenvalue_is_seen_on_a_small_graph():
    L = laplacian(nx.path_graph(40))
    value = eigenpairs(L).eigenvalues[7].item()
    eye = torch.eye(40, dtype=torch.float64)
    for half in (1e-6, 1e-9):
        band = lambda x, half=half: ((x - value).abs() < half).double()  # noqa: E731
        with pytest.warns(NumericalWarning):
            ready = prepare_filter(L, band, method="chebyshev")
        missed = torch.linalg.matrix_norm(ready(eye) - apply_filter(L, eye, band), 2)
        assert 0.5 < missed <= ready.error + 1e-9
    product = ProductGraph(nx.path_graph(5), nx.path_graph(6))
    total = product.eigenvalues()[9].item()
    with pytest.warns(NumericalWarning):
        ready = product.prepare_filter(lambda x: ((x - total).abs() < 1e-9).double(), method="chebyshev")
    assert ready.error > 0.9


def test_narrow_wavelets_are_seen():
    L = laplacian(nx.cycle_graph(1500))
    for response in (
        paramgraph.get_response("meyer", index=1, scales=30),
        paramgraph.get_response("itersine", index=90_000, scales=200_001),
    ):
        with pytest.warns(NumericalWarning):
            assert prepare_filter(L, response, method="chebyshev").error > 0.5


def test_steps_stay_pointwise_on_tensors():
    values = torch.tensor([0.0, 1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert lowpass(1.0)(values).tolist() == [1.0, 1.0, 0.0]
    rounding = torch.full_like(values, 1e-11)
    assert evaluate_response(lowpass(1.0), values, rounding).tolist() == [1.0, 1.0, 1.0]
    for low, high in itertools.pairwise([0.0, 1.0, 2.0]):
        assert evaluate_response(bandpass(low, high), torch.tensor([high]), rounding[:1]).tolist() == [1.0]
