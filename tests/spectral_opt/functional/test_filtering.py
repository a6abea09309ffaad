import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from paramgraph import (
    NodeTable,
    ParameterSlice,
    columns,
    heat,
    identity,
    laplacian,
    prepare_filter,
    rows,
    tikhonov,
)
from spectral_opt import filter_gradients, gradient_filter
from spectral_opt.functional import filter_in_place_of

SIZES = {"rows": (4, 3), "entries": (2, 3), "other": (5,)}
EDGE = laplacian(np.array([[0.0, 1.0], [1.0, 0.0]]), normalization=None)


def complete(nodes):
    return laplacian(np.ones((nodes, nodes)) - np.eye(nodes), normalization=None)


def test_tikhonov_on_a_complete_graph_shrinks_what_is_off_the_mean():
    G = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = filter_gradients({"w": G}, {"w": complete(5)}, tikhonov(0.4))["w"]
    mean = G.mean(0)
    torch.testing.assert_close(found, mean + (G - mean) / (1 + 0.4 * 5))


def test_responses_may_differ_by_name_and_be_given_by_name():
    G = {"a": torch.tensor([[2.0], [0.0]]), "b": torch.tensor([[2.0], [0.0]])}
    found = filter_gradients(G, {"a": EDGE, "b": EDGE}, {"a": "identity", "b": tikhonov(0.5)})
    assert torch.equal(found["a"], G["a"])
    torch.testing.assert_close(found["b"], torch.tensor([[1.5], [0.5]]))


def test_tables_place_the_nodes_on_columns():
    table = columns(nn.Sequential(nn.Linear(2, 3, bias=False)))
    G = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    found = filter_gradients({"0.weight": G}, {"0.weight": EDGE}, tikhonov(0.5), tables=table)["0.weight"]
    transposed = filter_gradients({"w": G.T}, {"w": EDGE}, tikhonov(0.5))["w"]
    torch.testing.assert_close(found, transposed.T)


def test_entries_outside_a_partial_table_keep_every_bit():
    part = ParameterSlice("w", (4, 3), (4, 3), ((1, 3), (0, 3)), (0, 1), 1)
    table = NodeTable("w", "rows", (part,), ("a", "b"), (-1, -1), (-1, -1), ("w", "w"))
    G = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    G[0] = -0.0
    found = filter_in_place_of({"w": G}, table, prepare_filter(EDGE, tikhonov(0.5)))["w"]
    assert torch.equal(found[[0, 3]], G[[0, 3]])
    assert torch.signbit(found[0]).all()
    assert not torch.equal(found[1:3], G[1:3])
    untouched = filter_in_place_of({"w": G}, table, prepare_filter(EDGE, identity()))["w"]
    assert torch.equal(untouched, G)


def test_other_gradients_are_handed_through():
    other = torch.ones(3)
    found = filter_gradients({"w": torch.ones(2, 1), "other": other}, {"w": EDGE}, heat(1.0))
    assert found["other"] is other


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_raises_and_is_named(value):
    G = torch.ones(2, 2)
    G[0, 0] = value
    with pytest.raises(ValueError, match=r"'w'.*NaN"):
        filter_gradients({"w": G}, {"w": EDGE}, heat(1.0))


def test_the_pair_lets_what_is_not_finite_stay_visible():
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    pair = gradient_filter({"0.weight": prepare_filter(EDGE, heat(1.0))}, rows(model))
    G = {"0.weight": torch.tensor([[float("nan"), 1.0], [1.0, 1.0]])}
    assert torch.isnan(pair.update(G, pair.init(G))[0]["0.weight"]).any()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("gradients", "operators", "responses", "options", "error"),
    [
        ({"w": torch.ones(3, 2)}, {"w": EDGE}, heat(1.0), {}, ValueError),
        ({"w": torch.ones(2, 2)}, {"v": EDGE}, heat(1.0), {}, KeyError),
        ({"w": torch.ones(2, 2)}, {"w": EDGE}, {"v": heat(1.0)}, {}, KeyError),
        ({"w": torch.ones(2, 2)}, {"w": EDGE}, heat(1.0), {"tables": {}}, KeyError),
        ({"w": torch.ones(2, 2)}, {"w": EDGE}, "heta", {}, ValueError),
        ({"w": torch.ones(2, 2)}, {"w": EDGE}, heat(1.0), {"method": "fft"}, ValueError),
    ],
    ids=["nodes", "gradient", "response", "table", "name", "method"],
)
def test_bad_input_raises(gradients, operators, responses, options, error):
    with pytest.raises(error):
        filter_gradients(gradients, operators, responses, **options)


