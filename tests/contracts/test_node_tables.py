"""What every table of every scheme guarantees, on every kind of model and every architecture."""

import pickle

import pytest
import torch

from paramgraph import node_tables
from paramgraph.nodes import SCHEMES, linear_layers


@pytest.fixture(scope="module")
def made():
    """The tables so far: values, which name parameters and hold none of a model."""
    return {}


@pytest.fixture(params=sorted(SCHEMES))
def tables(request, any_model, made):
    key = request.node.callspec.params["any_model"], request.param
    if key not in made:
        made[key] = tables_of(any_model, request.param)
    return made[key]


def tables_of(model, scheme):
    if scheme == "heads" and not has_attention(model):
        with pytest.raises(ValueError, match="heads need attention"):
            node_tables(model, "heads")
        return {}
    return node_tables(model, scheme)


def has_attention(model):
    return any("attention" in type(part).__name__.lower() for part in model.modules())


@pytest.fixture
def parameters(any_model):
    return {name: p.detach() for name, p in any_model.named_parameters()}


def test_scatter_is_the_adjoint_of_gather(tables, parameters, generator):
    # In float64, where the two sums of some thousand products differ by round-off of 1e-16 each.
    parameters = {name: p.double() for name, p in parameters.items()}
    for table in tables.values():
        X = torch.randn(table.shape, generator=generator, dtype=torch.float64)
        left = (table.gather(parameters) * X).sum()
        right = sum((parameters[name] * value).sum() for name, value in table.scatter(X).items())
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_scatter_undoes_gather_on_covered_parameters(tables, parameters):
    for table in tables.values():
        ones = table.scatter(torch.ones(table.shape))
        for name, value in table.scatter(table.gather(parameters)).items():
            covered = ones[name] != 0
            assert torch.equal(value[covered], parameters[name][covered])


def test_gather_keeps_dtype_and_passes_gradients_to_every_covered_entry(tables, parameters):
    for table in tables.values():
        leaves = {name: parameters[name].clone().requires_grad_() for name in table.parameters}
        X = table.gather(leaves)
        assert X.dtype == leaves[table.parameters[0]].dtype
        X.sum().backward()
        for name, ones in table.scatter(torch.ones_like(X)).items():
            assert torch.equal(leaves[name].grad, ones)


def test_every_node_is_described(tables):
    for group, table in tables.items():
        nodes, width = table.shape
        assert table.group == group
        assert width > 0
        assert len(table.names) == len(table.layer) == len(table.head) == len(table.role) == nodes
        assert len(set(table.names)) == nodes
        assert all(role for role in table.role)


def test_tables_name_parameters_of_the_model(tables, parameters):
    assert all(name in parameters for table in tables.values() for name in table.parameters)


def test_no_memory_belongs_to_two_nodes(tables, parameters):
    times = {}
    for table in tables.values():
        for name, ones in table.scatter(torch.ones(table.shape)).items():
            times[name] = times.get(name, 0.0) + ones
    assert all(count.max() <= 1.0 for count in times.values())
    starts = [parameters[name].data_ptr() for name in times]
    assert len(starts) == len(set(starts))


def test_rows_columns_blocks_and_layers_cover_the_same_parameters_and_heads_some(tables, any_model):
    covered = {name for table in tables.values() for name in table.parameters}
    targeted = {layer.parameter for layer in linear_layers(any_model)}
    scheme = next((table.scheme for table in tables.values()), "heads")
    assert covered <= targeted if scheme == "heads" else covered == targeted


def test_no_bias_belongs_to_a_node(tables, parameters):
    assert all(len(part.matrix_shape) == 2 for table in tables.values() for part in table.slices)
    assert all(part.shape == parameters[part.parameter].shape for t in tables.values() for part in t.slices)


def test_data_has_the_nodes_in_the_order_of_the_table(tables, parameters):
    for table in tables.values():
        features = table.gather(parameters)
        data = table.to_data(features)
        assert data.num_nodes == table.shape[0]
        assert data.x is features
        assert data.layer.tolist() == list(table.layer)
        assert data.head.dtype == torch.int64
        assert data.role == list(table.role)
        assert data.edge_index is None


def test_tables_survive_pickling_as_equal_values(tables):
    again = pickle.loads(pickle.dumps(tables))
    assert again == tables
    assert hash(tuple(again.values())) == hash(tuple(tables.values()))
