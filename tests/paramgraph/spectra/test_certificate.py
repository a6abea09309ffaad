import importlib.util

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from paramgraph import adjacency, eigenpairs, laplacian
from paramgraph.spectra import SolverResult, _certificate as certificate, certify_count


def grid(rows: int, columns: int) -> nx.Graph:
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns))


def ring_values(nodes: int) -> np.ndarray:
    return np.sort(2 - 2 * np.cos(2 * np.pi * np.arange(nodes) / nodes))


LONG = {
    "ring": nx.cycle_graph(20_000),
    "path": nx.path_graph(20_000),
    "grid": grid(50, 61),
    "blocks": nx.disjoint_union_all([nx.cycle_graph(3000), nx.cycle_graph(3001), nx.path_graph(2500)]),
}


@pytest.mark.parametrize("name", LONG)
def test_long_graphs_are_certified_through_the_sparse_factor(name):
    spectrum = eigenpairs(laplacian(LONG[name]), k=12, certify=True)
    assert spectrum.certified is True
    assert "certified by inertia" in spectrum.reason


@pytest.mark.slow
def test_grid_of_twenty_thousand_nodes_is_certified():
    assert eigenpairs(laplacian(grid(141, 141)), k=16, certify=True).certified is True


def test_adjacency_of_a_long_ring_is_certified_at_its_upper_end():
    spectrum = eigenpairs(adjacency(nx.cycle_graph(3000)), k=7, certify=True)
    assert spectrum.certified is True


@pytest.mark.parametrize("missing", [1, 3, 4])
def test_a_missed_pair_of_a_long_ring_is_refused(missing):
    operator = laplacian(nx.cycle_graph(5000), None)
    whole = ring_values(5000)[:9]
    assert certify_count(operator, whole, 1e-12) == (True, "certified by inertia")
    certified, remark = certify_count(operator, np.delete(whole, missing), 1e-12)
    assert (certified, remark) == (False, "not certified: 1 pairs missed")


def test_a_solver_that_drops_a_pair_is_refused(monkeypatch):
    from paramgraph.spectra.solvers import shift_invert

    whole = shift_invert.solve

    def drops(problem):
        result = whole(problem.__class__(**{**vars(problem), "count": problem.count + 1}))
        keep = [j for j in range(problem.count + 1) if j != 2]
        return SolverResult(result.eigenvalues[keep], result.eigenvectors[:, keep], result.iterations)

    monkeypatch.setattr(shift_invert, "solve", drops)
    spectrum = eigenpairs(laplacian(nx.path_graph(3000)), k=8, certify=True)
    assert spectrum.certified is False
    assert "1 pairs missed" in spectrum.reason


def test_a_pair_too_many_is_refused():
    operator = laplacian(nx.path_graph(30), None)
    whole = 2 - 2 * np.cos(np.pi * np.arange(6) / 30)
    assert certify_count(operator, np.insert(whole, 2, whole[2]), 1e-13)[1].endswith("1 pairs too many")


def test_a_cluster_cut_by_k_is_certified():
    # The complete graph has one eigenvalue 59 times: any of its vectors are right.
    assert eigenpairs(laplacian(nx.complete_graph(60), None), k=7, certify=True).certified is True


def test_missing_qdldl_is_no_failure_and_gives_the_line_to_install_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "qdldl" else find(name))
    spectrum = eigenpairs(laplacian(nx.cycle_graph(2500)), k=5, certify=True)
    assert spectrum.certified is False
    assert "pip install 'paramgraph[certify]'" in spectrum.reason
    assert eigenpairs(laplacian(nx.cycle_graph(1000)), k=5, certify=True).certified is True


def test_large_expander_is_not_certified_and_says_its_fill_in():
    spectrum = eigenpairs(laplacian(nx.random_regular_graph(8, 2500, seed=0)), k=5, certify=True)
    assert spectrum.certified is False
    assert "estimated fill-in" in spectrum.reason.split("not certified")[1]


def test_large_dense_component_is_not_certified(monkeypatch):
    monkeypatch.setattr(certificate, "DENSE_CERTIFIED", 10)
    assert "dense component" in certify_count(adjacency(np.ones((12, 12))), np.array([12.0]), 1e-13)[1]


def test_zero_pivots_are_met_with_another_shift(monkeypatch):
    # Node 0 alone is a leading block with the eigenvalue 0: shifted by exactly that, its pivot is 0.
    monkeypatch.setattr(certificate, "SMALL", 0)
    monkeypatch.setattr(certificate, "SHIFTS", (0.0, 0.5))
    operator = adjacency(nx.path_graph(5))
    values = 2 * np.cos(np.pi * np.arange(1, 4) / 6)  # the third is 0
    assert certify_count(operator, values, 1e-14) == (True, "certified by inertia")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), nodes=st.integers(2, 40), k=st.integers(1, 39), drop=st.booleans())
def test_sparse_and_dense_counts_agree_on_any_graph(seed, nodes, k, drop):
    graph = nx.gnp_random_graph(nodes, 3 / nodes, seed=seed)
    operator = laplacian(graph, None)
    values = eigenpairs(operator).eigenvalues.numpy()[: min(k, nodes - 1)]
    if drop and len(values) > 1:
        values = values[1:]
    dense = certify_count(operator, values, 1e-13)
    small = certificate.SMALL
    try:
        certificate.SMALL = 0
        sparse = certify_count(operator, values, 1e-13)
    finally:
        certificate.SMALL = small
    if "factorization" not in sparse[1]:  # refused is allowed, wrong is not
        assert sparse == dense


def test_component_that_has_no_good_sparse_factor_is_certified_densely():
    # Just before the eigenvalue 1 of all leaves the pivots of a star are near 0, whatever the shift.
    star = laplacian(nx.star_graph(599))
    values = np.r_[0.0, np.ones(4)]
    assert certify_count(star, values, 1e-15) == (True, "certified by inertia")
    assert certify_count(star, np.r_[0.0, 2.0], 1e-15) == (False, "not certified: 598 pairs missed")


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("solver", ["auto", "arpack", "lobpcg"])
@pytest.mark.parametrize("graph", [grid(25, 25), nx.cycle_graph(1000)], ids=["grid", "ring"])
def test_loose_pairs_are_certified_only_where_they_are_right(graph, solver, tol):
    operator = laplacian(graph)
    spectrum = eigenpairs(operator, k=20, tol=tol, solver=solver, certify=True)
    expected = np.linalg.eigvalsh(operator.to_dense())[:20]
    error = np.abs(spectrum.eigenvalues.numpy() - expected).max()
    assert (spectrum.certified is True) == (error < 1e-6) or "ask for a smaller tol" in spectrum.reason


def test_pairs_within_their_residuals_are_refused_with_the_tolerance_to_change():
    # The true ones are 0 and 19 more below 0.004.
    values = np.r_[0.0, 0.004 + 1e-5 * np.arange(4)]
    certified, remark = certify_count(laplacian(nx.cycle_graph(1000)), values, 1e-3)
    assert not certified
    assert "residuals of 0.001 do not tell the 5 last eigenvalues apart; ask for a smaller tol" in remark
