"""What every registered builder keeps; a new file in `paramgraph/builders/` gets these tests by being there.

Options are found out, not listed: `k` becomes 3, a wrapped `builder` becomes `CosineKNN(k=3)`, and a class with
other required options names them in the class attribute `example_options`. A class that promises that
relabelling the nodes relabels the graph says so in the class attribute `equivariant`.
"""

import copy
import dataclasses
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform, Compose

from paramgraph import CosineKNN, check_graph, get_builder, graph_to_scipy, list_builders
from paramgraph.graphs import as_builder, builder_options, find_builder

NAMES = [name for name in list_builders() if not name.startswith("docs_")]


def example(name: str, **options: Any) -> Any:
    """Make a builder of this name with options that suit a small graph."""
    guesses: dict[str, Any] = {"k": 3, "builder": CosineKNN(k=3)}
    known = builder_options(name)
    chosen = {option: value for option, value in guesses.items() if option in known}
    declared = getattr(find_builder(name), "example_options", {})
    return get_builder(name, **(chosen | dict(declared) | options))


def refusal(builder: Any, data: Data) -> str | None:
    """Build and check; return the text of a ValueError, None if a graph came."""
    try:
        check_graph(builder(data))
    except ValueError as error:
        return str(error)
    return None


def nodes_with_features(nodes: int = 24, width: int = 7, dtype: torch.dtype = torch.float32) -> Data:
    source = torch.Generator().manual_seed(11)
    x = torch.randn(nodes, width, generator=source, dtype=torch.float64).to(dtype)
    return Data(
        x=x,
        layer=torch.arange(nodes) * 4 // max(nodes, 1),  # four layers, for the builders that look at depth
        head=torch.arange(nodes) % 6,
        role=["query"] * nodes,
    )


def same(left: Any, right: Any) -> bool:
    return torch.equal(left, right) if isinstance(left, Tensor) else bool(left == right)


def same_graph(left: Data, right: Data) -> bool:
    return (
        torch.equal(left.edge_index, right.edge_index)
        and torch.equal(left.edge_weight, right.edge_weight)
        and same(left.get("node_weight"), right.get("node_weight"))
    )


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_result_keeps_the_graph_contract(name: str) -> None:
    graph = check_graph(example(name)(nodes_with_features()))
    assert graph.num_nodes == 24
    assert graph.edge_index.dtype == torch.int64
    assert isinstance(graph.signed, bool)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_float64_where_features_are_and_float32_otherwise(name: str, dtype: torch.dtype) -> None:
    graph = check_graph(example(name)(nodes_with_features(dtype=dtype)))
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert graph.edge_weight.dtype == expected
    assert graph.x.dtype == dtype


def test_fields_of_the_nodes_travel_along_and_the_input_stays(name: str) -> None:
    data = nodes_with_features()
    before = copy.deepcopy(data.to_dict())
    graph = example(name)(data)
    assert set(data.to_dict()) == set(before)
    assert all(same(value, before[key]) for key, value in data.to_dict().items())
    assert all(same(graph[key], value) for key, value in before.items())
    assert graph.x is data.x


def test_same_seed_gives_the_same_graph_and_global_random_states_stay(name: str) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002  # is it untouched?
    first = example(name)(nodes_with_features())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert same_graph(first, example(name)(nodes_with_features()))


def test_integers_of_numpy_are_options_like_any_other(name: str) -> None:
    whole = {"k": 3, "seed": 0}
    options = {option: value for option, value in whole.items() if option in builder_options(name)}
    from_numpy = {option: np.int64(value) for option, value in options.items()}
    data = nodes_with_features()
    assert same_graph(example(name, **from_numpy)(data), example(name, **options)(data))


def test_graph_is_where_the_features_are_whatever_the_default_device(name: str) -> None:
    data = nodes_with_features()
    with torch.device("meta"):
        graph = example(name)(data)
    assert same_graph(graph, example(name)(data))


@pytest.mark.parametrize("name", [name for name in NAMES if "seed" in builder_options(name)])
def test_another_seed_gives_another_graph(name: str) -> None:
    data = nodes_with_features()
    assert not same_graph(example(name, seed=0)(data), example(name, seed=1)(data))


