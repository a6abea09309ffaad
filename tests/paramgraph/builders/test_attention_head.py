"""Heads of one layer and of neighbouring layers."""

import itertools

import pytest
import torch
from torch_geometric.data import Data

from paramgraph import AttentionHead, NumericalWarning


def heads(layers: tuple[int, ...] = (0, 1, 2, 3), per_layer: int = 3) -> Data:
    count = len(layers) * per_layer
    x = torch.randn(count, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.5
    return Data(
        x=x,
        layer=torch.tensor(layers, dtype=torch.int64).repeat_interleave(per_layer),
        head=torch.arange(per_layer).repeat(len(layers)),
    )


def pairs_of(graph: Data) -> set[tuple[int, int]]:
    return {(i, j) for i, j in graph.edge_index.T.tolist() if i < j}


@pytest.mark.parametrize("reach", [1, 2, 3, 9])
def test_heads_up_to_reach_layers_apart_are_linked(reach: int) -> None:
    graph = AttentionHead(reach=reach, signed=True)(heads())
    expected = {(i, j) for i, j in itertools.combinations(range(12), 2) if j // 3 - i // 3 <= reach}
    assert pairs_of(graph) == expected


def test_weights_are_the_cosines_and_negative_ones_go() -> None:
    data = heads()
    row, col = AttentionHead(signed=True)(data).edge_index
    cosine = torch.nn.functional.cosine_similarity(data.x[row], data.x[col])
    signed, plain = AttentionHead(signed=True)(data), AttentionHead()(data)
    torch.testing.assert_close(signed.edge_weight, cosine)
    torch.testing.assert_close(plain.edge_weight, cosine[cosine > 0])
    assert (cosine < 0).any()


def test_layers_that_the_table_lacks_are_passed_over() -> None:
    assert pairs_of(AttentionHead(signed=True)(heads((0, 3, 7, 8)))) == pairs_of(
        AttentionHead(signed=True)(heads())
    )


def test_order_of_the_nodes_plays_no_part() -> None:
    data, order = heads(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = Data(x=data.x[order], layer=data.layer[order], head=data.head[order])
    back = {tuple(sorted((order[i].item(), order[j].item()))) for i, j in pairs_of(AttentionHead()(moved))}
    assert back == pairs_of(AttentionHead()(data))


def test_encoder_and_decoder_are_not_linked() -> None:
    data = heads((0, 1, 0, 1))
    data.role = ["encoder.layer.0.SelfAttention"] * 6 + ["decoder.layer.0.SelfAttention"] * 6
    assert all((i < 6) == (j < 6) for i, j in pairs_of(AttentionHead(signed=True)(data)))


def test_zero_row_has_no_edges_and_one_warning() -> None:
    data = heads()
    data.x[4] = 0.0
    with pytest.warns(NumericalWarning, match="1 of 12 feature rows are zero"):
        assert 4 not in AttentionHead()(data).edge_index


@pytest.mark.parametrize("field", ["layer", "head"])
@pytest.mark.parametrize("change", ["missing", "none", "one", "float"])
def test_nodes_without_layer_or_head_name_the_scheme(field: str, change: str) -> None:
    data = heads()
    if change == "missing":
        del data[field]
    elif change == "float":
        data[field] = data[field].float()
    else:
        data[field] = torch.where(torch.arange(12) < (12 if change == "none" else 1), -1, data[field])
    text = {
        "missing": f"data.{field}, which is missing.*'heads'",
        "none": f"12 of 12 nodes have no {field}.*'heads'",
        "one": f"1 of 12 nodes have no {field}.*'heads'",
        "float": f"whole numbers .* in data.{field}",
    }[change]
    with pytest.raises(ValueError, match=text):
        AttentionHead()(data)


def test_no_heads_and_one_head_have_no_edges() -> None:
    assert AttentionHead()(heads((), 1)).num_edges == 0
    assert AttentionHead()(heads((3,), 1)).num_edges == 0


@pytest.mark.parametrize(("reach", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_reach_is_checked_at_once(reach: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        AttentionHead(reach=reach)  # type: ignore[arg-type]
