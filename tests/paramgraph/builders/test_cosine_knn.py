"""Nearest neighbours by cosine."""

import importlib
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from paramgraph import CosineKNN, NumericalWarning, check_graph, connected_components


def fan() -> Data:
    """Return unit rows at 0, 10, 30, 60 and 170 degrees."""
    angle = torch.deg2rad(torch.tensor([0.0, 10.0, 30.0, 60.0, 170.0], dtype=torch.float64))
    return Data(x=torch.stack([angle.cos(), angle.sin()], dim=1))


def edges(graph: Data) -> set[tuple[int, int]]:
    return {(i, j) for i, j in graph.edge_index.T.tolist() if i < j}


def test_nearest_neighbours_of_a_fan_are_known() -> None:
    # nearest: 0-1, 1-0, 2-1, 3-2; 110 degrees from row 3, row 4 has no positive cosine
    assert edges(CosineKNN(k=1)(fan())) == {(0, 1), (1, 2), (2, 3)}


def test_mutual_keeps_what_both_chose() -> None:
    assert edges(CosineKNN(k=1, mutual=True)(fan())) == {(0, 1)}


def test_signed_ranks_by_magnitude_and_keeps_the_sign() -> None:
    graph = CosineKNN(k=1, signed=True)(fan())
    assert edges(graph) == {(0, 1), (1, 2), (2, 3), (0, 4)}
    weights = dict(zip(map(tuple, graph.edge_index.T.tolist()), graph.edge_weight.tolist(), strict=True))
    assert weights[0, 4] == pytest.approx(-torch.deg2rad(torch.tensor(10.0)).cos().item())
    assert graph.signed is True


def test_weights_are_the_cosines() -> None:
    graph = CosineKNN(k=2)(fan())
    row, col = graph.edge_index
    torch.testing.assert_close(graph.edge_weight, (graph.x[row] * graph.x[col]).sum(dim=1))


def test_scaling_rows_changes_nothing() -> None:
    data = fan()
    scaled = Data(x=data.x * torch.tensor([1.0, 4.0, 0.5, 8.0, 2.0], dtype=torch.float64)[:, None])
    plain, moved = CosineKNN(k=2)(data), CosineKNN(k=2)(scaled)
    assert torch.equal(plain.edge_index, moved.edge_index)
    torch.testing.assert_close(plain.edge_weight, moved.edge_weight)


def test_zero_row_has_no_edges_and_one_warning() -> None:
    data = fan()
    data.x[2] = 0.0
    with pytest.warns(NumericalWarning, match="1 of 5 feature rows are zero") as caught:
        graph = CosineKNN(k=4)(data)
    assert len(caught) == 1
    assert 2 not in graph.edge_index


def test_duplicated_rows_are_linked_with_weight_one() -> None:
    graph = CosineKNN(k=1)(Data(x=torch.tensor([[1.0, 2.0], [3.0, -1.0], [1.0, 2.0]])))
    assert edges(graph) >= {(0, 2)}
    assert graph.edge_weight.max() == 1.0


def test_all_neighbours_of_positive_features_make_the_complete_graph() -> None:
    x = torch.rand(9, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    assert CosineKNN(k=8)(Data(x=x)).num_edges == 72


@pytest.mark.parametrize("k", [5, 10])
def test_k_of_all_nodes_or_more_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k={k} neighbours asked of a graph of 5 nodes; allowed: 1 to 4"):
        CosineKNN(k=k)(fan())


@pytest.mark.parametrize("k", [0, -2])
def test_k_that_counts_nothing_is_refused_at_once(k: int) -> None:
    with pytest.raises(ValueError, match=f"cosine_knn: k must be at least 1, got {k}"):
        CosineKNN(k=k)


@pytest.mark.parametrize("k", [1.5, "3", None])
def test_k_that_is_no_integer_is_a_type_error(k: object) -> None:
    with pytest.raises(TypeError):
        CosineKNN(k=k)  # type: ignore[arg-type]


def bundles() -> Data:
    """Return three bundles of rows, at 0, 40 and 80 degrees, each 2 degrees wide."""
    angle = torch.deg2rad(torch.tensor([0.0, 2.0, 40.0, 42.0, 80.0, 82.0], dtype=torch.float64))
    return Data(x=torch.stack([angle.cos(), angle.sin()], dim=1))


def test_largest_cosines_join_the_components() -> None:
    apart, joined = CosineKNN(k=1)(bundles()), check_graph(CosineKNN(k=1, connect="mst")(bundles()))
    assert connected_components(apart).max() == 2
    assert connected_components(joined).max() == 0
    assert joined.connecting_edges.tolist() == [[1, 3], [2, 4]]
    assert edges(joined) == edges(apart) | {(1, 2), (3, 4)}
    assert joined.edge_weight[joined.edge_index[0] == 1][-1] == pytest.approx(0.788011, abs=1e-6)  # cos 38


def test_connected_graph_gets_no_links() -> None:
    graph = CosineKNN(k=5, connect="mst")(bundles())
    assert graph.connecting_edges.shape == (2, 0)
    assert torch.equal(graph.edge_index, CosineKNN(k=5)(bundles()).edge_index)


def test_links_of_an_earlier_graph_are_forgotten() -> None:
    assert "connecting_edges" not in CosineKNN(k=1)(CosineKNN(k=1, connect="mst")(bundles()))


def test_opposed_components_stay_apart_and_are_counted() -> None:
    data = bundles()
    data.x[4:] = -data.x[:2]
    with pytest.warns(
        NumericalWarning, match="leaves 2 components apart: no cosine between them is positive"
    ):
        graph = CosineKNN(k=1, connect="mst")(data)
    assert connected_components(graph).max() == 1
    signed = CosineKNN(k=1, connect="mst", signed=True)(data)
    assert connected_components(signed).max() == 0


def test_zero_row_stays_alone_with_one_warning() -> None:
    data = bundles()
    data.x[5] = 0.0
    with pytest.warns(NumericalWarning) as caught:
        graph = CosineKNN(k=1, connect="mst")(data)
    assert [str(one.message) for one in caught] == ["1 of 6 feature rows are zero: these nodes get no edges"]
    assert 5 not in graph.edge_index
    assert connected_components(graph).max() == 1


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("mutual", [False, True])
def test_faiss_finds_the_same_graph(signed: bool, mutual: bool) -> None:
    x = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    x[250:] = x[:50]  # ties
    ours = CosineKNN(k=4, signed=signed, mutual=mutual)(Data(x=x))
    theirs = CosineKNN(k=4, signed=signed, mutual=mutual, search="faiss")(Data(x=x))
    assert torch.equal(ours.edge_index, theirs.edge_index)
    assert torch.equal(ours.edge_weight, theirs.edge_weight)


def test_missing_faiss_is_said_when_the_builder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without_faiss(name: str, *rest: Any) -> Any:
        if name == "faiss":
            raise ImportError("No module named 'faiss'")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_faiss)
    with pytest.raises(ImportError, match=r"pip install 'paramgraph\[faiss\]'"):
        CosineKNN(search="faiss")
    CosineKNN()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("options", [{"connect": "tree"}, {"search": "hnsw"}])
def test_unknown_word_is_refused_at_once(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        CosineKNN(**options)
