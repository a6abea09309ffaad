"""AdamW behind, or in the basis of, the Gram graphs of its own gradients: AdamW, SOAP, and what a step leaves alone."""

import copy

import pytest
import torch
from pytorch_optimizer import SOAP
from torch import nn

from spectral_opt import SpectralConfig, attach
from spectral_opt.functional import GramPower
from spectral_opt.training import SpectralPower

PLACEMENTS = ("gradient", "basis")


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5)).double()


def train(model, optimizer, steps):
    dtype = next(model.parameters()).dtype
    for step in steps:
        inputs = torch.randn(16, 7, generator=torch.Generator().manual_seed(step), dtype=torch.float64).to(
            dtype
        )
        optimizer.zero_grad()
        (model(inputs) - inputs.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


def assert_bitwise(model, other):
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("fused", [False, True])
def test_a_power_of_zero_on_the_gradient_is_adamw_bitwise(model, fused):
    other = copy.deepcopy(model)
    train(model, SpectralPower(model.parameters(), lr=0.01, p=0.0, fused=fused), range(5))
    train(other, torch.optim.AdamW(other.parameters(), lr=0.01, fused=fused), range(5))
    assert_bitwise(model, other)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_group_without_a_power_and_vectors_are_adamw_bitwise(model, placement):
    other = copy.deepcopy(model)
    model[2].weight.requires_grad_(False)
    other[2].weight.requires_grad_(False)
    groups = [
        {"params": [model[0].weight], "p": None},
        {"params": [model[0].bias, model[2].weight, model[2].bias]},
    ]
    train(model, SpectralPower(groups, lr=0.01, p=0.25, placement=placement), range(3))
    train(other, torch.optim.AdamW(other.parameters(), lr=0.01), range(3))
    assert_bitwise(model, other)


def test_in_the_basis_a_power_of_zero_is_soap_over_20_steps_in_one_basis(model):
    # SOAP takes no step at first: it makes the basis of the first gradient, which its moments do not see.
    model.requires_grad_(False)
    model[0].weight.requires_grad_(True)
    other, plain = copy.deepcopy(model), copy.deepcopy(model)
    options = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-12, "weight_decay": 0.0}
    train(other, SOAP([other[0].weight], precondition_frequency=100, **options), range(21))
    optimizer = SpectralPower([model[0].weight], placement="basis", refresh=100, **(options | {"lr": 0.0}))
    train(model, optimizer, [0])
    for name in ("step", "exp_avg", "exp_avg_sq"):
        optimizer.state[model[0].weight][name].zero_()
    optimizer.param_groups[0]["lr"] = 0.01
    train(model, optimizer, range(1, 21))
    # Two orders of the same float64 sums; Adam divides what rounding leaves.
    torch.testing.assert_close(model[0].weight, other[0].weight, rtol=1e-7, atol=1e-9)
    train(plain, torch.optim.AdamW([plain[0].weight], **options), range(1, 21))
    assert (model[0].weight - plain[0].weight).abs().max() > 5e-3


