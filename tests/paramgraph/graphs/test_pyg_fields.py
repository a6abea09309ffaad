"""What PyG's own transforms, batches and converters leave in a graph is read by one rule, or refused by name."""

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from torch_geometric import transforms
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.utils import from_networkx, from_scipy_sparse_matrix

from paramgraph import (
    CosineKNN,
    Gram,
    Ring,
    adjacency,
    build,
    check_graph,
    connected_components,
    draw_graph,
    eigenpairs,
    get_builder,
    graph_from_networkx,
    graph_to_networkx,
    graph_to_scipy,
    heads,
    laplacian,
    rows,
    symmetrize,
)
from paramgraph.graphs import is_signed, layer_places, stated_weights


@pytest.fixture
def weighted():
    """A path of three nodes with the weights 3 and 6, as networkx has it."""
    graph = nx.path_graph(3)
    graph[0][1]["weight"], graph[1][2]["weight"] = 3.0, 6.0
    return graph


PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
WEIGHT = torch.tensor([3.0, 3.0, 6.0, 6.0])
FIELDS = {
    "edge_weight": {"edge_weight": WEIGHT},
    "edge_weight of one column": {"edge_weight": WEIGHT[:, None]},
    "weight": {"weight": WEIGHT},
    "whole weight": {"weight": WEIGHT.long()},
    "edge_attr": {"edge_attr": WEIGHT},
    "edge_attr of one column": {"edge_attr": WEIGHT[:, None]},
    "all alike": {"edge_weight": WEIGHT, "weight": WEIGHT.double(), "edge_attr": WEIGHT[:, None]},
    "weights beside features": {"edge_weight": WEIGHT, "edge_attr": torch.ones(4, 3)},
    "weights beside kinds": {"edge_weight": WEIGHT, "edge_attr": torch.ones(4, dtype=torch.int64)},
    "weights beside a matrix": {"edge_weight": WEIGHT, "weight": torch.ones(3, 7)},
}


@pytest.mark.parametrize("name", FIELDS)
def test_weights_are_read_from_the_field_that_has_them(name, weighted):
    wanted = laplacian(weighted, None).to_dense()
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        fields = {key: value[order] if len(value) == 4 else value for key, value in FIELDS[name].items()}
        data = Data(edge_index=PATH[:, order], num_nodes=3, **fields)
        np.testing.assert_array_equal(laplacian(data, None).to_dense(), wanted)
        np.testing.assert_array_equal(laplacian(check_graph(symmetrize(data)), None).to_dense(), wanted)
        np.testing.assert_array_equal(adjacency(data).to_dense(), nx.to_numpy_array(weighted))
        assert nx.utils.edges_equal(
            graph_to_networkx(data).edges(data="weight"), weighted.edges(data="weight")
        )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"edge_weight": WEIGHT, "edge_attr": 2 * WEIGHT},
            "edge_weight and edge_attr hold different weights",
        ),
        ({"edge_weight": WEIGHT, "weight": 2 * WEIGHT}, "edge_weight and weight hold different weights"),
        ({"weight": WEIGHT, "edge_attr": 2 * WEIGHT[:, None]}, "weight and edge_attr hold different weights"),
        ({"edge_attr": torch.ones(4, 3)}, r"edge_attr has the shape \(4, 3\).*set data.edge_weight"),
        ({"edge_attr": torch.ones(4, dtype=torch.int64)}, "edge_attr has .*int64.*set data.edge_weight"),
        ({"weight": torch.ones(4, 2)}, r"weight has the shape \(4, 2\)"),
        ({"edge_weight": [3.0, 3.0, 6.0, 6.0]}, "edge_weight has the type list"),
        ({"edge_weight": WEIGHT.numpy()}, "edge_weight has the type ndarray"),
        ({"edge_weight": 3.0}, "edge_weight has the type float"),
        ({"edge_attr": WEIGHT.numpy()}, "edge_attr has the type ndarray"),
        ({"weight": WEIGHT.tolist()}, "weight has the type list"),
    ],
)
def test_fields_that_disagree_or_are_no_weights_are_named(fields, text):
    data = Data(edge_index=PATH, num_nodes=3, **fields)
    for read in (laplacian, adjacency, symmetrize, graph_to_scipy, connected_components, graph_to_networkx):
        with pytest.raises(ValueError, match=text):
            read(data)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_weights_of_pygs_converters_and_transforms_arrive(weighted):
    wanted = laplacian(weighted, None).to_dense()
    np.testing.assert_array_equal(laplacian(from_networkx(weighted), None).to_dense(), wanted)
    grouped = from_networkx(weighted, group_edge_attrs=["weight"])
    np.testing.assert_array_equal(laplacian(grouped, None).to_dense(), wanted)
    edge_index, weight = from_scipy_sparse_matrix(nx.to_scipy_sparse_array(weighted))
    found = Data(edge_index=edge_index, edge_weight=weight, num_nodes=3)
    np.testing.assert_array_equal(laplacian(found, None).to_dense(), wanted)
    sparse = transforms.ToSparseTensor(attr="edge_weight")(
        Data(edge_index=PATH, edge_weight=WEIGHT, num_nodes=3)
    )
    assert sparse.edge_index is None
    np.testing.assert_array_equal(laplacian(sparse, None).to_dense(), wanted)
    apart = transforms.Distance(norm=False)(
        Data(edge_index=PATH, pos=torch.tensor([[0.0], [3.0], [9.0]]), num_nodes=3)
    )
    np.testing.assert_array_equal(laplacian(apart, None).to_dense(), wanted)


