"""Swaps of edges: degrees, and how evenly graphs come up."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from paramgraph.graphs import rewired_pairs


@given(nodes=st.integers(2, 15), share=st.floats(0.0, 1.0), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_result_is_a_simple_graph_of_the_same_degrees(nodes: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = np.stack(np.triu_indices(nodes, 1))
    pairs = pairs[:, rng.random(pairs.shape[1]) < share]
    before = pairs.copy()
    new = rewired_pairs(pairs, nodes, sweeps=3, rng=rng)
    np.testing.assert_array_equal(pairs, before)  # the argument stays
    assert (new[0] != new[1]).all()
    assert len({tuple(sorted(pair)) for pair in new.T.tolist()}) == new.shape[1]
    np.testing.assert_array_equal(
        np.bincount(new.ravel(), minlength=nodes), np.bincount(before.ravel(), minlength=nodes)
    )


def test_all_matchings_come_up_about_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramgraph.graphs.rewiring._PROPOSALS", 40)  # enough for three edges
    # Three disjoint edges on six nodes: 15 perfect matchings, each of probability 1/15.
    start = np.array([[0, 2, 4], [1, 3, 5]])
    rng = np.random.default_rng(0)
    counts: dict[object, int] = {}
    for _ in range(300):
        new = rewired_pairs(start, 6, sweeps=1, rng=rng)
        key = frozenset(frozenset(pair) for pair in new.T.tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 15
    expected = 300 / 15
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 36.1  # 14 degrees of freedom, one false alarm in a thousand; the seed is fixed
