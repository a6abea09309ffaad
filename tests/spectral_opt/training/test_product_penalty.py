"""Penalties of the Kronecker product of two graphs and of measured modes, against the matrix written out."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import eigenpairs
from paramgraph.spectra import KroneckerModes, KroneckerProduct
from spectral_opt import SpectralConfig, attach, prepare, refine
from spectral_opt.preparation import EntryOperator

from helpers.gradients import give_gradients

OUT, IN, LR = 6, 4, 0.1
FIELDS = {"builder": "gram", "scheme": "entries", "shift": "adjacency", "source": "weights", "response": None}


def entries_of(ready, kind):
    rows, columns = ready.operator.parts
    if kind == "sum":
        return ready.operator.operator
    if kind == "product":
        return KroneckerProduct(rows, columns)
    U, V = (eigenpairs(side).eigenvectors for side in (rows, columns))
    return KroneckerModes(U, V, 5 * torch.rand(OUT, IN, generator=torch.Generator().manual_seed(0)).double())


@pytest.mark.parametrize("kind", ["sum", "product", "modes"])
@pytest.mark.parametrize(
    ("mode", "penalty"), [("gradient", 0.3), ("decoupled", 1e-3), ("decoupled", 4.0)], ids=str
)
def test_a_step_is_that_of_the_quadratic_form_written_out(kind, mode, penalty):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(IN, OUT, bias=False)).double()
        gradient = torch.randn(OUT, IN).double()
    config = SpectralConfig(**FIELDS, penalty=penalty, penalty_mode=mode, ridge=0.2)
    (ready,) = prepare(model, config)
    operator = EntryOperator(entries_of(ready, kind))
    form = operator.operator.to_scipy().toarray() + 0.2 * np.eye(OUT * IN)
    start = model[0].weight.detach().numpy().copy()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    handle = attach(model, optimizer, config, prepared=[(replace(ready, operator=operator),)])
    with torch.no_grad():
        model[0].weight.add_(0.5)
    delta = model[0].weight.detach().numpy().flatten() - start.flatten()
    assert float(handle.penalty()) == pytest.approx(penalty * delta @ form @ delta)
    model[0].weight.grad = gradient.clone()
    optimizer.step()
    moved = delta - LR * gradient.numpy().flatten()
    if mode == "gradient":
        moved = moved - LR * 2 * penalty * form @ delta
    elif penalty < 1:
        moved = moved - 2 * LR * penalty * form @ moved
    else:  # closed form, U (1 / (1 + 2 s lambda) o U^T X V) V^T
        moved = np.linalg.solve(np.eye(OUT * IN) + 2 * LR * penalty * form, moved)
        assert "proximal in the complete basis" in handle.explanation.tables[0].penalty
    # Float64 of numbers of size 1.
    np.testing.assert_allclose(
        model[0].weight.detach().numpy().flatten() - start.flatten(), moved, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["product", "modes"])
def test_the_penalty_of_mode_loss_has_the_gradient_in_closed_form(kind):
    model = nn.Sequential(nn.Linear(IN, OUT, bias=False)).double()
    config = SpectralConfig(**FIELDS, penalty=0.3, penalty_mode="loss", penalty_on="weight")
    (ready,) = prepare(model, config)
    entries = entries_of(ready, kind)
    ready = replace(ready, operator=EntryOperator(entries))
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=LR), config, prepared=[(ready,)])
    handle.penalty().backward()
    W = model[0].weight.detach()
    torch.testing.assert_close(model[0].weight.grad, 2 * 0.3 * (copy.copy(entries) @ W))


def test_a_preset_is_pulled_back_in_training_as_it_is_refined_afterwards():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(IN, OUT), nn.Tanh(), nn.Linear(OUT, 3)).double()
    batches = {"preserve": list(torch.randn(4, 24, IN, generator=torch.Generator().manual_seed(0)).double())}
    gamma, every, base = 2.0, 2, copy.deepcopy(model)
    pulled = SpectralConfig.preserve(
        placement=None,
        penalty=gamma / (2 * every * LR),
        penalty_mode="decoupled",
        penalty_every=every,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    plain = copy.deepcopy(model)
    handle = attach(model, optimizer, pulled, batches)
    assert "every 2 steps, proximal in the complete basis" in str(handle.explanation)
    for each, stepped in ((model, optimizer), (plain, torch.optim.SGD(plain.parameters(), lr=LR))):
        for step in range(every):
            give_gradients(each, seed=step)
            stepped.step()
    refined = refine(base, plain, "preserve", batches=batches, strength=gamma)
    for name in ("0.weight", "2.weight"):
        torch.testing.assert_close(dict(model.named_parameters())[name].detach(), refined[name])  # float64
        assert not torch.equal(refined[name], dict(plain.named_parameters())[name])
