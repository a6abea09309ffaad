"""Precision x accumulation x clipping x placement x mode: every cell is the formula, in NumPy, and not zero.

The model is one linear map with the loss mean(x W^T * t), whose gradient is t^T x / (batch out): NumPy computes it,
the penalty, the filter, the clipping and SGD with momentum and weight decay on its own.
"""

import contextlib
import functools
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import paramgraph
from spectral_opt import SpectralConfig, attach, prepare

OUT, IN, BATCH, STEPS = 6, 4, 5, 3
RATE, MOMENTUM, DECAY, PENALTY, RIDGE, GAMMA, CLIP = 0.5, 0.9, 0.05, 0.05, 0.1, 1.5, 0.02
WEIGHTS = np.diag(np.arange(1.0, OUT), 1) / OUT
WEIGHTS = WEIGHTS + WEIGHTS.T
LAPLACIAN = np.diag(WEIGHTS.sum(0)) - WEIGHTS
FILTER = np.linalg.inv(np.eye(OUT) + GAMMA * LAPLACIAN)
FORM = LAPLACIAN + RIDGE * np.eye(OUT)

# Model dtype, autocast dtype, GradScaler, and the tolerance relative to the largest change of a weight. Float32 has 24
# bits. Under bfloat16 autocast gradients are rounded to 8 bits once, under float16 to 11. Bfloat16 weights of size 1
# are rounded to 2^-8 at each of three steps.
PRECISIONS = {
    "float64": (torch.float64, None, False, 1e-9),
    "float32": (torch.float32, None, False, 1e-5),
    "bf16 autocast": (torch.float32, torch.bfloat16, False, 3e-2),
    "fp16 autocast with scaler": (torch.float32, torch.float16, True, 4e-3),
    "bf16 weights": (torch.bfloat16, None, False, None),
}
PLACEMENTS = ["gradient", "update", "basis", None]
MODES = ["gradient", "loss", "decoupled", None]
CELLS = [cell for cell in itertools.product(PLACEMENTS, MODES) if cell != (None, None)]


def path(data):
    return paramgraph.graph_from_scipy(sp.csr_array(WEIGHTS), like=data)


class Checkpointed(nn.Sequential):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def make_model(dtype, kind=nn.Sequential):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(nn.Linear(IN, OUT, bias=False)).to(dtype)


def draw(step, micro):
    source = np.random.default_rng([step, micro])
    # Eighths: exact in every precision, so that only what is computed from them is rounded.
    return np.round(source.standard_normal((BATCH, IN)) * 8) / 8, np.round(
        source.standard_normal((BATCH, OUT)) * 8
    ) / 8


def config_of(placement, mode):
    return SpectralConfig(
        builder=path,
        source="weights",
        normalization=None,
        targets=["0"],
        placement=placement,
        response_options={"gamma": GAMMA},
        penalty=0.0 if mode is None else PENALTY,
        penalty_mode=mode or "gradient",
        ridge=RIDGE,
    )


@functools.cache
def prepared_once(placement, mode):
    """Build the graph of a config once for all precisions: it does not depend on the weights."""
    config = config_of(placement, mode)
    return config, [prepare(make_model(torch.float32), config)]


def formula(theta, placement, mode, accumulation, clip, steps=STEPS):
    """Train in NumPy; placement and mode None is the plain optimizer."""
    start, velocity = theta.copy(), 0.0
    for step in range(steps):
        gradient = 0.0
        for micro in range(accumulation):
            x, t = draw(step, micro)
            gradient = gradient + t.T @ x / (BATCH * OUT) / accumulation
        of_penalty = 2 * PENALTY * FORM @ (theta - start)
        if mode == "loss":
            gradient = gradient + of_penalty
        if clip:
            norm = np.linalg.norm(gradient)
            gradient = gradient * min(1.0, CLIP / (norm + 1e-6))
        if mode == "gradient":
            gradient = gradient + of_penalty
        if placement == "gradient":
            gradient = FILTER @ gradient
        velocity = MOMENTUM * velocity + gradient + DECAY * theta
        update = -RATE * velocity
        # SGD is linear, so in the basis it is SGD, and h acts on its increment.
        theta = theta + (FILTER @ update if placement in ("update", "basis") else update)
        if mode == "decoupled":
            theta = theta - RATE * PENALTY * 2 * FORM @ (theta - start)
    return theta


