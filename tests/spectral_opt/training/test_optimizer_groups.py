"""Optimizers that climb, groups that differ, gradients that are scaled: against the formula, or one error before."""

import pytest
import torch
from torch import nn

from spectral_opt import SpectralConfig, attach
from spectral_opt.training import read_scaling

RING = {"builder": "ring", "normalization": None, "targets": ["0"]}
PENALTY = {**RING, "response": None, "penalty": 0.3, "penalty_on": "weight"}
L = 2 * torch.eye(8) - torch.eye(8).roll(1, 0) - torch.eye(8).roll(-1, 0)


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.fixture
def model():
    return make_model()


def give_gradients(model):
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
def test_the_penalty_goes_down_whichever_way_the_optimizer_goes(monkeypatch, model, mode, maximize, in_place):
    if not in_place:
        monkeypatch.setattr("spectral_opt.training.bound_table.writable_view", lambda *_: None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=maximize)
    attach(model, optimizer, SpectralConfig(**PENALTY, penalty_mode=mode))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    moved = weight + (0.1 if maximize else -0.1) * gradient
    expected = moved - 0.1 * 0.3 * 2 * L @ (weight if mode == "gradient" else moved)
    torch.testing.assert_close(model[0].weight.detach(), expected)


@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_a_filter_does_not_ask_which_way_the_optimizer_goes(model, placement):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    attach(model, optimizer, SpectralConfig(**RING, penalty=0.0, placement=placement))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    expected = weight + 0.1 * torch.linalg.solve(torch.eye(8) + L, gradient)
    torch.testing.assert_close(model[0].weight.detach(), expected)


def test_a_fused_optimizer_that_climbs_under_a_scaler_has_both_factors(model):
    # The scaler hands scaled gradients to a fused optimizer.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True, fused=True)
    attach(model, optimizer, SpectralConfig(**PENALTY))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    inputs = torch.ones(2, 3)
    weight = model[0].weight.detach().clone()
    (gradient,) = torch.autograd.grad(model(inputs).square().mean(), [model[0].weight])
    scaler.scale(model(inputs).square().mean()).backward()
    scaler.step(optimizer)
    expected = weight + 0.1 * gradient - 0.1 * 0.3 * 2 * L @ weight
    torch.testing.assert_close(model[0].weight.detach(), expected)


def groups_that_differ(model, **options):
    weights = [model[0].weight, model[1].weight]
    return [{"params": weights[:1]}, {"params": weights[1:], **options}]


@pytest.mark.parametrize(
    ("mode", "options", "words"),
    [
        ("loss", {"maximize": True}, "penalty_mode='gradient'"),
        ("gradient", {"maximize": True}, r"values of maximize \[False, True\]"),
        ("decoupled", {"lr": 0.2}, r"learning rates \[0\.1, 0\.2\]"),
    ],
)
def test_groups_that_leave_a_penalty_undefined_raise_at_attach(mode, options, words):
    # One table over both layers.
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    optimizer = torch.optim.SGD(groups_that_differ(model, **options), lr=0.1)
    config = SpectralConfig(builder="ring", scheme="layers", response=None, penalty=0.1, penalty_mode=mode)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        attach(model, optimizer, config)
    assert not optimizer._optimizer_step_pre_hooks
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_each_group_has_its_own_learning_rate_and_schedule(model):
    optimizer = torch.optim.SGD(
        [{"params": [model[0].weight], "lr": 0.1}, {"params": [model[2].weight], "lr": 0.4}], lr=1.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    config = SpectralConfig(
        builder=None, ridge=1.0, penalty=0.3, penalty_on="weight", penalty_mode="decoupled"
    )
    attach(model, optimizer, config)
    for factor in (1.0, 0.5):
        give_gradients(model)
        expected = [
            (w.detach() - rate * w.grad) * (1 - rate * 0.6)
            for w, rate in ((model[0].weight, 0.1 * factor), (model[2].weight, 0.4 * factor))
        ]
        optimizer.step()
        schedule.step()
        torch.testing.assert_close([model[0].weight.detach(), model[2].weight.detach()], expected)


SCALED = {
    "filter on the gradient": {"penalty": 0.0},
    "filter on the update": {"penalty": 0.0, "placement": "update"},
    "filter in the basis": {"penalty": 0.0, "placement": "basis"},
    "norm matching": {"penalty": 0.0, "norm_matching": True},
    "penalty on the gradient": {
        "penalty": 0.3,
        "penalty_on": "weight",
        "response": None,
    },
    "decoupled penalty": {
        "penalty": 0.3,
        "penalty_on": "weight",
        "penalty_mode": "decoupled",
        "response": None,
    },
    "both": {"penalty": 0.3, "penalty_on": "weight"},
}


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


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("clip", [None, 0.1], ids=["no clipping", "clipping"])
def test_a_scaled_run_equals_the_unscaled_one(name, fused, clip):
    scaled, handle = run(SCALED[name], fused, scaled=True, clip=clip)
    plain, _ = run(SCALED[name], fused, scaled=False, clip=clip)
    torch.testing.assert_close(
        scaled, plain, rtol=1e-5, atol=1e-6
    )  # powers of two scale exactly; clipping rounds
    assert int(handle.state_dict()["step"]) == 3


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_skipped_step_changes_nothing_and_is_not_counted(name, fused):
    found, handle = run(SCALED[name], fused, scaled=True, overflow_at=0, steps=1)
    assert torch.equal(found, make_model()[0].weight)
    assert int(handle.state_dict()["step"]) == 0


def test_a_skipped_step_after_unscaling_changes_nothing_either():
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, fused=True)
    attach(model, optimizer, SpectralConfig(**(RING | SCALED["decoupled penalty"])))
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale(loss_of(model, 0)).backward()
    model[2].weight.grad[0, 0] = float("inf")
    scaler.unscale_(optimizer)
    before = model[0].weight.detach().clone()
    scaler.step(optimizer)
    assert torch.equal(model[0].weight, before)


def test_an_optimizer_without_a_scaler_has_no_scale():
    assert read_scaling(torch.optim.SGD([nn.Parameter(torch.ones(1))])) == (None, False)
