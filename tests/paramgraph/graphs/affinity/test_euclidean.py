"""Exact neighbours by distance: brute force as the judge, ties, scales and tight clusters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph.graphs.affinity import nearest_by_distance, pair_distance, scaled_rows


def by_sorting(rows: torch.Tensor, k: int) -> list[list[int]]:
    square = (rows[:, None] - rows).square().sum(dim=2)
    square.fill_diagonal_(torch.inf)
    return square.sort(dim=1, stable=True).indices[:, :k].tolist()


@given(nodes=st.integers(2, 40), width=st.integers(1, 8), seed=st.integers(0, 1000), data=st.data())
@settings(max_examples=40, deadline=None)
def test_neighbours_are_those_of_sorting_all_pairs(
    nodes: int, width: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, nodes - 1))
    rows, _ = scaled_rows(torch.randn(nodes, width, generator=torch.Generator().manual_seed(seed)))
    indices, squared = nearest_by_distance(rows, k)
    assert indices.tolist() == by_sorting(rows, k)
    pairs = torch.stack([torch.arange(nodes)[:, None].expand_as(indices).reshape(-1), indices.reshape(-1)])
    assert torch.equal(squared.reshape(-1), pair_distance(rows, pairs))


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_tie_on_a_grid_goes_to_the_lower_index(search: str) -> None:
    axis = torch.arange(7.0, dtype=torch.float64)
    rows, _ = scaled_rows(torch.cartesian_prod(axis, axis))
    assert nearest_by_distance(rows, 3, search=search)[0].tolist() == by_sorting(rows, 3)


@pytest.mark.parametrize("search", ["exact", "faiss"])
@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9, 0.0])
def test_clusters_far_tighter_than_float32_are_resolved(search: str, spread: float) -> None:
    source = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 3, dtype=torch.float64, generator=source).repeat_interleave(30, 0)
    rows, _ = scaled_rows(centres + spread * torch.randn(150, 3, dtype=torch.float64, generator=source))
    assert nearest_by_distance(rows, 4, search=search)[0].tolist() == by_sorting(rows, 4)


def test_reduced_matmul_precision_changes_nothing() -> None:
    rows, _ = scaled_rows(torch.randn(80, 5, generator=torch.Generator().manual_seed(3)))
    expected = nearest_by_distance(rows, 4)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = nearest_by_distance(rows, 4)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(expected[0], found[0])
    assert torch.equal(expected[1], found[1])


def test_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = scaled_rows(torch.randn(60, 4, generator=torch.Generator().manual_seed(3)))
    whole = nearest_by_distance(rows, 5)
    monkeypatch.setattr("paramgraph.graphs.affinity.euclidean.CHUNK_ELEMENTS", 420)
    chunked = nearest_by_distance(rows, 5)
    assert torch.equal(whole[0], chunked[0])
    assert torch.equal(whole[1], chunked[1])


@pytest.mark.parametrize("value", [1.7e308, 1e300, 1.0, 3.0, 1e-300, 5e-324])
def test_scaling_is_exact_and_brings_entries_to_at_most_one(value: float) -> None:
    rows, exponent = scaled_rows(torch.tensor([[value, value / 2]], dtype=torch.float64))
    assert 0.5 < rows[0, 0] <= 1.0
    assert np.ldexp(rows[0, 0].item(), exponent) == value


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 2)])
def test_nothing_to_scale_stays(shape: tuple[int, int]) -> None:
    assert scaled_rows(torch.zeros(shape))[1] == 0


@pytest.mark.parametrize(("nodes", "k"), [(0, 1), (1, 1), (3, 3), (3, 0)])
def test_k_out_of_range_says_what_is_allowed(nodes: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k} neighbours asked of a graph of {nodes} nodes"):
        nearest_by_distance(torch.zeros(nodes, 2, dtype=torch.float64), k)
