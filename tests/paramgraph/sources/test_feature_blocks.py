"""Features of many layers side by side."""

import pytest
import torch

from paramgraph.sources._feature_blocks import FeatureBlocks


def test_pieces_of_the_same_nodes_and_block_are_further_columns():
    blocks = FeatureBlocks(2)
    for value in (1.0, 2.0):
        blocks.add("", 0, torch.full((1, 2), value))
        blocks.add("", 1, torch.full((1, 2), -value))
    assert blocks.take().tolist() == [[1, 1, 2, 2], [-1, -1, -2, -2]]


def test_taking_begins_anew():
    blocks = FeatureBlocks(1)
    for value in (1.0, 2.0):
        blocks.add("", 0, torch.full((1, 1), value))
        assert blocks.take().tolist() == [[value]]


def test_nodes_of_one_block_must_see_as_many_tokens():
    blocks = FeatureBlocks(2)
    blocks.add("self", 0, torch.ones(1, 2))
    blocks.add("self", 1, torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"different numbers of tokens \(\[2, 3\] features each in 'self'\)"):
        blocks.take()
