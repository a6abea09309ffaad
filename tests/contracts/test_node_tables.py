"""What every table of every scheme guarantees, on every kind of model."""

import pickle

import pytest
import torch

from paramgraph.schemes import SCHEMES, node_tables


@pytest.fixture(params=sorted(SCHEMES))
def tables(request, measurable):
    return node_tables(measurable.model, request.param)


@pytest.fixture
def parameters(measurable):
    return {name: p.detach() for name, p in measurable.model.named_parameters()}


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
    leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    for table in tables.values():
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


def test_no_memory_belongs_to_two_tables(tables, parameters):
    touched = [parameters[name].data_ptr() for table in tables.values() for name in table.parameters]
    assert len(touched) == len(set(touched))


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
