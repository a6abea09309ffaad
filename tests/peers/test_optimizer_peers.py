"""L2-SP, GaLore and Grokfast by their own code or definition, where filter and penalty reduce to them."""

import copy

import pytest
import torch
from pytorch_optimizer import GaLore
from pytorch_optimizer.optimizer.grokfast import gradfilter_ema
from pytorch_optimizer.optimizer.utils.galore import GaLoreProjector
from torch import nn

from spectral_opt import SpectralConfig, attach


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(7, 6, bias=False), nn.Tanh(), nn.Linear(6, 8, bias=False))


def batch(step):
    return torch.randn(16, 7, generator=torch.Generator().manual_seed(step))


def loss(model, inputs):
    return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()


def train(model, optimizer, steps, after_backward=lambda: None, extra=lambda: 0.0):
    for step in range(steps):
        optimizer.zero_grad()
        (loss(model, batch(step)) + extra()).backward()
        after_backward()
        optimizer.step()


def assert_same(model, other, **tolerance):
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, **tolerance)


def gram_of_gradients(model, response, **fields):
    """The Gram matrix of the rows of the first gradient: its eigenvectors are the left singular vectors."""
    config = SpectralConfig(
        **({"builder": "gram", "shift": "adjacency", "targets": ["0"], "penalty": 0.0} | fields),
        response=response,
    )
    return config, {"batches": [batch(0)], "loss": loss}


@pytest.mark.parametrize("mode", ["gradient", "loss"])
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW], ids=["sgd", "adamw"])
def test_no_graph_and_ridge_one_is_l2_sp(model, mode, make):
    # 1802.01483: alpha / 2 ||w - w_0||^2 in the loss; penalty = alpha / 2.
    alpha, other = 0.8, copy.deepcopy(model)
    start = [parameter.detach().clone() for parameter in model.parameters()]

    def l2_sp():
        pairs = zip(other.parameters(), start, strict=True)
        return sum(alpha / 2 * (parameter - first).square().sum() for parameter, first in pairs)

    train(other, make(other.parameters(), lr=0.05), 5, extra=l2_sp)
    optimizer = make(model.parameters(), lr=0.05)
    config = SpectralConfig(builder=None, ridge=1.0, penalty=alpha / 2, penalty_mode=mode)
    handle = attach(model, optimizer, config)
    train(model, optimizer, 5, extra=handle.penalty if mode == "loss" else lambda: 0.0)
    # The same sums in another order, in float32; Adam divides by small numbers.
    assert_same(model, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(handle.penalty().detach(), l2_sp().detach())


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_an_ideal_low_pass_on_the_gram_matrix_of_the_first_gradient_is_galores_projection(model, rank):
    other = copy.deepcopy(model)
    loss(other, batch(0)).backward()
    gradient = other[0].weight.grad.clone()
    projector = GaLoreProjector(rank=rank, scale=1.0, projection_type="left")
    expected = projector.project_back(projector.project(gradient, 1))
    values = torch.linalg.svdvals(gradient.double()).square()
    values = values * len(values) / values.sum()
    cut = float((values[rank - 1] + values[rank]) / 2)  # strong modes are what an adjacency has on top
    config, calibration = gram_of_gradients(model, lambda eigenvalues: (eigenvalues > cut).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    attach(model, optimizer, config, **calibration)
    before = model[0].weight.detach().clone()
    train(model, optimizer, 1)
    found = before - model[0].weight.detach()
    # GaLore's float32 SVD; the difference of parameters of size 0.4.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-6)
    assert (gradient - expected).norm() > 1e-2 * gradient.norm()


def test_galore_at_full_rank_is_adam_in_the_basis_of_the_gram_matrix_of_the_first_gradient(model):
    other = copy.deepcopy(model)
    options = {"rank": None, "update_proj_gap": 1000, "scale": 1.0, "projection_type": "left"}
    # eps stands inside the bias correction in one and outside in the other: so small that it does not count.
    galore = GaLore(
        [{"params": [other[0].weight], **options}, {"params": [other[2].weight]}], lr=0.01, eps=1e-12
    )
    train(other, galore, 6)
    config, calibration = gram_of_gradients(model, "identity", placement="basis")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-12, weight_decay=0.0)
    attach(model, optimizer, config, **calibration)
    plain = copy.deepcopy(model)
    train(model, optimizer, 6)
    train(plain, torch.optim.AdamW(plain.parameters(), lr=0.01, eps=1e-12, weight_decay=0.0), 6)
    # GaLore's basis is a float32 SVD, ours float64; Adam divides what rounding leaves of weak modes.
    assert_same(model, other, rtol=1e-3, atol=1e-4)
    assert (model[0].weight - plain[0].weight).abs().max() > 5e-3


def test_grokfast_with_a_filter_that_is_the_identity_is_grokfast_bitwise(model):
    other = copy.deepcopy(model)
    states = {}
    for trained, response in ((model, "identity"), (other, None)):
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01)
        if response:
            attach(trained, optimizer, SpectralConfig(builder="ring", response=response, penalty=0.0))
        state = states.setdefault(id(trained), {})
        train(trained, optimizer, 4, lambda trained=trained, state=state: gradfilter_ema(trained, state))
    assert_same(model, other, rtol=0, atol=0)


def test_grokfasts_average_over_time_commutes_with_a_filter_over_the_graph(model):
    config = SpectralConfig(builder="ring", penalty=0.0, response="heat", response_options={"t": 3.0})
    start, other = copy.deepcopy(model), copy.deepcopy(model)
    first = torch.optim.SGD(model.parameters(), lr=0.05)
    attach(model, first, config)  # the filter acts in step(), after Grokfast
    state = {}
    train(model, first, 4, lambda: gradfilter_ema(model, state, alpha=0.8))

    second = torch.optim.SGD(other.parameters(), lr=0.05)
    # A second optimizer, whose step is the difference that the filter leaves, and Grokfast after it.
    probe = torch.optim.SGD(other.parameters(), lr=0.0)
    attach(other, probe, config)
    later = {}

    def filter_first():
        probe.step()
        gradfilter_ema(other, later, alpha=0.8)

    train(other, second, 4, filter_first)
    assert_same(model, other, rtol=1e-5, atol=1e-6)  # float32, another order
    plain = copy.deepcopy(start)
    average = {}
    train(
        plain,
        torch.optim.SGD(plain.parameters(), lr=0.05),
        4,
        lambda: gradfilter_ema(plain, average, alpha=0.8),
    )
    assert (plain[0].weight - model[0].weight).norm() > 1e-2