@pytest.mark.parametrize("p", [-0.25, 0.25])
def test_in_the_basis_the_increment_keeps_its_norm(model, p):
    other, start = copy.deepcopy(model), model[0].weight.detach().clone()
    for trained, power in ((model, p), (other, 0.0)):
        optimizer = SpectralPower(trained.parameters(), lr=0.01, p=power, placement="basis", weight_decay=0.0)
        train(trained, optimizer, [0])
    changes = [trained[0].weight.detach() - start for trained in (model, other)]
    torch.testing.assert_close(changes[0].norm(), changes[1].norm())
    assert (changes[0] - changes[1]).norm() > 0.1 * changes[1].norm()


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("p", [-0.25, 0.25])
def test_rotated_gradients_are_a_rotated_run_in_the_basis_alone(model, placement, p):
    # AdamW itself depends on the axes. Its eps hides what rounding leaves in the one mode that the first G has not.
    Q = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    weight = model[0].weight.detach().clone()
    results = []
    for turn in (torch.eye(7, dtype=torch.float64), Q):
        parameter = nn.Parameter(weight @ turn)
        optimizer = SpectralPower([parameter], lr=0.01, p=p, placement=placement, refresh=2, eps=1e-6)
        for step in range(5):
            G = torch.randn(6, 7, generator=torch.Generator().manual_seed(step), dtype=torch.float64) @ turn
            parameter.grad = G
            optimizer.step()
        results.append(parameter.detach())
    same = torch.allclose(results[0] @ Q, results[1], rtol=1e-6, atol=1e-7)
    assert same == (placement == "basis")


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_run_that_goes_on_from_its_state_is_the_same_run(model, placement, dtype, tmp_path):
    model = model.to(dtype)
    options = {"lr": 0.01, "p": 0.25, "placement": placement, "refresh": 2}
    optimizer = SpectralPower(model.parameters(), **options)
    train(model, optimizer, range(3))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    other = copy.deepcopy(model)
    again = SpectralPower(other.parameters(), **options)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(model, optimizer, range(3, 6))
    train(other, again, range(3, 6))
    assert_bitwise(model, other)
    assert again.state[other[0].weight]["rows/gram"].dtype != torch.bfloat16


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("gradient", [0.0, torch.nan])
def test_gradients_of_zero_move_nothing_and_nan_is_seen(placement, gradient):
    parameter = nn.Parameter(torch.ones(4, 3))
    optimizer = SpectralPower([parameter], p=0.25, placement=placement, weight_decay=0.0)
    for _ in range(2):
        parameter.grad = torch.full((4, 3), gradient)
        optimizer.step()
    expected = torch.full((4, 3), gradient) + 1.0
    torch.testing.assert_close(parameter.detach(), expected, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gradients_stay_as_they_were(model, placement):
    optimizer = SpectralPower(model.parameters(), p=0.25, placement=placement)
    model(torch.ones(2, 7, dtype=torch.float64)).sum().backward()
    before = {name: (p.grad, p.grad.clone()) for name, p in model.named_parameters()}
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is before[name][0]
        assert torch.equal(parameter.grad, before[name][1])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_step_that_raises_leaves_everything_as_it_was(model, placement, monkeypatch):
    optimizer = SpectralPower(model.parameters(), p=0.25, placement=placement)
    train(model, optimizer, range(2))
    other, gram = copy.deepcopy(model), optimizer.state[model[0].weight]["rows/gram"]

    def fail(self, closure=None):
        raise RuntimeError("no memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        optimizer.step()
    assert_bitwise(model, other)
    assert optimizer.state[model[0].weight]["rows/gram"] is gram


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("steps", [0, 1, 2], ids=["no state yet", "the basis stays", "another basis"])
@pytest.mark.parametrize("call", [2, 3], ids=["in a group", "in the next group"])
def test_graphs_that_raise_leave_everything_as_it_was(model, placement, steps, call, monkeypatch):
    model.append(nn.Linear(5, 5).double())
    groups = [{"params": model[:3].parameters()}, {"params": model[3].parameters()}]
    optimizer = SpectralPower(groups, p=0.25, placement=placement, refresh=2)
    train(model, optimizer, range(steps))
    inputs = torch.randn(16, 7, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    optimizer.zero_grad()
    model(inputs).square().mean().backward()
    gradients = [(p.grad, p.grad.clone()) for p in model.parameters()]
    before = copy.deepcopy((list(model.parameters()), optimizer.state_dict()["state"]))
    follow, calls = GramPower.follow, []

    def fail(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise torch.linalg.LinAlgError("eigh did not converge")
        return follow(*arguments)

    monkeypatch.setattr(GramPower, "follow", fail)
    with pytest.raises(torch.linalg.LinAlgError, match="did not converge"):
        optimizer.step()
    for parameter, (gradient, values) in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is gradient
        assert torch.equal(gradient, values)
    after = list(model.parameters()), optimizer.state_dict()["state"]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_a_way_back_that_raises_loses_no_matrix(model, monkeypatch):
    optimizer = SpectralPower(model.parameters(), p=0.25, placement="basis", refresh=2)
    train(model, optimizer, range(2))
    before = {weight: (weight.detach().clone(), weight.grad) for weight in (model[0].weight, model[2].weight)}
    graphs = {weight: optimizer.state[weight]["rows/basis"] for weight in before}
    back, calls = GramPower.out_of_modes, []

    def fail(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return back(*arguments)

    monkeypatch.setattr(GramPower, "out_of_modes", fail)
    with pytest.raises(MemoryError):
        optimizer.step()
    for weight, (value, gradient) in before.items():
        assert torch.equal(weight, value)
        assert weight.grad is gradient
        assert optimizer.state[weight]["rows/basis"] is graphs[weight]


def test_hooks_of_others_run_once_around_it_and_a_config_can_be_attached(model):
    optimizer, called = SpectralPower(model.parameters(), p=0.25, placement="basis"), []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    config = SpectralConfig(builder=None, penalty=1e3, penalty_mode="decoupled", ridge=1.0, placement=None)
    with attach(model, optimizer, config):
        start = model[0].weight.detach().clone()
        train(model, optimizer, [0])
    assert called == ["before", "after"]
    # Adam's first step is 1e-3 for each of 42 entries, and is pulled to a third of that.
    assert 0 < (model[0].weight - start).norm() < 0.5 * 1e-3 * 42**0.5


def test_a_closure_is_evaluated_once(model):
    other, calls = copy.deepcopy(model), []
    inputs = torch.ones(2, 7, dtype=torch.float64)

    def closure(optimizer, trained):
        calls.append(1)
        optimizer.zero_grad()
        loss = trained(inputs).square().sum()
        loss.backward()
        return loss

    optimizer = SpectralPower(model.parameters(), p=0.25)
    assert optimizer.step(lambda: closure(optimizer, model)) > 0
    plain = SpectralPower(other.parameters(), p=0.25)
    closure(plain, other)
    plain.step()
    assert_bitwise(model, other)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"placement": "update"}, "placement is 'update'"),
        ({"p": torch.nan}, "p is nan"),
        ({"refresh": 0}, "refresh"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    groups = [{"params": [nn.Parameter(torch.ones(2, 2))], **options}]
    with pytest.raises((ValueError, TypeError), match=words):
        SpectralPower(groups)
