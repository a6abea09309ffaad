"""Scalars as nodes, against the Kronecker sum written out."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from spectral_opt import SpectralConfig, attach, explain

from helpers.names import shown

OUT, IN = 6, 4
FIELDS = {"builder": "ring", "scheme": "entries", "normalization": None, "targets": ["0"], "penalty": 0.0}


def ring(nodes):
    return 2 * np.eye(nodes) - np.roll(np.eye(nodes), 1, 0) - np.roll(np.eye(nodes), -1, 0)


KRONECKER = np.kron(ring(OUT), np.eye(IN)) + np.kron(np.eye(OUT), ring(IN))
TIKHONOV = np.linalg.inv(np.eye(OUT * IN) + KRONECKER)


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(IN, OUT)).double()
        model[0].weight.grad = torch.randn(OUT, IN, dtype=torch.float64)
        model[0].bias.grad = torch.zeros(OUT, dtype=torch.float64)
    return model, torch.optim.SGD(model.parameters(), lr=0.5)


@pytest.mark.parametrize("placement", ["gradient", "update"])
def test_the_filter_is_that_of_the_kronecker_sum(placement):
    model, optimizer = make()
    start, gradient = model[0].weight.detach().numpy().copy(), model[0].weight.grad.numpy().copy()
    attach(model, optimizer, SpectralConfig(**FIELDS, placement=placement))
    optimizer.step()
    expected = start - 0.5 * (TIKHONOV @ gradient.flatten()).reshape(OUT, IN)
    np.testing.assert_allclose(model[0].weight.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["gradient", "loss", "decoupled"])
def test_the_penalty_is_the_quadratic_form_of_the_kronecker_sum(mode):
    model, optimizer = make()
    config = SpectralConfig(
        **(FIELDS | {"penalty": 0.1}), penalty_on="weight", penalty_mode=mode, ridge=0.2, response=None
    )
    handle = attach(model, optimizer, config)
    theta, gradient = model[0].weight.detach().numpy().copy(), model[0].weight.grad.numpy().copy()
    form = KRONECKER + 0.2 * np.eye(OUT * IN)
    value = 0.1 * theta.flatten() @ form @ theta.flatten()
    assert float(handle.penalty().detach()) == pytest.approx(value)
    if mode == "loss":
        handle.penalty().backward()
    optimizer.step()
    slope = lambda X: 2 * 0.1 * (form @ X.flatten()).reshape(OUT, IN)  # noqa: E731
    plain = theta - 0.5 * gradient
    expected = plain - 0.5 * slope(plain if mode == "decoupled" else theta)
    np.testing.assert_allclose(model[0].weight.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_proximal_step_solves_one_system_for_all_entries():
    model, optimizer = make()
    config = SpectralConfig(
        **(FIELDS | {"penalty": 5.0}), penalty_on="weight", penalty_mode="decoupled", response=None
    )
    attach(model, optimizer, config)
    plain = (model[0].weight - 0.5 * model[0].weight.grad).detach().numpy().flatten()
    optimizer.step()
    expected = np.linalg.solve(np.eye(OUT * IN) + 2 * 0.5 * 5.0 * KRONECKER, plain).reshape(OUT, IN)
    np.testing.assert_allclose(model[0].weight.detach().numpy(), expected, rtol=1e-8, atol=1e-10)


def test_both_graphs_are_of_the_source():
    model, optimizer = make()
    fields = FIELDS | {"builder": "cosine_knn", "builder_options": {"k": 2}, "source": "weights"}
    handle = attach(model, optimizer, SpectralConfig(**fields))
    rows, columns = handle._steps.tables[0].prepared.operator.parts
    assert (rows.nodes, columns.nodes) == (OUT, IN)


def test_the_state_holds_both_graphs():
    results = []
    for fields in (
        {"penalty": 0.1},
        {"penalty": 0.1, "placement": "update", "response": "heat", "response_options": {"t": 1.0}},
    ):
        model, optimizer = make()
        handle = attach(model, optimizer, SpectralConfig(**(FIELDS | fields)))
        state = load(save(handle.state_dict()))
        twin, other = make()
        resumed = attach(twin, other, SpectralConfig(**(FIELDS | fields)))
        resumed.load_state_dict(state)
        optimizer.step()
        other.step()
        assert torch.equal(model[0].weight, twin[0].weight)
        results.append(model[0].weight.detach().clone())
    assert not torch.equal(*results)


def test_it_is_explained_as_entries():
    model, _ = make()
    table = explain(model, SpectralConfig(**(FIELDS | {"penalty": 0.1}))).tables[0]
    assert (table.scheme, table.nodes, table.width) == ("entries", OUT * IN, 1)
    assert table.edges == OUT * IN + IN * OUT
    assert table.components == 1


def test_without_batches_it_is_estimated_as_entries():
    model, _ = make()
    fields = FIELDS | {"builder": "cosine_knn", "builder_options": {"k": 1}}
    table = explain(model, SpectralConfig(**fields)).tables[0]
    assert (table.nodes, table.width, table.edges, table.edges_known) == (OUT * IN, 1, 2 * OUT * IN, False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"placement": "basis", "filter_method": "chebyshev"}, "complete spectrum"),
        ({"normalization": "rw"}, "symmetric"),
    ],
    ids=shown,
)
def test_what_entries_have_not_raises(fields, words):
    with pytest.raises(ValueError, match=words):
        SpectralConfig(**(FIELDS | fields))
