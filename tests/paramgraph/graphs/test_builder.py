"""What builders declare, and plain callables in their place."""

import functools
import pickle
from dataclasses import dataclass, fields

import pytest
import torch
from torch_geometric.transforms import Compose, FaceToEdge, KNNGraph, RadiusGraph, ToUndirected

from paramgraph import (
    AttentionHead,
    Complete,
    CosineKNN,
    LayerAdjacency,
    Permuted,
    Ring,
    check_graph,
    get_builder,
    symmetrize,
)
from paramgraph.digests import readable
from paramgraph.graphs import Data, GraphBuilder, NullModel, as_builder, list_nulls


def plain(data: Data) -> Data:
    return Ring()(data)


@dataclass(frozen=True)
class Own(GraphBuilder):
    k: int = 2
    reads_features = False

    def forward(self, data: Data) -> Data:
        return Ring()(data)


class Foreign:
    """A class of another package, which inherits nothing of ours, and says what ours would."""

    reads_features = False
    is_null = True

    def __call__(self, data: Data) -> Data:
        return Ring()(data)

    def check_nodes(self, nodes: int) -> None:
        raise ValueError(f"not for {nodes} nodes")

    def scheme_refusal(self, scheme: str) -> str:
        return f"not for {scheme}"


def declared(builder: GraphBuilder) -> tuple[bool, bool, bool, str]:
    builder.check_nodes(1)
    return builder.reads_features, builder.is_null, builder.equivariant, builder.scheme_refusal("rows")


@pytest.mark.parametrize("given", [plain, functools.partial(plain), lambda data: data, KNNGraph(k=2)])
def test_a_plain_callable_reads_features_and_refuses_nothing(given) -> None:
    assert declared(as_builder(given)) == (True, False, False, "")
    assert repr(as_builder(given)) == readable(given)


def test_what_a_foreign_object_declares_by_the_same_names_counts() -> None:
    builder = as_builder(Foreign())
    assert (builder.reads_features, builder.is_null) == (False, True)
    assert builder.scheme_refusal("rows") == "not for rows"
    with pytest.raises(ValueError, match="not for 3 nodes"):
        builder.check_nodes(3)


def test_a_foreign_object_that_refuses_a_scheme_by_none_does_not_refuse_it() -> None:
    class Mild(Foreign):
        def scheme_refusal(self, scheme: str) -> None:
            return None

    assert as_builder(Mild()).scheme_refusal("rows") == ""


def test_a_callable_gets_and_gives_back_the_very_objects() -> None:
    data = Data(num_nodes=2)
    assert as_builder(lambda given: given)(data) is data
    assert as_builder(lambda given: None)(data) is None


def test_a_builder_is_left_as_it_is_and_a_name_is_looked_up() -> None:
    ring = Ring()
    assert as_builder(ring) is ring
    assert as_builder("cosine_knn", k=4) == CosineKNN(k=4)


def test_what_a_class_declares_is_no_option_of_it() -> None:
    assert [field.name for field in fields(Own)] == ["k"]
    assert not Own().reads_features
    assert pickle.loads(pickle.dumps(as_builder(plain))).short_name == "plain"


@pytest.mark.parametrize(
    ("inner", "reads"),
    [
        *[(Ring(), False), (Own(), False), ("complete", False), (LayerAdjacency(), False)],
        *[(CosineKNN(), True), (plain, True), (LayerAdjacency(weight="cosine"), True)],
    ],
)
def test_a_null_model_reads_features_where_its_builder_does(inner, reads: bool) -> None:
    assert Permuted(inner).reads_features is reads
    assert Permuted(Permuted(inner)).reads_features is reads
    assert pickle.loads(pickle.dumps(Permuted(inner))).reads_features is reads


