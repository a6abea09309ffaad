import copy
import pickle

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import AddSelfLoops, Compose, Constant, ToUndirected

from paramgraph import (
    CosineKNN,
    NodeTable,
    ParameterGraph,
    ParameterSlice,
    graph_from_networkx,
    graph_to_networkx,
    rows,
    symmetrize,
)
from paramgraph.nodes import one_table


def matrix_slice(name, shape, order=(0, 1), bounds=None, at=(0, 0)):
    return ParameterSlice(name, shape, shape, bounds or tuple((0, n) for n in shape), order, 1, at)


def table_of(*slices, nodes):
    names = tuple(f"node {i}" for i in range(nodes))
    return NodeTable("group", "made up", slices, names, (0,) * nodes, (-1,) * nodes, ("role",) * nodes)


@pytest.fixture
def heads():
    """Two heads of size 3 over 4 features: their rows of q, then their columns of o."""
    q = ParameterSlice("q", (6, 4), (2, 3, 4), ((0, 2), (0, 3), (0, 4)), (0, 1, 2), 1)
    o = ParameterSlice("o", (4, 6), (4, 2, 3), ((0, 4), (0, 2), (0, 3)), (1, 2, 0), 1, (0, 12))
    return table_of(q, o, nodes=2)


@pytest.fixture
def weights(generator):
    return {"q": torch.randn(6, 4, generator=generator), "o": torch.randn(4, 6, generator=generator)}


def test_rows_are_a_view_of_the_parameter():
    W = torch.arange(6.0).reshape(2, 3)
    X = table_of(matrix_slice("w", (2, 3)), nodes=2).gather({"w": W})
    assert torch.equal(X, W)
    assert X.data_ptr() == W.data_ptr()


def test_columns_are_the_transpose():
    W = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(table_of(matrix_slice("w", (2, 3), (1, 0)), nodes=3).gather({"w": W}), W.T)


def test_tiles_are_nodes_row_by_row():
    W = torch.arange(16.0).reshape(4, 4)
    tiles = ParameterSlice("w", (4, 4), (2, 2, 2, 2), ((0, 2),) * 4, (0, 2, 1, 3), 2)
    X = table_of(tiles, nodes=4).gather({"w": W})
    assert X.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_heads_join_rows_of_one_matrix_with_columns_of_another(heads, weights):
    X = heads.gather(weights)
    assert heads.shape == (2, 24)
    assert torch.equal(X[1], torch.cat([weights["q"][3:].flatten(), weights["o"][:, 3:].T.flatten()]))


def test_fused_matrix_is_cut_by_row_ranges():
    fused = torch.arange(18.0).reshape(6, 3)
    key = matrix_slice("qkv", (6, 3), bounds=((2, 4), (0, 3)))
    assert torch.equal(table_of(key, nodes=2).gather({"qkv": fused}), fused[2:4])


def test_whole_matrices_are_one_node_each_across_depth():
    slices = [ParameterSlice(f"w{i}", (2, 2), (4,), ((0, 4),), (0,), 0, (i, 0)) for i in range(3)]
    X = table_of(*slices, nodes=3).gather({f"w{i}": torch.full((2, 2), float(i)) for i in range(3)})
    assert X.tolist() == [[i] * 4 for i in range(3)]


def test_partial_slice_scatters_zeros_elsewhere():
    part = matrix_slice("w", (3, 2), bounds=((1, 2), (0, 2)))
    assert table_of(part, nodes=1).scatter(torch.ones(1, 2))["w"].tolist() == [[0, 0], [1, 1], [0, 0]]


def test_two_slices_of_one_parameter_scatter_into_one_tensor(generator):
    W = torch.randn(4, 3, generator=generator)
    halves = [matrix_slice("w", (4, 3), bounds=((a, a + 2), (0, 3)), at=(a, 0)) for a in (0, 2)]
    table = table_of(*halves, nodes=4)
    assert table.parameters == ("w",)
    assert torch.equal(table.scatter(table.gather({"w": W}))["w"], W)


