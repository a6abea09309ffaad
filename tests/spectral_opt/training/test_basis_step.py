"""The optimizer in the basis of the graph, against the same optimizer run by hand on rotated parameters."""

import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import NodeTable, ParameterSlice, node_tables
from spectral_opt import SpectralConfig, attach
from spectral_opt.training import enter_basis

BASIS = {
    "builder": "ring",
    "normalization": None,
    "targets": ["0"],
    "penalty": 0.0,
    "placement": "basis",
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.3),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.3, foreach=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.3, fused=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05),
}


def make_model(dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def gradient_of(step, dtype=torch.float64, shape=(8, 3)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64).to(dtype)


def ring_laplacian(nodes):
    return 2 * np.eye(nodes) - np.roll(np.eye(nodes), 1, 0) - np.roll(np.eye(nodes), -1, 0)


def steps_of(handle, model, optimizer, count):
    for step in range(count):
        for parameter in model.parameters():
            parameter.grad = gradient_of(step, parameter.dtype, tuple(parameter.shape))
        optimizer.step()


def eigenbasis(handle):
    spectrum = handle._steps.tables[0].prepared.spectrum
    return spectrum.eigenvectors, spectrum.eigenvalues


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("response", ["identity", "tikhonov"])
def test_the_increment_is_that_of_the_optimizer_on_rotated_parameters(name, response):
    model = make_model()
    optimizer = OPTIMIZERS[name](model.parameters())
    handle = attach(model, optimizer, SpectralConfig(**BASIS, response=response))
    U, eigenvalues = eigenbasis(handle)
    gain = 1 / (1 + eigenvalues) if response == "tikhonov" else torch.ones(8, dtype=torch.float64)
    theta = model[0].weight.detach().clone()
    rotated = nn.Parameter(U.T @ theta)
    alone = OPTIMIZERS[name]([rotated])
    for step in range(3):
        rotated.data = U.T @ theta
        before = rotated.detach().clone()
        rotated.grad = U.T @ gradient_of(step)
        alone.step()
        theta = theta + U @ (gain[:, None] * (rotated.detach() - before))
    steps_of(handle, model, optimizer, 3)
    torch.testing.assert_close(model[0].weight.detach(), theta, rtol=1e-9, atol=1e-10)  # float64
    assert (theta - make_model()[0].weight).norm() > 0.01


def test_sgd_in_the_basis_with_the_identity_is_sgd():
    plain, found = make_model(), make_model()
    for model, attached in ((plain, False), (found, True)):
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        handle = attach(model, optimizer, SpectralConfig(**BASIS, response="identity")) if attached else None
        steps_of(handle, model, optimizer, 3)
    torch.testing.assert_close(found[0].weight, plain[0].weight)
    assert torch.equal(found[2].weight, plain[2].weight)


def test_adam_in_the_basis_with_the_identity_is_not_adam():
    plain, found = make_model(), make_model()
    for model, attached in ((plain, False), (found, True)):
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        handle = attach(model, optimizer, SpectralConfig(**BASIS, response="identity")) if attached else None
        steps_of(handle, model, optimizer, 1)
    assert (found[0].weight - plain[0].weight).norm() > 0.01


def test_decoupled_decay_commutes_with_the_basis():
    model = make_model()
    start = model[0].weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5, eps=1.0)
    attach(model, optimizer, SpectralConfig(**BASIS, response="identity"))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), 0.95 * start)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_of_zero_changes_no_bit(name, dtype):
    model = make_model(dtype)
    with torch.no_grad():
        model[0].weight[0, 0] = -0.0
    before = model[0].weight.detach().clone()
    optimizer = OPTIMIZERS[name](model.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    handle = attach(model, optimizer, SpectralConfig(**BASIS))
    steps_of(handle, model, optimizer, 2)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(torch.signbit(model[0].weight), torch.signbit(before))


def test_the_gradient_after_the_step_is_the_very_one_of_before():
    model = make_model()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    attach(model, optimizer, SpectralConfig(**BASIS))
    for parameter in model.parameters():
        parameter.grad = gradient_of(0, parameter.dtype, tuple(parameter.shape))
    gradient = model[0].weight.grad
    copy = gradient.clone()
    optimizer.step()
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, copy)


def test_norm_matching_keeps_the_norm_of_the_increment():
    results = []
    for response in ("identity", "tikhonov"):
        model = make_model()
        start = model[0].weight.detach().clone()
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        handle = attach(model, optimizer, SpectralConfig(**BASIS, response=response, norm_matching=True))
        steps_of(handle, model, optimizer, 1)
        results.append((model[0].weight.detach() - start).norm())
    torch.testing.assert_close(*results)


def test_kept_energy_is_that_of_the_increment():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(**BASIS))
    steps_of(handle, model, optimizer, 1)
    filtered = np.linalg.solve(np.eye(8) + ring_laplacian(8), gradient_of(0).numpy())
    expected = (filtered**2).sum() / (gradient_of(0).numpy() ** 2).sum()
    assert handle.metrics()["spectral/kept_energy"] == pytest.approx(expected, rel=1e-5)  # float32