def test_a_null_model_refuses_what_its_builder_refuses() -> None:
    null = Permuted(Permuted("cosine_knn"))
    null.check_nodes(11)
    with pytest.raises(ValueError, match="k=10 neighbours asked of a graph of 5 nodes"):
        null.check_nodes(5)
    assert "take 'heads'" in Permuted(AttentionHead()).scheme_refusal("rows")
    assert not Permuted(AttentionHead()).scheme_refusal("heads")


@pytest.mark.parametrize(
    ("builder", "name"),
    [
        (CosineKNN(k=2), "cosine_knn"),
        (Permuted("ring"), "permuted ring"),
        (Permuted(Permuted(Own())), "permuted permuted Own"),
        (plain, "plain"),
        (functools.partial(plain), "plain"),
        (KNNGraph(k=2), "KNNGraph"),
    ],
)
def test_tables_know_a_builder_by_its_name_and_a_null_by_both(builder, name: str) -> None:
    assert as_builder(builder).short_name == name


def test_nulls_are_listed() -> None:
    listed = [name for name in list_nulls() if not name.startswith("docs_")]
    assert listed == ["complete", "permuted", "random", "ring", "rotated"]
    assert isinstance(get_builder("permuted", builder=Complete()), NullModel)


def test_own_null_is_named_in_its_messages() -> None:
    @dataclass(frozen=True)
    class Nothing(NullModel):
        def forward(self, data: Data) -> Data:
            return self.inner(data)

    with pytest.raises(ValueError, match=r"Nothing: seed must be from 0"):
        Nothing("ring", seed=-1)
    assert torch.equal(Nothing("ring")(Data(num_nodes=4)).edge_index, Ring()(Data(num_nodes=4)).edge_index)


def neighbours(x, k, *_, **__):
    """What `knn_graph` of pyg-lib gives: from each of the k nearest nodes to the node."""
    nearest = torch.cdist(x, x).fill_diagonal_(torch.inf).topk(k, largest=False).indices
    return torch.stack([nearest.flatten(), torch.arange(len(x)).repeat_interleave(k)])


def test_a_transform_of_positions_takes_the_features_for_them(monkeypatch) -> None:
    monkeypatch.setattr("torch_geometric.nn.knn_graph", neighbours)
    data = Data(x=torch.arange(6.0)[:, None] ** 2, num_nodes=6)
    graph = check_graph(as_builder(Compose([KNNGraph(k=1), symmetrize]))(data))
    assert graph.edge_index[:, graph.edge_index[0] < graph.edge_index[1]].T.tolist() == [
        [0, 1], [1, 2], [2, 3], [3, 4], [4, 5]
    ]  # fmt: skip
    assert "pos" not in graph
    assert set(data.keys()) == {"x", "num_nodes"}


def test_positions_that_are_there_stay(monkeypatch) -> None:
    monkeypatch.setattr("torch_geometric.nn.knn_graph", neighbours)
    data = Data(x=torch.ones(3, 1), pos=torch.tensor([[0.0], [1.0], [5.0]]), num_nodes=3)
    graph = as_builder(KNNGraph(k=1))(data)
    assert graph.pos is data.pos
    assert [1, 2] in graph.edge_index.T.tolist()


@pytest.mark.parametrize(
    "transform", [KNNGraph(k=2), RadiusGraph(1.0), Compose([KNNGraph(k=2), ToUndirected()])]
)
def test_a_library_that_a_transform_lacks_is_named_with_what_needs_none(transform) -> None:
    with pytest.raises(ImportError, match=r"(?s)Graph.*requires '.*gaussian_knn` need no further library"):
        as_builder(transform)(Data(x=torch.ones(4, 2), num_nodes=4))


def test_a_field_that_a_transform_asks_for_is_a_sentence_and_no_bare_assertion() -> None:
    with pytest.raises(
        ValueError, match=r"FaceToEdge\(\) stopped at an assertion of PyG.*fields num_nodes, pos, x; what"
    ):
        as_builder(FaceToEdge())(Data(x=torch.ones(4, 2), num_nodes=4))
