"""Exact neighbours: brute force as the judge, ties, chunks and reduced precision."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph.graphs.affinity import inner_product, nearest_neighbours, pair_similarity


def unit(nodes: int, width: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def by_sorting(rows: torch.Tensor, k: int, signed: bool = False) -> list[list[int]]:
    """Sort all pairs: larger similarity first (on the grid), then the lower index."""
    numbers = rows.numpy()
    similarity = (numbers[:, None, :] * numbers).sum(axis=2)
    score = np.round((np.abs(similarity) if signed else similarity) * inner_product.GRID)
    np.fill_diagonal(score, -np.inf)
    return np.argsort(-score, axis=1, kind="stable")[:, :k].tolist()


@given(
    nodes=st.integers(2, 40),
    width=st.integers(1, 12),
    seed=st.integers(0, 1000),
    signed=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_neighbours_are_those_of_sorting_all_pairs(
    nodes: int, width: int, seed: int, signed: bool, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, nodes - 1))
    rows = unit(nodes, width, seed)
    assert nearest_neighbours(rows, k, signed=signed)[0].tolist() == by_sorting(rows, k, signed)


@pytest.mark.parametrize("chunk_size", [1, 7, 50, 1000])
def test_chunk_size_changes_no_bit(monkeypatch: pytest.MonkeyPatch, chunk_size: int) -> None:
    rows = unit(60, 16)
    whole = nearest_neighbours(rows, 5)
    # As of many nodes: chunk after chunk, and not the symmetric product.
    monkeypatch.setattr("paramgraph.graphs.affinity._candidates.SYMMETRIC_ELEMENTS", 0)
    monkeypatch.setattr("paramgraph.graphs.affinity._candidates.CHUNK_ELEMENTS", chunk_size * 60)
    chunked = nearest_neighbours(rows, 5)
    assert torch.equal(whole[0], chunked[0])
    assert torch.equal(whole[1], chunked[1])


@pytest.mark.parametrize("copies", [3, 40])
def test_tie_goes_to_the_lower_index_even_among_more_equals_than_candidates(copies: int) -> None:
    rows = torch.eye(2, dtype=torch.float64).repeat(copies, 1)
    assert nearest_neighbours(rows, 2)[0][0].tolist() == [2, 4]
    assert nearest_neighbours(rows, 2)[0][5].tolist() == [1, 3]


def test_rows_that_float32_cannot_tell_apart_are_ranked_by_float64() -> None:
    # Cosines of neighbouring rows differ by 1e-10, of the first and the last by 2e-7; float32 resolves 6e-8.
    angle = torch.arange(60, dtype=torch.float64) * 1e-5
    rows = torch.stack([angle.cos(), angle.sin()], dim=1)
    indices, _ = nearest_neighbours(rows, 2)
    assert indices[0].tolist() == [1, 2]
    assert sorted(indices[30].tolist()) == [29, 31]
    assert indices.tolist() == by_sorting(rows, 2)


def test_reduced_matmul_precision_sends_every_row_to_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(80, 32)
    expected = nearest_neighbours(rows, 6)
    decided, in_double = [], inner_product._double_candidates

    def counted(rows: torch.Tensor, *others: Any) -> torch.Tensor:
        decided.extend(rows.tolist())
        return in_double(rows, *others)

    monkeypatch.setattr(inner_product, "_double_candidates", counted)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = nearest_neighbours(rows, 6)
    finally:
        torch.set_float32_matmul_precision(before)
    assert sorted(decided) == list(range(80))
    assert torch.equal(expected[0], found[0])
    assert torch.equal(expected[1], found[1])


def test_callers_autocast_hides_no_neighbour() -> None:
    # In the plane rows lie so close that bf16 lost a neighbour of every second row, with all its candidates.
    rows = unit(600, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        indices, values = nearest_neighbours(rows, 10)
    assert torch.equal(indices, nearest_neighbours(rows, 10)[0])
    assert torch.equal(values, nearest_neighbours(rows, 10)[1])


def test_similarity_is_the_same_number_from_either_end() -> None:
    rows = unit(30, 17)
    pairs = torch.triu_indices(30, 30, offset=1)
    assert torch.equal(pair_similarity(rows, pairs), pair_similarity(rows, pairs.flip(0)))


def test_pairs_in_any_order_and_twice_have_their_own_similarity() -> None:
    rows = unit(20, 7)
    pairs = torch.tensor([[19, 3, 3, 0, 11, 3], [0, 3, 18, 19, 2, 18]])
    expected = (rows[pairs[0]] * rows[pairs[1]]).sum(dim=1)
    torch.testing.assert_close(pair_similarity(rows, pairs), expected, rtol=0, atol=1e-15)  # sums of 7 terms


def test_more_pairs_than_there_are_different_ones_have_their_own_similarity() -> None:
    # Two rows have four ordered pairs, and a sparse matrix of two rows no more entries.
    pairs = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 1, 1]])
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    expected = torch.tensor([0.6, 0.6, 1.0, 1.0, 0.6], dtype=torch.float64)
    torch.testing.assert_close(pair_similarity(rows, pairs), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("last_bit", [-1.0, 1.0])
def test_order_of_a_sum_changes_no_float32(monkeypatch: pytest.MonkeyPatch, last_bit: float) -> None:
    # Half way between two numbers of float32: the last bit of float64 decides which it is.
    middle = 0.5 + 2.0**-25
    rows = torch.tensor([[1.0, 0.0], [middle, (1 - middle**2) ** 0.5]], dtype=torch.float64)
    sampled = inner_product._sampled
    monkeypatch.setattr(inner_product, "_sampled", lambda *of: sampled(*of) + last_bit * 2.0**-53)
    assert pair_similarity(rows, torch.tensor([[0], [1]])).float().item() == 0.5


def test_similarity_never_leaves_minus_one_to_one() -> None:
    rows = unit(50, 3)
    everyone = torch.arange(50)
    assert pair_similarity(rows, torch.stack([everyone, everyone])).max() <= 1.0


def test_signed_neighbours_include_the_opposite() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]], dtype=torch.float64)
    assert nearest_neighbours(rows, 1)[0].tolist() == [[1], [0], [1]]
    indices, values = nearest_neighbours(rows, 1, signed=True)
    assert indices.tolist() == [[2], [0], [0]]
    assert values[0].item() == -1.0


@pytest.mark.parametrize(("nodes", "k"), [(0, 1), (1, 1), (3, 3), (3, 10), (3, 0), (3, -1)])
def test_k_out_of_range_says_what_is_allowed(nodes: int, k: int) -> None:
    with pytest.raises(ValueError, match=rf"k={k} neighbours asked of a graph of {nodes} nodes; allowed: "):
        nearest_neighbours(torch.zeros(nodes, 2, dtype=torch.float64), k)