def train(model, placement, mode, precision, accumulation, clip):
    dtype, autocast, scaled, _ = PRECISIONS[precision]
    bare = getattr(model, "_orig_mod", model)
    optimizer = torch.optim.SGD(bare.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    config, prepared = prepared_once(placement, mode)
    handle = attach(model, optimizer, config, prepared=prepared)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=scaled)
    for step in range(STEPS):
        optimizer.zero_grad()
        for micro in range(accumulation):
            x, t = (torch.from_numpy(value).to(dtype) for value in draw(step, micro))
            casting = torch.autocast("cpu", dtype=autocast) if autocast else contextlib.nullcontext()
            with casting:
                loss = (model(x) * t).mean()
            if mode == "loss":
                loss = loss + handle.penalty()
            scaler.scale(loss / accumulation).backward()
        if clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(bare.parameters(), CLIP)
        scaler.step(optimizer)
        scaler.update()
    return bare[0].weight.detach().double().numpy(), handle


def check(model, placement, mode, precision, accumulation, clip):
    bare = getattr(model, "_orig_mod", model)
    start = bare[0].weight.detach().double().numpy().copy()
    found, handle = train(model, placement, mode, precision, accumulation, clip)
    expected = formula(start, placement, mode, accumulation, clip)
    plain = formula(start, None, None, accumulation, clip)
    tolerance = PRECISIONS[precision][3]
    change = np.abs(expected - start).max()
    allowed = 3 * 2.0**-8 * np.abs(start).max() if tolerance is None else tolerance * change
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    assert np.abs(expected - plain).max() > 0.0
    if tolerance is not None:
        # What was found is nearer to the formula than to the plain optimizer: an effect, and the right one.
        assert np.abs(found - expected).max() < 0.5 * np.abs(found - plain).max()
    if mode is not None:
        delta = found - start
        # The value is of what was found; bfloat16 sums in float32.
        assert float(handle.penalty().detach()) == pytest.approx(
            PENALTY * np.trace(delta.T @ FORM @ delta), rel=1e-4
        )
        assert handle.metrics()["spectral/penalty"] > 0


@pytest.mark.parametrize(("placement", "mode"), CELLS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("accumulation", [1, 2], ids=["one batch", "two micro-batches"])
@pytest.mark.parametrize("clip", [False, True], ids=["no clipping", "clipping"])
def test_a_cell_is_the_formula_and_not_zero(placement, mode, precision, accumulation, clip):
    check(make_model(PRECISIONS[precision][0]), placement, mode, precision, accumulation, clip)


@pytest.mark.parametrize(("placement", "mode"), CELLS)
def test_compiled_models_are_the_formula(placement, mode):
    model = torch.compile(make_model(torch.float32), backend="eager")
    check(model, placement, mode, "float32", 1, True)


@pytest.mark.parametrize(("placement", "mode"), CELLS)
def test_gradient_checkpointing_is_the_formula(placement, mode):
    check(make_model(torch.float32, Checkpointed), placement, mode, "float32", 2, True)


@pytest.mark.parametrize("weights", [WEIGHTS])
def test_the_literal_mode_is_the_papers_formulas(weights):
    strength, cutoff, rate = 0.2, 0.5, 0.1
    model = make_model(torch.float64)
    theta = model[0].weight.detach().numpy().copy()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    config = SpectralConfig.literal(strength, cutoff, builder=path, source="weights", targets=["0"])
    handle = attach(model, optimizer, config)
    pairs = range(OUT)
    printed = sum(weights[i, j] * np.sum((theta[i] - theta[j]) ** 2) for i in pairs for j in pairs)
    assert float(handle.penalty()) == pytest.approx(strength * printed)
    eigenvalues, U = np.linalg.eigh(np.diag(weights.sum(1)) - weights)
    low_pass = U @ np.diag((eigenvalues <= cutoff).astype(float)) @ U.T
    for step in range(2):
        x, t = draw(step, 0)
        optimizer.zero_grad()
        (model(torch.from_numpy(x)) * torch.from_numpy(t)).mean().backward()
        optimizer.step()
        # The derivative of the printed double sum with respect to row k, term by term.
        of_sum = np.stack([sum(4 * weights[k, j] * (theta[k] - theta[j]) for j in pairs) for k in pairs])
        theta = theta - rate * low_pass @ (t.T @ x / (BATCH * OUT) + strength * of_sum)
    np.testing.assert_allclose(model[0].weight.detach().numpy(), theta, rtol=1e-10)