def test_a_filter_without_a_table_raises():
    with pytest.raises(KeyError, match="no node table"):
        gradient_filter({"w": prepare_filter(EDGE, heat(1.0))}, {})


def test_the_pair_without_tables_has_the_rows_or_the_entries_of_a_gradient_as_nodes():
    G = {name: torch.randn(size, generator=torch.Generator().manual_seed(0)) for name, size in SIZES.items()}
    operators = {"rows": complete(4), "entries": complete(6)}
    pair = gradient_filter({name: prepare_filter(L, heat(0.2)) for name, L in operators.items()})
    found, state = pair.update(G, pair.init(G))
    expected = filter_gradients(G, operators, heat(0.2))
    assert all(torch.equal(found[name], expected[name]) for name in G)
    assert found["other"] is G["other"]
    assert int(state["count"]) == 1


def test_the_pair_without_tables_leaves_a_missing_gradient_alone_and_names_one_that_does_not_fit():
    pair = gradient_filter({"w": prepare_filter(complete(4), heat(0.2))})
    assert pair.update({"v": None}, pair.init())[0] == {"v": None}
    with pytest.raises(ValueError, match=r"'w'.*neither 4 rows nor 4 entries"):
        pair.update({"w": torch.ones(3, 3)}, pair.init())


def test_the_pair_lets_what_is_not_finite_be_seen():
    pair = gradient_filter({"w": prepare_filter(complete(4), heat(0.2))})
    broken = torch.ones(4, 2)
    broken[0, 0] = float("inf")
    assert not torch.isfinite(pair.update({"w": broken}, pair.init())[0]["w"][:, 0]).any()


@pytest.mark.parametrize("nodes", [0, 1], ids=["no nodes", "one node"])
def test_smallest_graphs_change_nothing_under_a_smoothing_response(nodes):
    G = torch.ones(nodes, 3)
    found = filter_gradients({"w": G}, {"w": laplacian(np.zeros((nodes, nodes)))}, heat(2.0))["w"]
    assert torch.equal(found, G)


@pytest.mark.parametrize(
    "convert", [torch.from_numpy, np.asarray, sp.csr_array], ids=["torch", "numpy", "scipy"]
)
def test_a_plain_symmetric_matrix_is_an_operator_too(convert):
    G = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    L = complete(5)
    found = filter_gradients({"w": G}, {"w": convert(L.to_dense())}, tikhonov(0.4))["w"]
    torch.testing.assert_close(found, filter_gradients({"w": G}, {"w": L}, tikhonov(0.4))["w"])


def test_a_parameter_without_a_gradient_keeps_none():
    gradients = {"v": None, "w": torch.tensor([[2.0], [0.0]])}
    found = filter_gradients(gradients, {"v": EDGE, "w": EDGE}, tikhonov(0.5))
    assert found["v"] is None
    torch.testing.assert_close(found["w"], torch.tensor([[1.5], [0.5]]))


def test_the_pair_hands_none_through():
    table = rows(nn.Sequential(nn.Linear(1, 2, bias=False)))
    pair = gradient_filter({"0.weight": prepare_filter(EDGE, tikhonov(0.5))}, table)
    assert pair.update({"0.weight": None}, pair.init({}))[0] == {"0.weight": None}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("arguments", [(torch.ones(2, 1), {"w": EDGE}), ({"w": torch.ones(2, 1)}, EDGE)])
def test_what_is_no_mapping_raises(arguments):
    with pytest.raises(TypeError, match=r"mapping|dict"):
        filter_gradients(*arguments, tikhonov(0.5))
