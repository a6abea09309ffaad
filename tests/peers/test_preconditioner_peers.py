"""Shampoo and SOAP by pytorch_optimizer's code: one power, and Adam in one basis, of the Gram graphs of gradients.

L = sum G G^T on the rows and R = sum G^T G on the columns. Shampoo is the filter power(1/4) on each side, SOAP is Adam
on U^T G V. Both keep sums of the training's own gradients, which is a source like any other callable.
"""

import copy

import pytest
import torch
from pytorch_optimizer import SOAP, ScalableShampoo, Shampoo
from torch import nn

from paramgraph import ProductGraph, power, rows
from spectral_opt import SpectralConfig, attach, gradient_filter

GRAM = {"builder": "gram", "shift": "adjacency", "targets": ["0"], "penalty": 0.0, "refresh": 1}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(7, 6, bias=False), nn.Tanh(), nn.Linear(6, 8, bias=False)).double()
    model[2].weight.requires_grad_(False)  # of one matrix all is said
    return model


class RunningGradients:
    """Features whose Gram matrix is the running mean of G G^T, from `.grad` as it is when graphs are built."""

    def __init__(self, decay):
        self.decay, self.grams = decay, {}

    def __call__(self, model, table, batches):
        parameters = dict(model.named_parameters())
        G = table.gather({name: parameters[name].grad for name in table.parameters})
        key = table.scheme, table.group
        self.grams[key] = self.decay * self.grams.get(key, 0) + (1 - self.decay) * G @ G.T
        values, vectors = torch.linalg.eigh(self.grams[key])
        return vectors * values.clamp_min(0).sqrt()


def curved(model, step):
    inputs = torch.randn(16, 7, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()


def straight(model, step):
    """A loss whose gradient is always the same."""
    return (model[0].weight * torch.randn(6, 7, generator=torch.Generator().manual_seed(9))).sum()


def train(model, optimizer, steps, loss=curved):
    for step in steps:
        optimizer.zero_grad()
        loss(model, step).backward()
        optimizer.step()


def test_a_quarter_power_on_both_sides_is_shampoo(model):
    other, epsilon = copy.deepcopy(model), 1e-2
    train(other, Shampoo([other[0].weight], lr=0.05, matrix_eps=epsilon), range(5))
    L, R = epsilon * torch.eye(6).double(), epsilon * torch.eye(7).double()
    optimizer = torch.optim.SGD([model[0].weight], lr=0.05)
    for step in range(5):
        optimizer.zero_grad()
        curved(model, step).backward()
        G = model[0].weight.grad
        L, R = L + G @ G.T, R + G.T @ G
        product = ProductGraph(L, R, kind="tensor").prepare_filter(power(0.25, damping=0.0))
        pair = gradient_filter({"0.weight": product}, {"0.weight": rows(model)["0.weight"]})
        changed, _ = pair.update({"0.weight": G}, pair.init())
        model[0].weight.grad = changed["0.weight"]
        optimizer.step()
    # Singular vectors in one, eigenvectors in the other, in float64.
    torch.testing.assert_close(model[0].weight, other[0].weight, rtol=1e-9, atol=1e-9)


def test_attached_it_is_shampoo_grafted_to_the_gradient(model):
    # attach builds graphs after a step, Shampoo before it: with one gradient for ever both see the same graph.
    other = copy.deepcopy(model)
    peer = ScalableShampoo(
        [other[0].weight],
        lr=0.05,
        betas=(0.0, 0.9),
        nesterov=False,
        start_preconditioning_step=1,
        preconditioning_compute_steps=1,
        matrix_eps=1e-12,
        use_svd=True,
        shape_interpretation=False,  # or 6 x 7 becomes a vector of 42
    )
    train(other, peer, range(4), straight)
    straight(model, 0).backward()
    optimizer = torch.optim.SGD([model[0].weight], lr=0.05)
    source = RunningGradients(0.9)
    sides = [
        SpectralConfig(
            **GRAM,
            scheme=scheme,
            source=source,
            response="power",
            response_options={"p": 0.25, "damping": 1e-12},
            placement="update",
            norm_matching=True,
        )
        for scheme in ("rows", "columns")
    ]
    attach(model, optimizer, sides)
    start = model[0].weight.detach().clone()
    train(model, optimizer, range(4), straight)
    # The columns have a mode without any gradient, which 1e-12 raises by 1e3; float64.
    torch.testing.assert_close(model[0].weight, other[0].weight, rtol=1e-7, atol=1e-7)
    plain = start - 4 * 0.05 * model[0].weight.grad
    assert (model[0].weight - plain).norm() > 0.1 * (plain - start).norm()


def test_adam_in_the_basis_of_the_product_is_soap_between_two_of_its_bases(model):
    # SOAP takes no step at first: it makes the basis of the first gradient.
    other = copy.deepcopy(model)
    options = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-12, "weight_decay": 0.0}
    train(other, SOAP([other[0].weight], precondition_frequency=100, **options), range(7))
    curved(model, 0).backward()
    optimizer = torch.optim.AdamW([model[0].weight], **options)
    config = SpectralConfig(
        **(GRAM | {"refresh": 100}),
        scheme="entries",
        source=RunningGradients(0.95),
        response="identity",
        placement="basis",
    )
    attach(model, optimizer, config)
    plain = copy.deepcopy(model)
    train(model, optimizer, range(1, 7))
    # Two orders of the same float64 sums; Adam divides what rounding leaves.
    torch.testing.assert_close(model[0].weight, other[0].weight, rtol=1e-7, atol=1e-9)
    train(plain, torch.optim.AdamW([plain[0].weight], **options), range(1, 7))
    assert (model[0].weight - plain[0].weight).abs().max() > 5e-3


def test_with_a_basis_for_each_step_the_first_step_is_soaps(model):
    # Later ones differ: SOAP follows the basis by one round of power iteration and keeps the second moment where it
    # stands, here eigenvectors are solved for and the second moment is what it is expected to be in them.
    options = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-12, "weight_decay": 0.0}
    other = copy.deepcopy(model)
    train(other, SOAP([other[0].weight], precondition_frequency=1, **options), range(2))
    curved(model, 0).backward()
    optimizer = torch.optim.AdamW([model[0].weight], **options)
    fields = {"scheme": "entries", "source": RunningGradients(0.95), "response": "identity"}
    handle = attach(model, optimizer, SpectralConfig(**GRAM, **fields, placement="basis"))
    train(model, optimizer, [1])
    torch.testing.assert_close(model[0].weight, other[0].weight, rtol=1e-7, atol=1e-9)
    assert handle.metrics()["spectral/refreshes"] == 1.0


def test_a_power_of_zero_is_the_plain_gradient_bitwise(model):
    other = copy.deepcopy(model)
    straight(model, 0).backward()
    optimizer = torch.optim.SGD([model[0].weight], lr=0.05)
    config = SpectralConfig(
        **GRAM, source=RunningGradients(0.9), response="power", response_options={"p": 0.0}
    )
    attach(model, optimizer, config)
    train(model, optimizer, range(3))
    train(other, torch.optim.SGD([other[0].weight], lr=0.05), range(3))
    assert torch.equal(model[0].weight, other[0].weight)
