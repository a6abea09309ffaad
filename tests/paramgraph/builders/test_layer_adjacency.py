"""Data flow between consecutive layers."""

import pytest
import torch
from torch_geometric.data import Data

from paramgraph import LayerAdjacency


def nodes_at(layer: list[int], role: list[str] | None = None, width: int = 4) -> Data:
    x = torch.randn(len(layer), width, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.3
    return Data(x=x, layer=torch.tensor(layer, dtype=torch.int64), role=role or [""] * len(layer))


def pairs_of(graph: Data) -> set[tuple[int, int]]:
    return {(i, j) for i, j in graph.edge_index.T.tolist() if i < j}


def test_one_node_per_layer_makes_a_path() -> None:
    assert pairs_of(LayerAdjacency()(nodes_at([0, 1, 2, 3]))) == {(0, 1), (1, 2), (2, 3)}


def test_every_node_is_linked_with_every_node_of_the_next_layer_that_is_there() -> None:
    graph = LayerAdjacency()(nodes_at([4, 0, 4, 9]))
    assert pairs_of(graph) == {(0, 1), (1, 2), (0, 3), (2, 3)}
    assert graph.edge_weight.tolist() == [1.0] * 8


def test_residual_path_passes_one_layer_by() -> None:
    plain, residual = (pairs_of(LayerAdjacency(residual=r)(nodes_at([0, 1, 3, 5]))) for r in (False, True))
    assert residual - plain == {(0, 2), (1, 3)}


def test_encoder_and_decoder_are_paths_of_their_own() -> None:
    role = ["encoder.q", "decoder.q", "encoder.q", "decoder.q"]
    assert pairs_of(LayerAdjacency(residual=True)(nodes_at([0, 0, 1, 1], role))) == {(0, 2), (1, 3)}


def test_cosine_weights_are_the_positive_cosines() -> None:
    data = nodes_at([0, 0, 0, 1, 1, 2, 2])
    flow, graph = LayerAdjacency()(data), LayerAdjacency(weight="cosine")(data)
    row, col = flow.edge_index
    cosine = torch.nn.functional.cosine_similarity(data.x[row], data.x[col])
    assert (cosine < 0).any()
    assert torch.equal(graph.edge_index, flow.edge_index[:, cosine > 0])
    torch.testing.assert_close(graph.edge_weight, cosine[cosine > 0])


def test_uniform_weights_need_no_features() -> None:
    assert LayerAdjacency()(Data(num_nodes=2, layer=torch.tensor([0, 1]))).num_edges == 2
    with pytest.raises(ValueError, match="layer_adjacency needs node features"):
        LayerAdjacency(weight="cosine")(Data(num_nodes=2, layer=torch.tensor([0, 1])))


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ([0, 1, -1], "1 of 3 nodes have no layer .*'heads' or 'layers'"),
        ([2, 2], "all 2 nodes are in one layer.*'heads' or 'layers'"),
        ([2], "all 1 nodes are in one layer"),
    ],
)
def test_tables_without_depth_are_refused_with_the_schemes_that_have_it(layer: list[int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LayerAdjacency()(nodes_at(layer))


def test_missing_layer_names_the_schemes() -> None:
    with pytest.raises(ValueError, match=r"needs data\.layer.*'heads' or 'layers'"):
        LayerAdjacency()(Data(num_nodes=3))


def test_no_nodes_have_no_edges() -> None:
    assert LayerAdjacency()(nodes_at([])).num_edges == 0


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_weight_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="weight must be one of 'uniform', 'cosine', got 'euclid'"):
        LayerAdjacency(weight="euclid")
