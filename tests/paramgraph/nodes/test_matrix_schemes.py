import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from paramgraph import blocks, columns, rows
from paramgraph.nodes._matrix_schemes import default_block


@pytest.mark.parametrize("layer", [nn.Linear(3, 5), Conv1D(5, 3)], ids=["Linear", "Conv1D"])
def test_rows_are_output_features_and_columns_input_features(layer, generator):
    model = nn.Sequential(layer)
    parameters = dict(model.named_parameters())
    x = torch.randn(1, 3, generator=generator)
    output = x @ rows(model)["0.weight"].gather(parameters).T + layer.bias
    torch.testing.assert_close(output, layer(x))
    assert columns(model)["0.weight"].shape == (3, 5)


def test_node_names_index_the_parameter_as_it_is_stored():
    assert rows(nn.Sequential(Conv1D(5, 3)))["0.weight"].names[4] == "0.weight[:, 4]"
    assert rows(nn.Sequential(nn.Linear(3, 5)))["0.weight"].names[4] == "0.weight[4]"


def test_each_block_is_what_its_name_says(generator):
    model = nn.Sequential(nn.Linear(4, 6))
    table = blocks(model, size=2)["0.weight"]
    weight = torch.randn(6, 4, generator=generator)
    X = table.gather({"0.weight": weight})
    for node, name in enumerate(table.names):
        assert torch.equal(X[node], eval(name.removeprefix("0."), {"weight": weight}).flatten())


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((384, 384), 64),
        ((384, 1536), 64),
        ((192, 576), 48),
        ((32, 32), 8),
        ((9, 5), 1),
        ((1, 1), 1),
        ((7, 700), 1),
    ],
)
def test_default_blocks_tile_and_leave_sixteen_where_they_can(shape, size):
    assert default_block(shape) == size
    assert shape[0] % size == shape[1] % size == 0


def test_each_matrix_has_its_own_default():
    model = nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 9))
    assert {name: table.shape for name, table in blocks(model).items()} == {
        "0.weight": (32, 64),
        "1.weight": (576, 1),
    }


def test_one_size_is_for_all_matrices():
    tables = blocks(nn.Sequential(nn.Linear(8, 4), Conv1D(4, 8)), size=4)
    assert [table.shape for table in tables.values()] == [(2, 16), (2, 16)]


def test_blocks_that_do_not_tile_are_named_with_a_size_that_does():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 6))
    with pytest.raises(
        ValueError, match=r"4 x 4 do not tile 1 of 2 .*1.weight \(6, 4\); take a divisor of 2"
    ):
        blocks(model, size=4)
    assert len(blocks(model, exclude=["1"], size=4)) == 1


@pytest.mark.parametrize(
    ("size", "error"),
    [(0, ValueError), (-2, ValueError), (2.0, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_a_size_that_is_no_count_is_refused(size, error):
    with pytest.raises(error, match="size must be"):
        blocks(nn.Sequential(nn.Linear(4, 4)), size=size)
