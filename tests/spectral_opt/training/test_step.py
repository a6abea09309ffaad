"""What users do to a model and an optimizer after attach: it works, or one error says so before the step."""

import copy
import pickle

import pytest
import torch
from torch import nn

from spectral_opt import SpectralConfig, attach

from helpers.gradients import give_gradients

CONFIG = {"builder": "ring", "normalization": None, "penalty": 0.1, "ridge": 0.1}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **options)


def to_another_dtype(model, optimizer):
    model.double()


def new_parameter(model, optimizer):
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())


def assigned_state(model, optimizer):
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)


def smaller_optimizer(model, optimizer):
    del optimizer.param_groups[0]["params"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (to_another_dtype, r"'0\.weight' was torch\.float32 on cpu .* is torch\.float64 on cpu"),
        (new_parameter, r"'0\.weight' of the model was replaced"),
        (assigned_state, r"'0\.weight' of the model was replaced"),
        (smaller_optimizer, r"the optimizer no longer holds parameter '0\.weight'"),
    ],
)
@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_a_parameter_that_is_no_longer_the_same_raises_before_the_step(model, change, words, placement):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**CONFIG, placement=placement))
    change(model, optimizer)
    give_gradients(model)
    before = {name: (p.detach().clone(), p.grad.clone()) for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=words):
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name][0])
        assert torch.equal(parameter.grad, before[name][1])
    handle.remove()
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**CONFIG, placement=placement))
    optimizer.step()


def test_a_sparse_gradient_in_a_later_table_leaves_the_earlier_ones_alone(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**CONFIG, penalty_on="weight"))
    give_gradients(model)
    model[2].weight.grad = model[2].weight.grad.to_sparse()
    gradient, weight = model[0].weight.grad.clone(), model[0].weight.detach().clone()
    with pytest.raises(ValueError, match=r"2\.weight.*sparse"):
        optimizer.step()
    assert torch.equal(model[0].weight.grad, gradient)
    assert torch.equal(model[0].weight, weight)


@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_copies_and_pickles_of_model_and_optimizer_are_free_of_the_hooks(model, placement):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**CONFIG, placement=placement))
    give_gradients(model)
    optimizer.step()
    for twin, of_twin in (
        copy.deepcopy((model, optimizer)),
        pickle.loads(pickle.dumps((model, optimizer))),
    ):
        plain = copy.deepcopy(twin)
        bare = sgd(plain)
        bare.load_state_dict(copy.deepcopy(of_twin.state_dict()))
        for m, o in ((twin, of_twin), (plain, bare)):
            give_gradients(m, 1)
            o.step()
        assert torch.equal(twin[0].weight, plain[0].weight)


def test_the_state_of_the_optimizer_may_be_loaded_while_attached(model):
    runs = []
    for reload in (False, True):
        twin = copy.deepcopy(model)
        optimizer = sgd(twin)
        handle = attach(twin, optimizer, SpectralConfig(**CONFIG))
        for step in range(4):
            if reload and step == 2:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            give_gradients(twin, step)
            optimizer.step()
        runs.append((twin[0].weight.detach(), float(handle.penalty())))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_two_models_do_not_know_of_each_other(model):
    twins = [copy.deepcopy(model) for _ in range(2)]
    optimizers = [sgd(twin) for twin in twins]
    handles = [
        attach(twin, optimizer, SpectralConfig(**CONFIG))
        for twin, optimizer in zip(twins, optimizers, strict=True)
    ]
    give_gradients(twins[0])
    optimizers[0].step()
    assert float(handles[0].penalty()) > 0
    assert float(handles[1].penalty()) == 0
    assert torch.equal(twins[1][0].weight, model[0].weight)


def test_two_optimizers_of_one_model_each_act_on_their_own(model):
    first, second = (torch.optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 2))
    handles = [attach(model, optimizer, SpectralConfig(**CONFIG)) for optimizer in (first, second)]
    assert [[table.parameter for table in handle.explanation.tables] for handle in handles] == [
        ["0.weight"],
        ["2.weight"],
    ]


def test_a_loop_without_autograd_may_step(model):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**CONFIG, penalty_mode="loss"))
    give_gradients(model)
    with torch.no_grad():
        assert not handle.penalty().requires_grad
        optimizer.step()
    assert handle.penalty().requires_grad


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_of_zero_are_gradients_and_none_is_none(model, set_to_none):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(model, optimizer, SpectralConfig(**CONFIG | {"penalty_on": "weight"}))
    give_gradients(model)
    weight = model[0].weight.detach().clone()
    optimizer.zero_grad(set_to_none=set_to_none)
    optimizer.step()
    assert torch.equal(model[0].weight, weight) == set_to_none


def test_an_optimizer_that_fails_inside_its_step_leaves_the_basis_at_the_next_one(model):
    class Failing(torch.optim.SGD):
        fails = True

        def step(self, closure=None):
            if self.fails:
                raise RuntimeError("out of memory")
            return super().step(closure)

    optimizer = Failing(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(**CONFIG, placement="basis"))
    weight = model[0].weight.detach().clone()
    give_gradients(model)
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step()
    handle.remove()
    assert torch.equal(model[0].weight, weight)


def test_lbfgs_reports_the_energy_of_its_last_evaluation(model):
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    handle = attach(model, optimizer, SpectralConfig(**CONFIG))

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(handle._steps.energies) == 2  # one for each table
    assert handle.metrics()["spectral/ms"] > 0