def test_scatter_of_heads_undoes_gather(heads, weights):
    for name, value in heads.scatter(heads.gather(weights)).items():
        assert torch.equal(value, weights[name])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_put_is_the_adjoint_of_take_for_any_slice(data):
    view = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    bounds = tuple(tuple(sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in view)
    order = tuple(data.draw(st.permutations(range(len(view)))))
    part = ParameterSlice("w", view, view, bounds, order, data.draw(st.integers(0, len(view))))
    source = torch.Generator().manual_seed(0)
    # Integers, so that both sums are exact.
    value = torch.randint(-9, 9, view, generator=source)
    block = torch.randint(-9, 9, (part.nodes, part.width), generator=source)
    assert (part.take(value) * block).sum() == (value * part.put(block)).sum()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept_both_ways(heads, weights, dtype):
    X = heads.gather({name: value.to(dtype) for name, value in weights.items()})
    assert X.dtype == dtype
    assert all(value.dtype == dtype for value in heads.scatter(X).values())


def test_gradients_flow_through_gather_and_scatter(heads, weights):
    leaves = {name: value.requires_grad_() for name, value in weights.items()}
    scattered = heads.scatter(2.0 * heads.gather(leaves))
    (scattered["q"].sum() + scattered["o"].square().sum() / 2).backward()
    assert torch.equal(leaves["q"].grad, torch.full((6, 4), 2.0))
    assert torch.equal(leaves["o"].grad, 4.0 * leaves["o"].detach())


def test_arguments_are_not_changed(heads, weights):
    copies = {name: value.clone() for name, value in weights.items()}
    X = heads.gather(weights)
    X_copy = X.clone()
    heads.scatter(X)
    assert torch.equal(X, X_copy)
    assert all(torch.equal(weights[name], copies[name]) for name in weights)


def test_a_table_without_nodes_has_the_shape_zero():
    table = table_of(nodes=0)
    assert table.shape == (0, 0)
    assert table.to_data(torch.zeros(0, 3)).num_nodes == 0


def test_missing_parameter_is_named(heads, weights):
    with pytest.raises(KeyError, match=r"needs the parameters \['o'\]"):
        heads.gather({"q": weights["q"]})


def test_parameter_of_another_shape_is_named(heads, weights):
    with pytest.raises(ValueError, match=r"parameter 'q' has shape \(5, 4\).*\(6, 4\)"):
        heads.gather({**weights, "q": weights["q"][:5]})


def test_scatter_of_another_shape_is_refused(heads):
    with pytest.raises(ValueError, match=r"shape \(2, 24\) \(nodes, width\); X has \(2, 23\)"):
        heads.scatter(torch.zeros(2, 23))


@pytest.mark.parametrize("shape", [(3, 4), (2,), (2, 4, 1)])
def test_features_without_a_row_per_node_are_refused(heads, shape):
    with pytest.raises(ValueError, match="2 nodes"):
        heads.to_data(torch.zeros(shape))


@pytest.mark.usefixtures("unchecked_types")
def test_features_that_are_no_tensor_are_refused(heads):
    with pytest.raises(TypeError, match="torch tensor, got list"):
        heads.to_data([[0.0], [1.0]])


@pytest.mark.parametrize("features", [0, 1, 50])
def test_data_takes_any_number_of_features(heads, features):
    assert heads.to_data(torch.zeros(2, features)).x.shape == (2, features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": (5,)}, "not as many entries"),
        ({"order": (0, 0)}, "permute"),
        ({"node_axes": 3}, "node_axes"),
        ({"bounds": ((0, 2), (0, 4))}, "bounds"),
        ({"bounds": ((0, 2),)}, "bounds"),
        ({"at": (-1, 0)}, "before the table"),
    ],
)
def test_impossible_slices_are_refused(change, message):
    fields = {"parameter": "w", "shape": (2, 3), "view": (2, 3), "bounds": ((0, 2), (0, 3)), "order": (0, 1)}
    with pytest.raises(ValueError, match=message):
        ParameterSlice(**{**fields, "node_axes": 1, **change})


def test_slices_beyond_the_nodes_are_refused():
    with pytest.raises(ValueError, match="ends at node 2"):
        table_of(matrix_slice("w", (2, 3)), nodes=1)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one entry per node"):
        NodeTable("g", "rows", (), ("a",), (), (-1,), ("r",))


def test_tables_cannot_be_changed(heads):
    with pytest.raises(AttributeError):
        heads.group = "other"


def test_one_table_is_not_all_tables_nor_a_name(heads):
    assert one_table(heads) == {"group": heads}
    with pytest.raises(TypeError, match="one NodeTable, got dict: pick one"):
        one_table({"group": heads})
    with pytest.raises(TypeError, match="got str"):
        one_table("group")


def built_graph() -> ParameterGraph:
    model = torch.nn.Sequential(torch.nn.Linear(4, 6))
    table = rows(model)["0.weight"]
    return CosineKNN(k=2)(table.to_data(table.gather(dict(model.named_parameters())).detach()))


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "clone": lambda data: data.clone(),
    "to": lambda data: data.to("cpu"),
    "pickle": lambda data: pickle.loads(pickle.dumps(data)),
    "transforms": Compose([ToUndirected(), AddSelfLoops(), Constant()]),
    "symmetrize": symmetrize,
    "subgraph": lambda data: data.subgraph(torch.tensor([0, 2, 3])),
    "from_dict": lambda data: ParameterGraph.from_dict(data.to_dict()),
    "collate": lambda data: next(iter(DataLoader([data, data], batch_size=2))).get_example(1),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_class_stays_on_the_way(way):
    before = built_graph()
    after = WAYS[way](before)
    assert type(after) is ParameterGraph
    assert "components" in after._repr_html_()


@pytest.mark.parametrize("way", ["copy", "deepcopy", "clone", "pickle", "collate"])
def test_all_fields_stay_on_the_way(way):
    before = built_graph()
    after = WAYS[way](before)
    assert set(after.keys()) == set(before.keys())
    assert all(torch.equal(after[key], value) for key, value in before if isinstance(value, torch.Tensor))
    assert after.role == before.role


def test_a_batch_of_graphs_is_a_batch_with_a_card():
    batch = Batch.from_data_list([built_graph(), built_graph()])
    assert isinstance(batch, Batch)
    assert batch.num_nodes == 12
    assert ">12<" in batch._repr_html_()


def test_saved_graph_is_loaded_again(tmp_path):
    torch.save(built_graph(), tmp_path / "graph.pt")
    assert type(torch.load(tmp_path / "graph.pt", weights_only=False)) is ParameterGraph


def test_plain_data_stays_plain():
    data = Data(x=torch.eye(3))
    assert type(CosineKNN(k=1)(data)) is Data
    assert not hasattr(data, "_repr_html_")


def test_graphs_from_networkx_have_a_card():
    assert type(graph_from_networkx(graph_to_networkx(built_graph()))) is ParameterGraph
