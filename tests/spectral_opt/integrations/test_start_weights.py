import logging

import pytest
import torch
from torch import nn

from spectral_opt import SpectralConfig, attach
from spectral_opt.integrations import StartWeights

RING = {"builder": "ring", "targets": ["0"]}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))


def handle_on(model, **fields):
    return attach(model, torch.optim.SGD(model.parameters(), lr=0.1), SpectralConfig(**RING, **fields))


def change(model):
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[1].weight.add_(1.0)


def test_only_what_configs_act_on_is_kept(model):
    assert list(StartWeights(model, [SpectralConfig(**RING)]).tensors) == ["0.weight"]


def test_it_is_of_one_model_and_its_wrappers(model):
    start = StartWeights(model, [SpectralConfig(**RING)])
    assert start.is_of(model)
    assert start.is_of(torch.compile(model, backend="eager"))
    assert not start.is_of(nn.Sequential(nn.Linear(3, 8)))


def test_moved_names_what_has_changed(model):
    start = StartWeights(model, [SpectralConfig(**RING)])
    assert start.moved(model) == []
    change(model)
    assert start.moved(model) == ["0.weight"]


def test_a_handle_on_trained_weights_gets_the_delta_from_theta_0(model):
    start = StartWeights(model, [SpectralConfig(**RING)])
    checksum = handle_on(model).checksum
    with torch.no_grad():
        model[0].weight[0] += 1.0
    handle = handle_on(model, penalty=0.5)
    assert float(handle.penalty()) == 0.0
    start.give(handle)
    assert float(handle.penalty()) == pytest.approx(0.5 * 3)  # tr(X^T L X) of one row of ones: L_00 = 1
    assert torch.equal(handle.checksum, checksum)


def test_memory_is_shared_with_the_handle_and_the_rest_is_let_go(model):
    start = StartWeights(model, [SpectralConfig(**RING)])
    handle = handle_on(model)
    start.take(handle)
    assert start.tensors["0.weight"].data_ptr() == handle.start["0.weight"].data_ptr()
    filtering = StartWeights(model, [SpectralConfig(**RING)])
    filtering.take(handle_on(model, penalty=0.0))
    assert filtering.tensors == {}


def test_a_later_handle_gets_the_checksum_where_the_copies_are_gone(model):
    start, first = StartWeights(model, [SpectralConfig(**RING)]), handle_on(model, penalty=0.0)
    start.take(first)
    change(model)
    later = handle_on(model, penalty=0.0)
    start.give(later)
    assert torch.equal(later.checksum, first.checksum)


def test_a_start_without_the_handles_parameters_is_refused_and_changes_nothing(model, caplog):
    start = StartWeights(model, [SpectralConfig(**RING)])
    other = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), SpectralConfig(builder="ring"))
    before = other.checksum
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match=r"lacks \['1\.weight'\]"):
        start.give(other)
    assert torch.equal(other.checksum, before)
