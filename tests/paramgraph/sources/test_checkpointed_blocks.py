"""Blocks that run twice: the gradients are the same, fewer bytes are kept, and no trace is left."""

import pytest
import torch
from torch import nn

from paramgraph.nodes import rows
from paramgraph.sources import blocks_of, checkpointed_blocks, collect

from helpers.tiny_architectures import make


class Stack(nn.Module):
    """Blocks in a list, of which each has a list of its own; and another list of no blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])[0], nn.GELU(), nn.Linear(4, 4))
            for _ in range(3)
        )
        self.empty = nn.ModuleList([nn.GELU(), nn.GELU()])

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def test_blocks_are_the_members_of_the_outermost_lists():
    stack = Stack()
    assert blocks_of(stack) == list(stack.blocks)
    assert blocks_of(nn.Sequential(nn.Linear(2, 2))) == []
    two = make("T5")
    assert blocks_of(two) == [*two.encoder.block, *two.decoder.block]


@pytest.mark.parametrize("name", ["Llama", "T5"])
def test_output_gradients_are_the_same(name):
    model = make(name)
    caching = [getattr(part.config, "use_cache", None) for part in model.modules() if hasattr(part, "config")]
    batch = {"input_ids": torch.arange(1, 13).reshape(2, 6)}
    batch |= {"decoder_input_ids": batch["input_ids"]} if name == "T5" else {}
    options = {"objective": "representation", "seed": 3}
    plain = collect(model, rows(model), "output_gradients", batches=[batch], options=options)
    with checkpointed_blocks(model):
        again = collect(model, rows(model), "output_gradients", batches=[batch], options=options)
    for group, expected in plain.items():
        # Rounding of float32: without a cache T5 lays its keys out otherwise, and adds in another order.
        torch.testing.assert_close(again[group], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert caching == [
        getattr(part.config, "use_cache", None) for part in model.modules() if hasattr(part, "config")
    ]
    assert "forward" not in {name for block in blocks_of(model) for name in vars(block)}


def kept_bytes(run):
    """Count what autograd keeps of a forward pass."""
    sizes = []

    def pack(tensor):
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(sizes)


def test_what_flows_between_blocks_alone_is_kept():
    stack = Stack()
    x = torch.ones(5, 4, requires_grad=True)
    whole = kept_bytes(lambda: stack(x))
    with checkpointed_blocks(stack):
        assert kept_bytes(lambda: stack(x)) == 3 * x.nbytes < whole
        with torch.no_grad():
            stack(x)


def test_a_forward_of_ones_own_is_there_again():
    stack = Stack()
    own = stack.blocks[1].forward = lambda x: 2 * x
    with checkpointed_blocks(stack):
        assert torch.equal(stack.blocks[1](torch.ones(2, 4)), torch.full((2, 4), 2.0))
    assert stack.blocks[1].forward is own
    assert "forward" not in vars(stack.blocks[0])
