"""Proposals of neighbours, by torch and by faiss."""

import pytest
import torch

from paramgraph.graphs.affinity import CandidateSearch


def rows(nodes: int = 50, width: int = 6) -> torch.Tensor:
    return torch.randn(nodes, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("search", ["exact", "faiss"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("count", [1, 3, 7, 49])  # 3 of 50: by sets of columns, and two columns in none
def test_best_are_the_largest_products_without_the_own_row(search: str, signed: bool, count: int) -> None:
    x, own = rows(), torch.arange(10, 30)
    product = x[own] @ x.T
    product = product.abs() if signed else product
    product[torch.arange(20), own] = -torch.inf
    score, index = CandidateSearch(x, search).best(x[own], own, count, signed=signed)
    # 1e-5: float32 sums of six products in another order.
    torch.testing.assert_close(score, product.topk(count, dim=1).values, rtol=0, atol=1e-5)
    torch.testing.assert_close(product.gather(1, index), score, rtol=0, atol=1e-5)
    assert all(len(set(found)) == count for found in index.tolist())


@pytest.mark.parametrize("few", [0, 1024])  # all by `topk`, and by a list
def test_a_tie_at_the_last_place_leaves_as_many_as_were_asked_for(monkeypatch, few) -> None:
    # Each row has five of the largest product: four of these and none of the others are the best four, in any order.
    monkeypatch.setattr("paramgraph.graphs.affinity._candidates._FEW", few)
    x = torch.eye(3).repeat(6, 1)
    score, index = CandidateSearch(x).best_of_all(4)
    assert score.tolist() == [[1.0] * 4] * 18
    assert bool((index % 3 == torch.arange(18)[:, None] % 3).all())
    assert all(len(set(found)) == 4 for found in index.tolist())


def test_largest_products_that_share_a_set_of_columns_are_all_found() -> None:
    # Of 48 columns, every sixth is one set: its eight are the largest, and the bound is far below the third of them.
    x = torch.zeros(48, 48)
    x[0] = torch.linspace(1.0, 2.0, 48) + 8.0 * (torch.arange(48) % 6 == 0)
    x[1:] = torch.eye(48)[1:]
    _, index = CandidateSearch(x).best(x[:1], torch.tensor([0]), 3)
    assert index.tolist() == [[42, 36, 30]]


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_own_row_is_left_out_even_among_equals(search: str) -> None:
    x = torch.ones(9, 2)
    _, index = CandidateSearch(x, search).best(x, torch.arange(9), 3)
    assert not (index == torch.arange(9)[:, None]).any()


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_rows_without_entries_are_searched(search: str) -> None:
    x = torch.zeros(4, 0)
    assert CandidateSearch(x, search).best(x, torch.arange(4), 2)[0].tolist() == [[0.0, 0.0]] * 4


def test_faiss_leaves_the_number_of_threads_and_is_in_full_precision() -> None:
    before = torch.get_num_threads()
    search = CandidateSearch(rows(), "faiss")
    search.best(rows(), torch.arange(50), 3)
    assert torch.get_num_threads() == before
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert search.is_full_precision
        assert not CandidateSearch(rows()).is_full_precision
    finally:
        torch.set_float32_matmul_precision(precision)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("value", ["hnsw", None, ""])
def test_unknown_search_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="search must be one of 'exact', 'faiss'"):
        CandidateSearch(rows(), value)  # type: ignore[arg-type]
