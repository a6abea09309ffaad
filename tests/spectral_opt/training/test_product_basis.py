"""The optimizer in the bases of a row graph and a column graph, against the same optimizer run by hand."""

import copy
import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from spectral_opt import SpectralConfig, attach, explain, prepare

from helpers.gradients import give_gradients

FIELDS = {
    "builder": "gram",
    "shift": "adjacency",
    "scheme": "entries",
    "source": "weights",
    "targets": ["0"],
    "penalty": 0.0,
    "placement": "basis",
}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.3)


def train(model, optimizer, steps):
    for step in steps:
        give_gradients(model, seed=step)
        optimizer.step()


def gram(X):
    return X @ X.T * len(X) / X.square().sum()


@pytest.mark.parametrize("response", ["identity", "heat"])
def test_the_increment_is_that_of_the_optimizer_between_both_bases(model, response):
    theta, other = model[0].weight.detach().clone(), copy.deepcopy(model)
    optimizer = adamw(model.parameters())
    options = {"t": 0.3} if response == "heat" else {}
    handle = attach(model, optimizer, SpectralConfig(**FIELDS, response=response, response_options=options))
    assert "U^T G V" in str(handle.explanation)
    U, V = handle._steps.tables[0].bases
    b, a = (torch.linalg.multi_dot([W.T, gram(X), W]).diagonal() for W, X in ((U, theta), (V, theta.T)))
    # The eigenvalues of the sum; heat, which is separable, needs both bases here too.
    gain = torch.ones(6, 4) if response == "identity" else torch.exp(-0.3 * (b[:, None] + a))
    rotated = nn.Parameter(U.T @ theta @ V)
    alone = adamw([rotated])
    for step in range(3):
        give_gradients(other, seed=step)
        rotated.data = U.T @ theta @ V
        before = rotated.detach().clone()
        rotated.grad = U.T @ other[0].weight.grad @ V
        alone.step()
        theta = theta + U @ (gain * (rotated.detach() - before)) @ V.T
    train(model, optimizer, range(3))
    torch.testing.assert_close(model[0].weight.detach(), theta, rtol=1e-9, atol=1e-10)  # float64
    assert (theta - other[0].weight).norm() > 0.01


def test_momentum_follows_bases_that_change(model, caplog):
    results = []
    for fields in ({"refresh": 1, "response": "identity"}, {"response": None}):
        twin = copy.deepcopy(model)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
        attach(twin, optimizer, SpectralConfig(**FIELDS, **fields))
        train(twin, optimizer, range(4))
        results.append(twin[0].weight.detach())
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-10)  # float64
    optimizer = adamw(model.parameters())
    handle = attach(model, optimizer, SpectralConfig(**FIELDS, refresh=1))
    U, V = handle._steps.tables[0].bases
    with caplog.at_level(logging.INFO, "spectral_opt.training.refresh"):
        train(model, optimizer, range(1))
    assert "rotated exp_avg; reset exp_avg_sq" in caplog.text
    R, R_c = (new.T @ old for new, old in zip(handle._steps.tables[0].bases, (U, V), strict=True))
    expected = R.square() @ (1e-3 * (U.T @ model[0].weight.grad @ V).square()) @ R_c.square().T
    torch.testing.assert_close(optimizer.state[model[0].weight]["exp_avg_sq"], expected)


def test_a_resumed_run_is_the_same_bitwise(model):
    twin = copy.deepcopy(model)
    config = SpectralConfig(**FIELDS, refresh=2)
    optimizer, other = adamw(model.parameters()), adamw(twin.parameters())
    handle, resumed = attach(model, optimizer, config), attach(twin, other, config)
    train(model, optimizer, range(3))
    resumed.load_state_dict(load(save(handle.state_dict())))
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, stepped in ((model, optimizer), (twin, other)):
        train(each, stepped, range(3, 6))
    assert torch.equal(model[0].weight, twin[0].weight)


def test_its_cost_is_three_rotations_on_both_sides(model):
    table = explain(model, SpectralConfig(**FIELDS)).tables[0]
    assert table.flops_per_step == 3 * 2 * 6 * 4 * (6 + 4)


def test_moments_enter_a_basis_that_comes_with_a_refresh(model):
    config = SpectralConfig(**FIELDS, response="identity", refresh=1)
    (ready,) = prepare(model, config)
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    attach(model, optimizer, config, prepared=[(replace(ready, operator=None, filter=None),)])
    train(model, optimizer, range(3))
    train(other, torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9), range(3))
    torch.testing.assert_close(model[0].weight, other[0].weight, rtol=1e-9, atol=1e-10)  # float64


def test_a_side_that_is_too_large_is_refused():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(5000, 2))
    with pytest.raises(ValueError, match=r"up to 4096 nodes, and it has 5000.*'0\.weight'"):
        explain(model, SpectralConfig(**(FIELDS | {"builder": "ring"})))


def test_a_side_that_is_too_large_leaves_the_other_tables_without_values_too():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(5000, 8), nn.Linear(8, 8))
    found = explain(model, SpectralConfig(**(FIELDS | {"builder": "ring", "targets": ("0", "1")})))
    assert [table.parameter for table in found.tables] == ["1.weight"]
    assert "up to 4096 nodes" in dict(found.skipped)["0.weight"]


def test_a_table_without_an_operator_is_trained_as_if_nothing_were_attached(model):
    # As one that the gradients of preserved text do not reach.
    config = SpectralConfig(**FIELDS, filter_method="exact")
    (ready,) = prepare(model, config)
    other = copy.deepcopy(model)
    optimizer = adamw(model.parameters())
    nothing = replace(ready, operator=None, filter=None)
    attach(model, optimizer, config, prepared=[(nothing,)])
    train(model, optimizer, range(2))
    train(other, adamw(other.parameters()), range(2))
    assert torch.equal(model[0].weight, other[0].weight)


@pytest.mark.parametrize("energy", [None, "model"])
def test_sgd_in_the_bases_is_the_filter_on_its_update(model, energy):
    batches = {"preserve": list(torch.randn(4, 24, 4, generator=torch.Generator().manual_seed(0)).double())}
    results = []
    for placement in ("basis", "update"):
        twin = copy.deepcopy(model)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
        attach(twin, optimizer, SpectralConfig.preserve(2.0, energy=energy, placement=placement), batches)
        train(twin, optimizer, range(2))
        results.append(twin[0].weight.detach())
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-10)  # float64
    assert (results[0] - model[0].weight).norm() > 0.01
