"""Optimizers inside of others: each real step is filtered once, on the gradient that steps, as in a loop by hand."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from spectral_opt import SpectralConfig, attach, explain
from spectral_opt.training import stepping_optimizer

CONFIG = SpectralConfig(builder="ring", normalization=None, penalty=0.0)
RHO = 0.5


def make_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 6, bias=False)).double()


def batch(step):
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step))


def loss(model, step):
    return model(batch(step)).pow(4).mean()


def filtered(gradient):
    """(I + L)^-1 G on the ring of six nodes."""
    shift = np.roll(np.eye(6), 1, axis=0)
    return torch.linalg.solve(torch.tensor(3 * np.eye(6) - shift - shift.T), gradient)


class Sam(torch.optim.Optimizer):
    """Plain two steps of SAM, as they are passed from hand to hand."""

    def __init__(self, parameters, base, **options):
        super().__init__(parameters, {"rho": RHO, **options})
        self.base_optimizer = base(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        (parameter,) = self.param_groups[0]["params"]
        self.start = parameter.clone()
        parameter.add_(RHO * parameter.grad / parameter.grad.norm())
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        (parameter,) = self.param_groups[0]["params"]
        parameter.copy_(self.start)
        self.base_optimizer.step()

    def step(self, closure):
        closure = torch.enable_grad()(closure)
        self.first_step()
        closure()
        self.second_step()


class Ahead:
    """Lookahead that is no torch optimizer: half of the way from the slow weights to the fast ones, each other step."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0
        (self.parameter,) = optimizer.param_groups[0]["params"]
        self.slow = self.parameter.detach().clone()

    def zero_grad(self):
        self.optimizer.zero_grad()

    @torch.no_grad()
    def step(self):
        self.optimizer.step()
        self.count += 1
        if self.count % 2 == 0:
            self.slow.lerp_(self.parameter, 0.5)
            self.parameter.copy_(self.slow)


def with_sam(model, optimizer, step):
    loss(model, step).backward()
    optimizer.first_step()
    loss(model, step).backward()
    optimizer.second_step()
    optimizer.zero_grad()


def with_closure(model, optimizer, step):
    def closure():
        optimizer.zero_grad()
        value = loss(model, step)
        value.backward()
        return value

    closure()
    optimizer.step(closure)
    optimizer.zero_grad()


def plainly(model, optimizer, step):
    loss(model, step).backward()
    optimizer.step()
    optimizer.zero_grad()


def pytorch_sam(parameters):
    from pytorch_optimizer import SAM

    return SAM(parameters, torch.optim.SGD, rho=RHO, lr=0.1)


class FilteredSGD(torch.optim.SGD):
    """The rule with its filter written into it."""

    def step(self, closure=None):
        (parameter,) = self.param_groups[0]["params"]
        parameter.grad = filtered(parameter.grad)
        return super().step(closure)


def pytorch_sam_by_hand(model, steps, take=with_sam):
    # Its neighbourhood has a norm of its own.
    from pytorch_optimizer import SAM

    optimizer = SAM(model.parameters(), FilteredSGD, rho=RHO, lr=0.1)
    for step in range(steps):
        take(model, optimizer, step)


def pytorch_lookahead(parameters):
    from pytorch_optimizer import Lookahead

    return Lookahead(torch.optim.SGD(parameters, lr=0.1), k=2, alpha=0.5)


def sam_by_hand(model, steps):
    weight = model[0].weight
    for step in range(steps):
        (gradient,) = torch.autograd.grad(loss(model, step), weight)
        with torch.no_grad():
            start = weight.clone()
            weight.add_(RHO * gradient / gradient.norm())
        (gradient,) = torch.autograd.grad(loss(model, step), weight)
        with torch.no_grad():
            weight.copy_(start - 0.1 * filtered(gradient))


def lookahead_by_hand(model, steps):
    weight = model[0].weight
    slow = weight.detach().clone()
    for step in range(steps):
        (gradient,) = torch.autograd.grad(loss(model, step), weight)
        with torch.no_grad():
            weight.sub_(0.1 * filtered(gradient))
            if step % 2:
                slow.lerp_(weight, 0.5)
                weight.copy_(slow)


CASES = {
    "sam in two steps": (lambda p: Sam(p, torch.optim.SGD, lr=0.1), with_sam, sam_by_hand),
    "sam by closure": (lambda p: Sam(p, torch.optim.SGD, lr=0.1), with_closure, sam_by_hand),
    "pytorch_optimizer's sam": (pytorch_sam, with_sam, pytorch_sam_by_hand),
    "pytorch_optimizer's sam by closure": (
        pytorch_sam,
        with_closure,
        functools.partial(pytorch_sam_by_hand, take=with_closure),
    ),
    "lookahead": (lambda p: Ahead(torch.optim.SGD(p, lr=0.1)), plainly, lookahead_by_hand),
    "pytorch_optimizer's lookahead": (pytorch_lookahead, plainly, lookahead_by_hand),
}


@pytest.mark.parametrize(("make", "take", "by_hand"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("placement", ["gradient", "basis"])
def test_each_real_step_is_filtered_once(make, take, by_hand, placement):
    model, expected = make_model(), make_model()
    optimizer = make(model.parameters())
    # For SGD the update is the gradient times a number: all placements are one filter.
    config = SpectralConfig(builder="ring", normalization=None, penalty=0.0, placement=placement)
    handle = attach(model, optimizer, config)
    for step in range(4):
        take(model, optimizer, step)
    by_hand(expected, 4)
    torch.testing.assert_close(model[0].weight, expected[0].weight, rtol=1e-10, atol=1e-12)
    assert handle._steps.count == 4
    assert any("acts in the steps of SGD" in note for note in handle.explanation.notes)


def test_what_only_passes_calls_on_is_taken_off():
    from accelerate import Accelerator
    from lightning.pytorch.core.optimizer import LightningOptimizer

    model = make_model()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerated = Accelerator(cpu=True).prepare_optimizer(inner)
    for outer in (inner, accelerated, LightningOptimizer(inner), Ahead(accelerated)):
        assert stepping_optimizer(outer)[0] is inner
    assert "in Ahead" not in str(explain(model, CONFIG, optimizer=inner))
    assert "SGD, which" in str(explain(model, CONFIG, optimizer=Ahead(inner)))


def test_an_optimizer_of_other_parameters_is_no_part_of_it():
    model, other = make_model(), make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.discriminator = torch.optim.SGD(other.parameters(), lr=0.1)
    assert stepping_optimizer(optimizer) == (optimizer, "")


def test_one_that_steps_a_part_of_the_parameters_alone_is_not_taken_out():
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 6))
    # As ZeroRedundancyOptimizer does on one of two ranks; the others' parts come by broadcast.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.optim = torch.optim.SGD(model[0].parameters(), lr=0.1)
    assert stepping_optimizer(optimizer) == (optimizer, "")
    assert len(attach(model, optimizer, CONFIG).explanation.tables) == 2


def test_several_inside_are_refused():
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 6))

    class Both(torch.optim.Optimizer):
        def __init__(self, *inside):
            super().__init__([{"params": one.param_groups[0]["params"]} for one in inside], {})
            self.inside = inside

    both = Both(torch.optim.SGD(model[0].parameters()), torch.optim.Adam(model[1].parameters()))
    with pytest.raises(ValueError, match=r"Both holds several optimizers \(SGD, Adam\)"):
        attach(model, both, CONFIG)