@pytest.mark.parametrize("when", ["next step", "remove"])
def test_an_optimizer_that_raises_leaves_the_parameters_as_they_were(when):
    model = make_model()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    handle = attach(model, optimizer, SpectralConfig(**BASIS))
    before = model[0].weight.detach().clone()
    optimizer.param_groups[0]["betas"] = None
    with pytest.raises(TypeError):
        steps_of(handle, model, optimizer, 1)
    if when == "remove":
        handle.remove()
    else:
        optimizer.param_groups[0] |= {"betas": (0.9, 0.999), "lr": 0.0}
        optimizer.state.clear()
        steps_of(handle, model, optimizer, 1)
    assert torch.equal(model[0].weight, before)


def test_a_closure_sees_the_parameters_outside_the_basis():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(model, optimizer, SpectralConfig(**BASIS))
    start, seen = model[0].weight.detach().clone(), []

    def closure():
        seen.append(model[0].weight.detach().clone())
        for parameter in model.parameters():
            parameter.grad = gradient_of(0, parameter.dtype, tuple(parameter.shape))

    optimizer.step(closure)
    assert torch.equal(seen[0], start)
    expected = start.numpy() - 0.1 * np.linalg.solve(np.eye(8) + ring_laplacian(8), gradient_of(0).numpy())
    np.testing.assert_allclose(model[0].weight.detach().numpy(), expected, rtol=1e-10)


class Twice(torch.optim.Optimizer):
    """An optimizer that asks twice."""

    def step(self, closure):
        closure()
        return closure()


def test_an_optimizer_that_asks_twice_is_stopped_and_nothing_is_lost():
    model = make_model()
    optimizer = Twice(model.parameters(), {"lr": 0.1})
    attach(model, optimizer, SpectralConfig(**BASIS))
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="more than once"):
        optimizer.step(lambda: [setattr(p, "grad", torch.ones_like(p)) for p in model.parameters()])
    assert torch.equal(model[0].weight, before)


def test_lbfgs_is_refused_at_attach():
    model = make_model()
    optimizer = torch.optim.LBFGS(model.parameters())
    with pytest.raises(ValueError, match="LBFGS"):
        attach(model, optimizer, SpectralConfig(**BASIS))
    assert not optimizer._optimizer_step_pre_hooks


def test_two_bases_of_one_parameter_are_refused_at_attach():
    model = make_model()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    configs = [SpectralConfig(**BASIS), SpectralConfig(**(BASIS | {"scheme": "columns"}))]
    with pytest.raises(ValueError, match=r"one basis.*placement='update'"):
        attach(model, optimizer, configs)
    assert not optimizer._optimizer_step_pre_hooks


def test_too_many_nodes_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("spectral_opt.preparation.preparing.EXACT_NODES", 7)
    model = make_model()
    with pytest.raises(ValueError, match=r"up to 7 nodes, and it has 8.*'0\.weight'"):
        attach(model, OPTIMIZERS["sgd"](model.parameters()), SpectralConfig(**BASIS))


def test_a_basis_on_rows_and_a_filter_on_the_update_of_columns_work_together():
    model = make_model()
    start = model[0].weight.detach().numpy().copy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    columns = SpectralConfig(**(BASIS | {"scheme": "columns", "placement": "update"}))
    handle = attach(model, optimizer, [SpectralConfig(**BASIS), columns])
    steps_of(handle, model, optimizer, 1)
    update = -0.1 * np.linalg.solve(np.eye(8) + ring_laplacian(8), gradient_of(0).numpy())
    expected = start + update @ np.linalg.inv(np.eye(3) + ring_laplacian(3))
    np.testing.assert_allclose(model[0].weight.detach().numpy(), expected, rtol=1e-9)


def test_entries_that_no_node_covers_are_the_optimizers_own():
    # Two rows of three: what a table of some heads of a fused matrix looks like.
    part = ParameterSlice("weight", (3, 2), (3, 2), ((0, 2), (0, 2)), (0, 1), 1)
    table = NodeTable("weight", "rows", (part,), ("a", "b"), (-1,) * 2, (-1,) * 2, ("",) * 2)
    weight = nn.Parameter(torch.arange(6.0).reshape(3, 2))
    weight.grad = torch.ones(3, 2)
    exchange = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    step = enter_basis(table, {"weight": weight}, exchange)
    assert weight.tolist() == [[2.0, 3.0], [0.0, 1.0], [4.0, 5.0]]
    with torch.no_grad():
        weight += torch.tensor([[1.0, 0.0], [0.0, 0.0], [10.0, 10.0]])
    step.leave(torch.ones(2))
    assert weight.tolist() == [[0.0, 1.0], [3.0, 3.0], [14.0, 15.0]]


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_strides_of_gradients_are_kept(scheme):
    model = make_model(torch.float32)
    model[0].weight.grad = gradient_of(0, torch.float32)
    table = node_tables(model, scheme, ["0"])["0.weight"]
    step = enter_basis(table, {"0.weight": model[0].weight}, torch.eye(table.shape[0]))
    assert model[0].weight.grad.stride() == model[0].weight.stride()
    step.abandon()