def test_diffusion_of_pyg_keeps_its_weights():
    ring = Ring()(Data(num_nodes=12))
    diffused = transforms.GDC(
        sparsification_kwargs={"method": "topk", "k": 5, "dim": 0},
        diffusion_kwargs={"method": "ppr", "alpha": 0.15},
    )(Data(edge_index=ring.edge_index, num_nodes=12))
    W = np.zeros((12, 12))
    W[tuple(diffused.edge_index.numpy())] = diffused.edge_attr.numpy()
    np.fill_diagonal(W, 0)
    both = np.where((W > 0) & (W.T > 0), (W + W.T) / 2, W + W.T)
    np.testing.assert_allclose(graph_to_scipy(symmetrize(diffused)).toarray(), both, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:random")
def test_a_builder_around_a_transform_keeps_its_weights():
    nodes = Data(num_nodes=3, pos=torch.tensor([[0.0], [3.0], [9.0]]))

    def line(data):
        data = data.clone()
        data.edge_index = PATH
        return transforms.Distance(norm=False)(data)

    for null in ("permuted", "random"):
        found = get_builder(null, builder=transforms.Compose([line, symmetrize]))(nodes)
        assert sorted(found.edge_weight.tolist()) == [3.0, 3.0, 6.0, 6.0]
    rotated = get_builder("rotated", builder=line)(nodes)
    values = np.linalg.eigvalsh(adjacency(rotated).to_dense())
    np.testing.assert_allclose(values, np.linalg.eigvalsh(adjacency(line(nodes)).to_dense()), atol=1e-5)


def test_edges_of_a_new_graph_leave_no_weights_of_an_earlier_one(weighted):
    graph = Ring()(from_networkx(weighted))
    assert "weight" not in graph
    assert stated_weights(graph).unique().tolist() == [1.0]


@pytest.fixture
def table():
    return rows(torch.nn.Sequential(torch.nn.Linear(5, 8)))["0.weight"]


@pytest.mark.parametrize("loader", [False, True])
def test_signs_survive_a_batch(table, loader, generator):
    signed, plain = (
        [builder(table.to_data(torch.randn(8, 5, generator=generator))) for _ in range(2)]
        for builder in (Gram(), CosineKNN(k=3))
    )
    batch = (lambda graphs: next(iter(DataLoader(graphs, batch_size=2)))) if loader else Batch.from_data_list
    assert is_signed(batch(signed))
    assert not is_signed(batch(plain))
    whole = adjacency(batch(signed)).to_dense()
    np.testing.assert_array_equal(whole[8:, 8:], adjacency(signed[1]).to_dense())
    assert check_graph(symmetrize(batch(signed))).signed is True
    assert laplacian(batch(signed), signed=True).nodes == laplacian(batch(plain)).nodes == 16
    with pytest.raises(ValueError, match="signed=True"):
        laplacian(batch(signed))
    assert "signed" in batch(signed)._repr_html_()
    assert is_signed(Data(signed=[None, [False, np.True_]]))
    assert not is_signed(Data(signed=["yes", None]))
    assert is_signed(batch(signed)[0])
    assert get_builder("permuted", builder=lambda data: data)(batch(signed)).signed is True


def test_roles_of_a_batch_are_one_a_node_and_a_virtual_node_is_named(random_model, table, generator):
    model, _ = random_model("T5")
    of_heads = heads(model)["query"]
    one = of_heads.to_data(torch.randn(of_heads.shape[0], 3, generator=generator))
    assert torch.equal(
        layer_places(Batch.from_data_list([one]), "here", "'heads'"), layer_places(one, "here", "'heads'")
    )
    graph = CosineKNN(k=3)(table.to_data(torch.randn(8, 5, generator=generator)))
    batch = Batch.from_data_list([graph, graph])
    assert [role for _, role in graph_to_networkx(batch).nodes(data="role")] == 2 * list(table.role)
    draw_graph(batch, color="role")
    more = transforms.VirtualNode()(graph)
    assert laplacian(more).nodes == 9
    for read in (graph_to_networkx, lambda data: layer_places(data, "here", "'rows'")):
        with pytest.raises(ValueError, match=r"names 8 nodes, but there are 9|have no layer"):
            read(more)


def test_a_graph_says_which_parameter_it_is_of(table):
    model = torch.nn.Sequential(torch.nn.Linear(5, 8))
    graph = build(model, table, "cosine_knn", k=3)
    assert graph.parameter == "0.weight"
    assert "parameter='0.weight'" in repr(graph)
    assert "0.weight" in graph._repr_html_()
    for null in ("permuted", "random", "rotated"):
        assert get_builder(null, builder=CosineKNN(k=3))(graph).parameter == "0.weight"
    assert symmetrize(graph).parameter == "0.weight"
    assert Batch.from_data_list([graph, graph]).parameter == ["0.weight", "0.weight"]
    assert graph_from_networkx(graph_to_networkx(graph)).parameter == "0.weight"


@pytest.mark.parametrize(
    "weight", [None, "2", 1j, float("nan"), -float("inf"), 2**1024], ids="{!s:.9}".format
)
def test_a_weight_of_networkx_that_is_no_number_is_named(weight):
    graph = nx.Graph([("a", "b", {"weight": 1.0}), ("b", "c", {"weight": weight})])
    for read in (laplacian, adjacency, graph_from_networkx):
        with pytest.raises(ValueError, match=r"the edge \('b', 'c'\) has the weight .* which is no number"):
            read(graph)


def test_directed_graphs_are_read_where_both_directions_agree_and_refused_elsewhere():
    one_way = nx.DiGraph([(0, 1, {"weight": 2.0}), (1, 0, {"weight": 3.0})])
    for read in (laplacian, adjacency, graph_from_networkx):
        with pytest.raises(ValueError, match="the graph is directed, and not symmetric"):
            read(one_way)
    with pytest.raises(ValueError, match="edge_weight is not symmetric"):
        laplacian(from_networkx(one_way))
    both = nx.path_graph(4).to_directed()
    np.testing.assert_array_equal(laplacian(both).to_dense(), laplacian(nx.path_graph(4)).to_dense())
    parallel = nx.MultiGraph([(0, 1, {"weight": 2.0}), (0, 1, {"weight": 3.0})])
    assert adjacency(parallel).to_dense()[0, 1] == 5


def test_the_diagonal_of_a_graph_comes_back_from_networkx(generator):
    graph = Gram()(Data(x=torch.randn(6, 3, generator=generator), num_nodes=6))
    np.testing.assert_array_equal(adjacency(graph_to_networkx(graph)).to_dense(), adjacency(graph).to_dense())


def test_indices_are_narrow_where_they_fit_as_scikit_learn_and_scipy_want_them(generator):
    features = torch.randn(30, 4, generator=generator)
    graph = CosineKNN(k=3, connect="mst")(Data(x=features, num_nodes=30))
    operators = [laplacian(graph, one) for one in ("sym", "rw", None)]
    for matrix in (graph_to_scipy(graph), *(one.to_scipy() for one in (*operators, adjacency(graph)))):
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    labels = SpectralClustering(3, affinity="precomputed", random_state=0).fit_predict(graph_to_scipy(graph))
    assert len(set(labels.tolist())) == 3
    for one, other in itertools.pairwise(operators[:2]):
        torch.testing.assert_close(eigenpairs(one, k=4).eigenvalues, eigenpairs(other, k=4).eigenvalues)
