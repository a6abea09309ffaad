import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import paramgraph.spectra.product_spectrum as product_spectrum
from paramgraph import adjacency, laplacian
from paramgraph.spectra import KroneckerSum, product_eigenpairs, product_modes, smallest_pairs

# Small integers: many sums are equal, exactly.
ascending = st.lists(st.integers(0, 5), min_size=1, max_size=12).map(lambda x: np.sort(np.array(x, float)))


@given(ascending, ascending, st.data())
@settings(max_examples=60, deadline=None)
def test_smallest_sums_are_those_of_all_sums_sorted(first, second, data):
    count = data.draw(st.integers(0, len(first) * len(second)))
    sums, i, j = smallest_pairs(first, second, count)
    every = np.add.outer(first, second)
    np.testing.assert_array_equal(sums, np.sort(every, axis=None)[:count])
    np.testing.assert_array_equal(every[i, j], sums)
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == count


def test_equal_sums_are_in_the_order_of_row_then_column():
    _, i, j = smallest_pairs(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]), 6)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)]


def test_few_pairs_of_each_factor_are_enough_and_their_number_grows_as_needed(monkeypatch):
    monkeypatch.setattr(product_spectrum, "WHOLE_NODES", 10)
    asked = []
    solve = product_spectrum.eigenpairs

    def counted(operator, k, **options):
        asked.append((operator.nodes, k))
        return solve(operator, k=k, **options)

    monkeypatch.setattr(product_spectrum, "eigenpairs", counted)
    # Rows hardly differ, columns differ much: nearly all of the lowest sums need the lowest column alone.
    rows = laplacian(nx.path_graph(120), None)
    columns = laplacian(nx.complete_graph(40), None)
    modes = product_modes(KroneckerSum(rows, columns), 50)
    expected = np.sort(
        np.add.outer(np.linalg.eigvalsh(rows.to_dense()), np.linalg.eigvalsh(columns.to_dense())), axis=None
    )[:50]
    np.testing.assert_allclose(modes.eigenvalues, expected, atol=1e-8)
    assert asked == [(120, 16), (40, 16), (120, 32), (120, 64)]


@pytest.mark.parametrize("k", [1, 5, 17, 64])
def test_adjacencies_give_the_strongest_modes_first(k, monkeypatch):
    monkeypatch.setattr(product_spectrum, "WHOLE_NODES", 0)
    operators = [adjacency(nx.random_geometric_graph(8, 0.5, seed=seed)) for seed in (1, 2)]
    every = np.add.outer(*(np.linalg.eigvalsh(each.to_dense()) for each in operators))
    found = product_modes(KroneckerSum(*operators), k)
    # Residuals of iterative solvers are 1e-8 of the largest eigenvalue.
    np.testing.assert_allclose(found.eigenvalues, np.sort(every, axis=None)[::-1][:k], atol=1e-7)


def test_no_modes_of_nothing():
    nothing = KroneckerSum(laplacian(nx.empty_graph(0)), laplacian(nx.path_graph(3)))
    assert product_modes(nothing, 0).eigenvalues.shape == (0,)
    assert product_eigenpairs(nothing, 0).eigenvectors.shape == (0, 0)
