import random

import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import collect, rows
from paramgraph.sources import RandomStates, evaluation, passes

from helpers.tiny_architectures import make


def draw(*_):
    return torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002


class Counting(nn.Module):
    """A module whose buffers change in every mode: one in place, one by assignment."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.full((2,), float("nan")))

    def forward(self, x):
        self.calls += 1
        self.last = x
        return x


def test_random_states_are_as_before_between_any_two_batches():
    before = RandomStates.capture()
    expected = draw()
    before.restore()
    stream = passes(nn.Identity(), range(3), draw)
    next(stream)
    state = RandomStates.capture()
    assert draw() == expected
    state.restore()
    next(stream)
    assert draw() == expected


def test_inside_the_random_stream_goes_on_from_batch_to_batch():
    before = RandomStates.capture()
    expected = [draw() for _ in range(3)]
    before.restore()
    assert list(passes(nn.Identity(), range(3), draw)) == expected


def test_a_shuffling_data_loader_leaves_the_random_state_alone():
    loader = torch.utils.data.DataLoader(list(range(8)), batch_size=2, shuffle=True)
    before = torch.get_rng_state()
    batches = list(passes(nn.Identity(), loader, lambda index, batch: batch))
    assert sorted(torch.cat(batches).tolist()) == list(range(8))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_submodule_gets_its_own_training_flag_back():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2)))
    model.train()
    model[1].eval()
    with evaluation(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False, False]


def test_overridden_train_is_not_called():
    class Refusing(nn.Module):
        def train(self, mode=True):
            raise AssertionError("measured models are not switched by train()")

    with evaluation(Refusing()):
        pass


def test_buffers_are_restored_in_place_and_by_identity():
    model = Counting()
    buffers = dict(model.named_buffers())
    with evaluation(model):
        model(torch.ones(3))
    assert {name: id(buffer) for name, buffer in model.named_buffers()} == {
        n: id(b) for n, b in buffers.items()
    }
    assert model.calls == 0
    assert model.last.isnan().all()


def test_mode_and_random_states_come_back_after_an_exception():
    model = nn.Sequential(nn.Dropout()).train()

    def step(index, batch):
        draw()
        raise RuntimeError("broken")

    before = random.getstate()
    with pytest.raises(RuntimeError, match="broken"):
        list(passes(model, [1], step))
    assert random.getstate() == before
    assert model[0].training


def test_no_batches_is_an_error():
    with pytest.raises(ValueError, match="batches is empty"):
        list(passes(nn.Identity(), iter(()), draw))


def test_missing_batches_are_an_error():
    with pytest.raises(ValueError, match="needs batches"):
        list(passes(nn.Identity(), None, draw))


@pytest.mark.parametrize("one_batch", [{"input_ids": 1}, torch.ones(2, 3), "text"])
def test_one_batch_instead_of_several_is_an_error(one_batch):
    with pytest.raises(TypeError, match="iterable of batches"):
        list(passes(nn.Identity(), one_batch, draw))


@pytest.mark.parametrize("source", ["gradients", "activations", "output_gradients"])
def test_texts_without_anything_for_a_decoder_are_told_in_one_line(source):
    model = make("T5")
    with pytest.raises(ValueError, match=r"T5For.* has an encoder and a decoder, and a batch with input_ids"):
        collect(model, rows(model), source, [{"input_ids": torch.arange(1, 7)[None]}])