@pytest.mark.parametrize("name", [name for name in NAMES if as_builder(example(name)).equivariant])
def test_relabelled_nodes_give_the_relabelled_graph(name: str) -> None:
    builder = example(name)
    data = nodes_with_features(dtype=torch.float64)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(2))
    matrix = graph_to_scipy(builder(data)).toarray()
    moved = graph_to_scipy(builder(Data(x=data.x[order]))).toarray()
    # 1e-13: a Gram product sums in another order after relabelling; neighbours agree to the bit.
    np.testing.assert_allclose(moved, matrix[np.ix_(order, order)], rtol=0, atol=1e-13)


def test_second_application_forgets_the_first_graph(name: str) -> None:
    builder = example(name)
    once = builder(nodes_with_features())
    assert same_graph(builder(once), once)


def test_builder_works_in_a_chain_of_transforms(name: str) -> None:
    builder = example(name)
    assert same_graph(Compose([builder])(nodes_with_features()), builder(nodes_with_features()))


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(example(name), BaseTransform)])
def test_builder_describes_itself(name: str) -> None:
    builder = example(name)
    fields = ", ".join(
        f"{field.name}={getattr(builder, field.name)!r}" for field in dataclasses.fields(builder)
    )
    assert repr(builder) == f"{type(builder).__name__}({fields})"


@pytest.mark.parametrize("name", [name for name in NAMES if dataclasses.is_dataclass(example(name))])
def test_builder_is_a_frozen_value(name: str) -> None:
    builder = example(name)
    assert builder == example(name)
    assert hash(builder) == hash(example(name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        builder.anything = 1


def test_missing_features_name_their_source_or_are_not_needed(name: str) -> None:
    text = refusal(example(name), Data(num_nodes=24))
    assert text is None or "paramgraph.weights" in text


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused_or_not_needed(name: str, broken: float) -> None:
    data = nodes_with_features()
    data.x[[2, 5], 1] = broken
    text = refusal(example(name), data)
    assert text is None or "2 of 24 rows" in text


@pytest.mark.parametrize("nodes", [0, 1, 2, 3])
def test_few_nodes_give_a_graph_or_one_clear_refusal(name: str, nodes: int) -> None:
    text = refusal(example(name), nodes_with_features(nodes))
    assert text is None or f"{nodes} nodes" in text


@pytest.mark.filterwarnings("ignore::paramgraph.errors.NumericalWarning")
@pytest.mark.parametrize("kind", ["equal", "one_zero_row", "one_column", "huge", "tiny"])
def test_awkward_features_still_give_a_graph(name: str, kind: str) -> None:
    data = nodes_with_features(dtype=torch.float64)
    changes = {
        "equal": torch.ones_like(data.x),
        "one_zero_row": data.x * (torch.arange(24) != 5).double()[:, None],
        "one_column": data.x[:, :1],
        "huge": data.x * 1e200,
        "tiny": data.x * 1e-200,
    }
    data.x = changes[kind]
    check_graph(example(name)(data))


def test_hundred_nodes_take_less_than_a_second(name: str) -> None:
    data, builder = nodes_with_features(100, 64), example(name)
    builder(data)
    start = time.perf_counter()
    builder(data)
    assert time.perf_counter() - start < 1.0


class LabelledData(Data):
    """A `Data` of a user's own class."""


def test_class_of_the_data_survives(name: str) -> None:
    assert type(example(name)(LabelledData(**nodes_with_features().to_dict()))) is LabelledData


@pytest.mark.parametrize("name", [name for name in NAMES if {"k", "builder"} & set(builder_options(name))])
def test_too_few_nodes_are_refused_before_any_feature_is_collected(name: str) -> None:
    builder = example(name)
    builder.check_nodes(4)
    with pytest.raises(ValueError, match="k=3 neighbours asked of a graph of 3 nodes"):
        builder.check_nodes(3)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_whole_numbers_are_features_like_any_other(name: str, dtype: torch.dtype) -> None:
    data = nodes_with_features()
    data.x = (data.x * 10).to(dtype)
    as_numbers = nodes_with_features()
    as_numbers.x = data.x.float()
    assert same_graph(example(name)(data), example(name)(as_numbers))


def test_what_is_no_data_is_refused(name: str) -> None:
    with pytest.raises(TypeError):
        example(name)(torch.ones(3, 3))
