"""From a model to a graph in one call."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from paramgraph import (
    CosineKNN,
    GraphCache,
    NodeTable,
    NumericalWarning,
    Ring,
    UnknownNameError,
    build,
    check_graph,
    output_gradients,
    rows,
)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))


@pytest.fixture
def table(model: nn.Module) -> NodeTable:
    return rows(model)["0.weight"]


def test_graph_of_weights_is_the_builder_on_the_weights(model: nn.Module, table: NodeTable) -> None:
    graph = build(model, table, "cosine_knn", k=3)
    expected = CosineKNN(k=3)(Data(x=model[0].weight.detach()))
    assert torch.equal(graph.edge_index, expected.edge_index)
    assert torch.equal(graph.edge_weight, expected.edge_weight)
    assert graph.layer.shape == (12,)
    check_graph(graph)


def test_graph_says_where_it_comes_from(model: nn.Module, table: NodeTable) -> None:
    graph = build(model, table, "cosine_knn", k=3)
    assert graph.builder == repr(CosineKNN(k=3))
    assert graph.source == "weights"


def test_source_may_be_a_function(model: nn.Module, table: NodeTable) -> None:
    def squares(model: nn.Module, table: NodeTable, batches: object) -> torch.Tensor:
        return table.gather(dict(model.named_parameters())).detach() ** 2

    graph = build(model, table, CosineKNN(k=3), source=squares)
    assert torch.equal(graph.x, model[0].weight.detach() ** 2)
    assert graph.source.endswith("squares")


def test_gradients_reach_the_builder(model: nn.Module, table: NodeTable) -> None:
    numbers = torch.Generator().manual_seed(1)
    batches = [{"input": torch.randn(5, 6, generator=numbers)} for _ in range(3)]

    def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**batch).square().mean()

    graph = build(model, table, "gram", source="gradients", batches=batches, loss=loss)
    assert graph.num_nodes == 12
    assert graph.source == "gradients"


def test_any_callable_that_makes_a_graph_is_a_builder(model: nn.Module, table: NodeTable) -> None:
    assert build(model, table, Compose([CosineKNN(k=3), Ring()])).num_edges == 24
    assert build(model, table, lambda data: Ring()(data)).num_edges == 24


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_warning_names_the_table_also_where_its_graph_is_found(tmp_path: Path, is_cached: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.Linear(6, 12))
    with torch.no_grad():
        model[0].weight[:3] = 0.0
    model[1].weight = nn.Parameter(model[0].weight.detach().clone())
    for name, table in rows(model).items():
        with pytest.warns(NumericalWarning) as told:
            build(model, table, "cosine_knn", k=3, cache=GraphCache(tmp_path) if is_cached else None)
        assert [str(one.message) for one in told] == [
            f"3 of 12 feature rows are zero: these nodes get no edges (in {name})"
        ]


def test_a_builder_that_fails_has_told_its_warning(model: nn.Module, table: NodeTable) -> None:
    def doubtful(data: Data) -> Data:
        warnings.warn("doubtful", stacklevel=1)
        raise ValueError("no graph")

    with (
        pytest.warns(UserWarning, match=r"^doubtful \(in 0.weight\)$"),
        pytest.raises(ValueError, match="no graph"),
    ):
        build(model, table, doubtful)


def without_weights(data: Data) -> Data:
    data.edge_index = torch.tensor([[0, 1], [1, 0]])
    return data


def nothing(data: Data) -> None:
    return None


def half_of_the_nodes(data: Data) -> Data:
    return Ring()(Data(num_nodes=6))


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        (without_weights, "without_weights.* gave a broken graph: edge_weight is missing"),
        (nothing, "nothing.* gave a broken graph: expected a torch_geometric.data.Data, got NoneType"),
        (half_of_the_nodes, "half_of_the_nodes.* gave a graph of 6 nodes for a table of 12"),
    ],
)
def test_broken_graph_is_refused_by_the_builders_name(
    model: nn.Module, table: NodeTable, builder: object, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        build(model, table, builder)  # type: ignore[arg-type]


def test_graph_that_a_callable_keeps_is_not_written_on(model: nn.Module, table: NodeTable) -> None:
    kept = Ring()(Data(num_nodes=12))
    before = set(kept.keys())
    assert build(model, table, lambda data: kept).source == "weights"
    assert set(kept.keys()) == before


def test_builder_is_refused_before_features_are_collected(model: nn.Module, table: NodeTable) -> None:
    def never(*_: object) -> torch.Tensor:
        raise AssertionError("features were collected first")

    with pytest.raises(UnknownNameError, match="did you mean 'ring'"):
        build(model, table, "rings", source=never)


def test_builder_that_can_check_the_nodes_does_so_before_features_are_collected(
    model: nn.Module, table: NodeTable
) -> None:
    class Particular(CosineKNN):
        def check_nodes(self, nodes: int) -> None:
            raise ValueError(f"not for {nodes} nodes")

    def never(*_: object) -> torch.Tensor:
        raise AssertionError("features were collected first")

    with pytest.raises(ValueError, match="not for 12 nodes"):
        build(model, table, Particular(k=3), source=never)


def test_k_beyond_the_table_says_what_is_allowed(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="k=10 neighbours asked of a graph of 3 nodes; allowed: 1 to 2"):
        build(model, rows(model, targets=["2"])["2.weight"], "cosine_knn")


def test_model_stays_as_it_was(model: nn.Module, table: NodeTable) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    build(model, table, "gram")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(value.grad is None for value in model.parameters())


def test_options_of_a_source_are_apart_from_those_of_the_builder(generator):
    model = nn.Sequential(nn.Linear(3, 4))
    table, x = rows(model)["0.weight"], [torch.randn(5, 3, generator=generator)]
    options = {"objective": "labels", "seed": 3}
    graph = build(model, table, "cosine_knn", "output_gradients", x, source_options=options, k=2)
    assert torch.equal(graph.x, output_gradients(model, table, x, "labels", compress=True, seed=3))
    assert "k=2" in graph.builder
