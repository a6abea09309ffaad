"""A decoupled penalty every n steps, against NumPy: closed forms of the delta, what a step skips, and resume."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import columns
from spectral_opt import SpectralConfig, attach, explain

from helpers.gradients import give_gradients

L2SP = {"builder": None, "ridge": 1.0, "penalty_mode": "decoupled"}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 4, bias=False)).double()


def inputs(model, table, batches):
    """Features of the columns: 9 inputs whose Gram matrix is dense and of full rank."""
    found = torch.randn(table.shape[0], 9, generator=torch.Generator().manual_seed(1))
    return found.double()


def gram(nodes=6):
    X = inputs(None, columns(nn.Sequential(nn.Linear(nodes, 4)))["0.weight"], None).numpy()
    return X @ X.T * nodes / np.trace(X @ X.T)


def train(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        give_gradients(model, seed=step)
        optimizer.step()


def test_every_nth_step_the_delta_is_filtered_by_the_graph_of_the_columns(model):
    # The filter of `preserve`, Delta (I + gamma C)^-1 with gamma = 2 x 3 steps x lr x penalty.
    lr, gamma = 0.1, 2.0
    config = SpectralConfig(
        builder="gram",
        scheme="columns",
        source=inputs,
        shift="adjacency",
        response=None,
        penalty=gamma / (2 * 3 * lr),
        penalty_mode="decoupled",
        penalty_every=3,
    )
    start = model[0].weight.detach().clone().numpy()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    handle = attach(model, optimizer, config)
    assert "every 3 steps, proximal in the complete basis" in handle.explanation.tables[0].penalty
    delta = np.zeros_like(start)
    for step in range(7):
        train(model, optimizer, 1, first=step)
        delta = delta - lr * model[0].weight.grad.numpy()
        if step in (2, 5):
            delta = delta @ np.linalg.inv(np.eye(6) + gamma * gram())
        # Float64 in parameters of size 1.
        np.testing.assert_allclose(model[0].weight.detach().numpy() - start, delta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("penalty", [0.1, 30.0], ids=["explicit", "proximal"])
def test_the_pull_of_n_steps_is_taken_at_once(model, penalty):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    attach(model, optimizer, SpectralConfig(**L2SP, penalty=penalty, penalty_on="weight", penalty_every=4))
    start = model[0].weight.detach().clone()
    train(model, optimizer, 3)
    assert torch.equal(model[0].weight, start)
    optimizer.param_groups[0]["lr"] = 0.01  # of the step in which it acts
    train(model, optimizer, 1)
    moved = start - 0.01 * model[0].weight.grad
    pull = 2 * 4 * 0.01 * penalty
    expected = (1 - pull) * moved if pull < 1 else moved / (1 + pull)
    torch.testing.assert_close(model[0].weight.detach(), expected)


def test_a_resumed_run_goes_on_in_the_middle_of_a_period(model):
    config = SpectralConfig(**L2SP, penalty=2.0, penalty_every=3)
    first, second = copy.deepcopy(model), copy.deepcopy(model)
    optimizer = torch.optim.SGD(first.parameters(), lr=0.1)
    handle = attach(first, optimizer, config)
    train(first, optimizer, 2)
    state, weights = handle.state_dict(), copy.deepcopy(first.state_dict())
    train(first, optimizer, 5, first=2)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    handle = attach(second, optimizer, config)
    handle.load_state_dict(state)
    second.load_state_dict(weights)
    train(second, optimizer, 5, first=2)
    assert torch.equal(first[0].weight, second[0].weight)


def test_a_step_that_a_scaler_skips_is_not_counted(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(**L2SP, penalty=2.0, penalty_every=2))
    train(model, optimizer, 1)
    optimizer.found_inf = torch.ones(())
    optimizer.grad_scale = torch.ones(())
    handle._steps.before(optimizer, (), {})
    assert not handle._steps.after(optimizer)
    assert handle._steps.count == 1


@pytest.mark.parametrize("mode", ["gradient", "loss"])
def test_other_modes_act_in_every_step(mode):
    with pytest.raises(ValueError, match=f"mode '{mode}' is part of every step's gradient"):
        SpectralConfig(penalty_mode=mode, penalty_every=2)


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_a_number_of_steps_is_whole_and_positive(every):
    with pytest.raises((ValueError, TypeError), match="penalty_every"):
        SpectralConfig(penalty_mode="decoupled", penalty_every=every)


def test_the_cost_of_a_step_is_an_nth(model):
    costs = [
        explain(model, SpectralConfig(**L2SP, penalty=1.0, penalty_every=every)).flops_per_step
        for every in (1, 5)
    ]
    assert costs[0] == pytest.approx(5 * costs[1])
    text = str(explain(model, SpectralConfig(**L2SP, penalty=1.0, penalty_every=5)))
    assert "decoupled on delta every 5 steps, explicit below lr 0.1" in text
    assert "after steps 5, 10, ..." in text
