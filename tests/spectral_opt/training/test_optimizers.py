"""Every optimizer: what the hooks change equals the formula in NumPy around the optimizer itself."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from pytorch_optimizer import SOAP, Lion, Muon
from torch import nn

import paramgraph
from spectral_opt import SpectralConfig, attach, prepare

GAMMA, PENALTY, RATE, NODES = 2.0, 0.1, 0.05, 8
# A path whose edges differ: no eigenvalue is there twice, so a basis is the same everywhere but for signs.
WEIGHTS = np.diag(np.arange(1.0, NODES), 1) / NODES
WEIGHTS = WEIGHTS + WEIGHTS.T
LAPLACIAN = np.diag(WEIGHTS.sum(0)) - WEIGHTS
FILTER = np.linalg.inv(np.eye(NODES) + GAMMA * LAPLACIAN)


def path(data):
    return paramgraph.graph_from_scipy(sp.csr_array(WEIGHTS), like=data)


FIELDS = {
    "builder": path,
    "source": "weights",
    "normalization": None,
    "targets": ["0"],
    "response_options": {"gamma": GAMMA},
    "penalty": 0.0,
    "penalty_on": "weight",
}


def muon(parameters):
    weights = list(parameters)
    groups = [
        {"params": [p for p in weights if p.ndim == 2], "use_muon": True, "lr": RATE},
        {"params": [p for p in weights if p.ndim != 2], "use_muon": False, "lr": RATE},
    ]
    return Muon(groups, lr=RATE, weight_decay=0.1)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.1, foreach=False),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.1, foreach=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.1, fused=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=RATE, weight_decay=0.1),
    "torch-muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=RATE),
    "lion": lambda p: Lion(p, lr=RATE, weight_decay=0.1),
    # One side only: the Gram matrix of the longer one has a null space, in which rounding decides.
    "soap": lambda p: SOAP(p, lr=RATE, precondition_frequency=1, max_precondition_dim=NODES),
    "muon": muon,
}
MODES = ["filter gradient", "filter update", "penalty gradient", "penalty decoupled", "filter basis"]
CONFIGS = {
    "filter gradient": {},
    "filter update": {"placement": "update"},
    "filter basis": {"placement": "basis"},
    "penalty gradient": {"response": None, "response_options": {}, "penalty": PENALTY},
    "penalty decoupled": {
        "response": None,
        "response_options": {},
        "penalty": PENALTY,
        "penalty_mode": "decoupled",
    },
}


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, NODES), nn.Tanh(), nn.Linear(NODES, 2))


@functools.cache
def prepared_once(mode):
    """Build the graph of a config once for all optimizers: it does not depend on the weights."""
    config = SpectralConfig(**(FIELDS | CONFIGS[mode]))
    return config, [prepare(make_model(), config)]


def set_gradients(model, step):
    source = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source)


@functools.cache
def expected_run(name, mode, steps):
    """Run the bare optimizer; do what the hooks do by NumPy, outside of it."""
    model = make_model()
    optimizer, weight = OPTIMIZERS[name](model.parameters()), model[0].weight
    U = np.linalg.eigh(LAPLACIAN)[1]
    gains = np.diag(U.T @ FILTER @ U)[:, None]
    theta = weight.detach().double().numpy().copy()
    for step in range(steps):
        set_gradients(model, step)
        gradient = weight.grad.double().numpy()
        if mode == "filter gradient":
            gradient = FILTER @ gradient
        elif mode == "penalty gradient":
            gradient = gradient + PENALTY * 2 * LAPLACIAN @ theta
        elif mode == "filter basis":
            gradient = U.T @ gradient
        weight.grad.copy_(torch.from_numpy(gradient))
        before = U.T @ theta if mode == "filter basis" else theta
        weight.data.copy_(torch.from_numpy(before))
        optimizer.step()
        update = weight.detach().double().numpy() - weight.new_tensor(before).double().numpy()
        if mode == "filter update":
            update = FILTER @ update
        elif mode == "filter basis":
            update = U @ (gains * update)
        theta = theta + update
        if mode == "penalty decoupled":
            theta = theta - RATE * PENALTY * 2 * LAPLACIAN @ theta
        weight.data.copy_(torch.from_numpy(theta))
    return theta


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("mode", MODES)
def test_the_effect_is_the_formula_and_not_zero(name, mode):
    model = make_model()
    optimizer = OPTIMIZERS[name](model.parameters())
    config, prepared = prepared_once(mode)
    attach(model, optimizer, config, prepared=prepared)
    for step in range(3):
        set_gradients(model, step)
        optimizer.step()
    found = model[0].weight.detach().double().numpy()
    expected = expected_run(name, mode, 3)
    plain = expected_run(name, "none", 3)
    assert np.abs(expected - plain).max() > 1e-3
    # Float32; Adam-like rules amplify rounding where a gradient is near zero, orthogonalization runs in bfloat16.
    tolerance = 2e-2 if "muon" in name else 2e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
