import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import Gram, adjacency, collect, columns, eigenpairs, product_energy, rows
from paramgraph.mapped_memory import MappedMemory
from paramgraph.measures import BLOCK, second_moments


def input_operators(model, tables, batches):
    found = second_moments(model, tables, "activations", batches)
    return {group: found.operator(group) for group in tables}


def test_operators_are_those_of_the_gram_builder_on_activations(tiny_transformer, tiny_batches):
    tables = columns(tiny_transformer)
    features = collect(tiny_transformer, tables, "activations", batches=tiny_batches)
    found = input_operators(tiny_transformer, tables, tiny_batches)
    for group, table in tables.items():
        expected = adjacency(Gram()(table.to_data(features[group]))).matrix
        # The builder's features and edges are float32: a few roundings of entries of order 1.
        torch.testing.assert_close(
            torch.from_numpy(found[group].matrix), torch.from_numpy(expected), rtol=0, atol=2e-5
        )


def test_layers_with_the_same_input_share_one_operator_and_others_do_not(tiny_transformer, tiny_batches):
    found = input_operators(tiny_transformer, columns(tiny_transformer), tiny_batches)
    start = "bert.encoder.layer.0.attention."
    query, key, value = (found[f"{start}self.{name}.weight"] for name in ("query", "key", "value"))
    assert query is key is value
    assert query is not found[f"{start}output.dense.weight"]
    assert query is not found["bert.encoder.layer.1.attention.self.query.weight"]


class Parting(nn.Module):
    """Two layers that read the same input for the first batch alone."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.one(x) + self.other(x if x[0, 0] > 0 else 2 * x - 1)


@pytest.mark.parametrize("order", [(1, -1), (-1, 1), (1, 1, -1)])
def test_layers_whose_inputs_part_later_are_not_shared(order):
    model = Parting()
    batches = [
        sign * torch.rand(4, 3, generator=torch.Generator().manual_seed(at)) for at, sign in enumerate(order)
    ]
    found = input_operators(model, columns(model), batches)
    inputs = torch.cat([x if x[0, 0] > 0 else 2 * x - 1 for x in batches]).double()
    C = inputs.T @ inputs
    expected = C * 3 / C.trace()
    # float32 products of entries of order 1.
    torch.testing.assert_close(torch.from_numpy(found["other.weight"].matrix), expected, rtol=0, atol=1e-6)
    assert found["one.weight"] is not found["other.weight"]


def test_a_layer_that_is_called_twice_counts_both_calls():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    (operator,) = input_operators(model, columns(model), [x]).values()
    inputs = torch.cat([x, torch.tanh(layer(x))]).detach().double()
    C = inputs.T @ inputs
    torch.testing.assert_close(torch.from_numpy(operator.matrix), C * 3 / C.trace(), rtol=0, atol=1e-6)


def test_blocks_make_the_whole_symmetric_matrix():
    nodes = BLOCK + 7
    model = nn.Sequential(nn.Linear(nodes, 2))
    x = torch.randn(20, nodes, generator=torch.Generator().manual_seed(0))
    found = torch.from_numpy(input_operators(model, columns(model), [x[:9], x[9:]])["0.weight"].matrix)
    C = x.double().T @ x.double()
    assert torch.equal(found, found.T)
    torch.testing.assert_close(
        found, C * nodes / C.trace(), rtol=0, atol=1e-5
    )  # float32 products of 20 terms


def test_zero_inputs_raise_and_name_the_table():
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"'0\.weight' are zero"):
        input_operators(model, columns(model), [torch.zeros(4, 3)])


def test_moments_and_energies_in_files_are_the_same(tiny_transformer, tiny_batches):
    memory = MappedMemory()
    tables, batches = rows(tiny_transformer, exclude=["pooler.dense"]), tiny_batches[:1]
    plain, kept = (
        second_moments(tiny_transformer, tables, "output_gradients", batches, memory=where)
        for where in (None, memory)
    )
    group = "bert.encoder.layer.0.output.dense.weight"
    np.testing.assert_array_equal(plain.operator(group).to_dense(), kept.operator(group).to_dense())
    modes, again = (eigenpairs(one.take(group)).eigenvectors.float() for one in (plain, kept))
    assert torch.equal(plain.keep(modes), kept.keep(again))
    one = {group: tables[group]}
    bases = {group: (torch.eye(32), torch.eye(64))}
    energies = [
        product_energy(tiny_transformer, one, bases, batches, memory=where)[group].values
        for where in (None, memory)
    ]
    assert torch.equal(*energies)
    # A sum of each table, which becomes its operator; a basis of one, and its energies.
    assert memory.size == sum(8 * table.shape[0] ** 2 for table in tables.values()) + 4 * 32**2 + 4 * 32 * 64
