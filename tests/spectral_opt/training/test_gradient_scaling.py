import pytest
import torch
from torch import nn

from spectral_opt import SpectralConfig, attach
from spectral_opt.training import read_scaling

RING = {"builder": "ring", "normalization": None, "targets": ["0"], "response_options": {"gamma": 1.0}}
CASES = {
    "filter on the gradient": {"penalty": 0.0},
    "filter on the update": {"penalty": 0.0, "placement": "update"},
    "filter in the basis": {"penalty": 0.0, "placement": "basis"},
    "norm matching": {"penalty": 0.0, "norm_matching": True},
    "penalty on the gradient": {
        "penalty": 0.3,
        "penalty_on": "weight",
        "response": None,
        "response_options": {},
    },
    "decoupled penalty": {
        "penalty": 0.3,
        "penalty_on": "weight",
        "penalty_mode": "decoupled",
        "response": None,
        "response_options": {},
    },
    "both": {"penalty": 0.3, "penalty_on": "weight"},
}


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def loss_of(model, step):
    return model(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().mean()


def run(fields, fused, scaled, clip=None, overflow_at=None, steps=3):
    model = make_model()
    # Adam divides by the root of the second moment: an eps that is not small shows a forgotten scale.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, eps=1e-2, fused=fused)
    handle = attach(model, optimizer, SpectralConfig(**(RING | fields)))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2, enabled=scaled)
    for step in range(steps):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if step == overflow_at:
            model[2].weight.grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
    return model[0].weight.detach(), handle


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("clip", [None, 0.1], ids=["no clipping", "clipping"])
def test_a_scaled_run_equals_the_unscaled_one(name, fused, clip):
    scaled, handle = run(CASES[name], fused, scaled=True, clip=clip)
    plain, _ = run(CASES[name], fused, scaled=False, clip=clip)
    torch.testing.assert_close(
        scaled, plain, rtol=1e-5, atol=1e-6
    )  # powers of two scale exactly; clipping rounds
    assert int(handle.state_dict()["step"]) == 3


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_skipped_step_changes_nothing_and_is_not_counted(name, fused):
    found, handle = run(CASES[name], fused, scaled=True, overflow_at=0, steps=1)
    assert torch.equal(found, make_model()[0].weight)
    assert int(handle.state_dict()["step"]) == 0


def test_a_skipped_step_after_unscaling_changes_nothing_either():
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, fused=True)
    attach(model, optimizer, SpectralConfig(**(RING | CASES["decoupled penalty"])))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale(loss_of(model, 0)).backward()
    model[2].weight.grad[0, 0] = float("inf")
    scaler.unscale_(optimizer)
    before = model[0].weight.detach().clone()
    scaler.step(optimizer)
    assert torch.equal(model[0].weight, before)


def test_an_optimizer_without_a_scaler_has_no_scale():
    assert read_scaling(torch.optim.SGD([nn.Parameter(torch.ones(1))])) == (None, False)
