"""What users do to a model and an optimizer after attach: it works, or one error says so before the step."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

from spectral_opt import SpectralConfig, attach
from spectral_opt.training import BoundTable

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
    with pytest.warns(UserWarning, match="hooks do not travel"):
        twins = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    for twin, of_twin in twins:
        plain = copy.deepcopy(twin)
        bare = sgd(plain)
        bare.load_state_dict(copy.deepcopy(of_twin.state_dict()))
        for m, o in ((twin, of_twin), (plain, bare)):
            give_gradients(m, 1)
            o.step()
        assert torch.equal(twin[0].weight, plain[0].weight)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda make: make.__name__)
def test_a_copy_says_that_hooks_stay_and_a_handle_makes_none(model, make):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**CONFIG))
    with pytest.warns(UserWarning, match="SGD is without the penalty and filter of its handle"):
        make(optimizer)
    with pytest.raises(TypeError, match="belongs to its optimizer"):
        make(handle)
    handle.remove()
    make(optimizer)  # warnings are errors here


@pytest.mark.parametrize("schedule", ["none", "before", "after"])
def test_removing_leaves_the_optimizer_as_it_was(model, schedule):
    optimizer = sgd(model)
    make = lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, 0.5, 1)  # noqa: E731
    scheduler = make() if schedule == "before" else None
    before = dict(vars(optimizer))
    handle = attach(model, optimizer, SpectralConfig(**CONFIG))
    scheduler = make() if schedule == "after" else scheduler
    give_gradients(model)
    optimizer.step()
    if scheduler:
        scheduler.step()  # a warning here would say that step() was overridden
    handle.remove()
    left = set(vars(optimizer)) - set(before)
    assert left == (
        {"step", "_opt_called"} if schedule == "after" else {"_opt_called"} if scheduler else set()
    )
    assert schedule == "after" or vars(optimizer).get("step") is before.get("step")
    optimizer.step()


class Scaled(torch.optim.SGD):
    """An optimizer that asks for the scaler, as GradScaler and accelerate look for by its signature."""

    def step(self, grad_scaler=None, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.LBFGS, Scaled])
@pytest.mark.parametrize("scheduled", [False, True])
def test_the_signature_of_a_step_stays(model, kind, scheduled):
    optimizer = kind(model.parameters(), lr=0.1)
    if scheduled:
        torch.optim.lr_scheduler.ConstantLR(optimizer)
    expected = inspect.signature(kind.step).parameters.keys() - {"self"}
    attach(model, optimizer, SpectralConfig(**CONFIG))
    assert inspect.signature(optimizer.step).parameters.keys() == expected


class Failing(torch.optim.SGD):
    """An optimizer that fails after it has moved parameters, as often as it is told."""

    failures = 0
    error: type[BaseException] = RuntimeError

    def step(self, closure=None):
        if closure is not None:
            closure()
        super().step()
        if self.failures:
            self.failures -= 1
            raise self.error("the rule failed")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, AssertionError])
@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize("placement", ["basis", "update"])
def test_a_step_that_raises_leaves_weights_and_gradients_as_they_were(model, placement, with_closure, error):
    optimizer = Failing(model.parameters(), lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(**(CONFIG | {"penalty": 0.0}), placement=placement))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.failures, optimizer.error = 1, error
    with pytest.raises(error, match="the rule failed"):
        optimizer.step(*([lambda: None] if with_closure else []))
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(model[0].weight.grad, gradient)
    assert int(handle.state_dict()["step"]) == 0


@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_an_optimizer_whose_step_is_that_of_its_base_is_acted_on_once(model, placement):
    ends = []
    for kind in (torch.optim.SGD, Failing):
        twin = copy.deepcopy(model)
        optimizer = kind(twin.parameters(), lr=0.1)
        handle = attach(twin, optimizer, SpectralConfig(**CONFIG, placement=placement))
        for step in range(3):
            give_gradients(twin, step)
            optimizer.step()
        ends.append((twin[0].weight.detach(), int(handle.state_dict()["step"])))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1] == 3


@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_a_step_that_is_taken_again_acts_once(model, placement):
    ends = []
    for failures in (0, 1):
        twin = copy.deepcopy(model)
        optimizer = Failing(twin.parameters(), lr=0.1)
        attach(twin, optimizer, SpectralConfig(**(CONFIG | {"penalty": 0.1}), placement=placement))
        give_gradients(twin)
        weight = twin[0].weight.detach().clone()
        optimizer.failures = failures
        for _ in range(failures):
            with pytest.raises(RuntimeError, match="the rule failed"):
                optimizer.step()
            with torch.no_grad():
                twin[0].weight.copy_(
                    weight
                )  # where only the gradient was filtered, this is the caller's affair
        optimizer.step()
        give_gradients(twin, 1)
        optimizer.step()
        ends.append(twin[0].weight.detach())
    assert torch.equal(*ends)


@pytest.mark.parametrize("early", [True, False], ids=["registered-before", "registered-after"])
@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_hooks_of_others_see_weights_and_gradients_as_they_are(model, placement, early):
    optimizer = sgd(model)
    seen = {}

    def look(name):
        return lambda *_: seen.update(
            {name: (model[0].weight.detach().clone(), model[0].weight.grad.clone())}
        )

    def register():
        return optimizer.register_step_pre_hook(look("before")), optimizer.register_step_post_hook(
            look("after")
        )

    own = register() if early else ()
    handle = attach(model, optimizer, SpectralConfig(**CONFIG, placement=placement))
    own = own or register()
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    assert torch.equal(seen["before"][0], weight)
    assert torch.equal(seen["before"][1], gradient)
    assert torch.equal(seen["after"][0], model[0].weight)
    assert torch.equal(seen["after"][1], model[0].weight.grad)
    assert len(seen) == 2
    for hook in own:
        hook.remove()
    handle.remove()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_a_failure_between_two_bases_leaves_neither(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attach(model, optimizer, SpectralConfig(builder="ring", placement="basis", penalty=0.0))
    give_gradients(model)
    before = [(p.detach().clone(), p.grad.clone()) for p in model.parameters()]
    calls = []

    def second_fails(table):
        calls.append(table.name)
        if len(calls) == 2:
            raise MemoryError
        return enter(table)

    enter = BoundTable.enter_basis_
    monkeypatch.setattr(BoundTable, "enter_basis_", second_fails)
    with pytest.raises(MemoryError):
        optimizer.step()
    assert len(calls) == 2
    assert all(
        torch.equal(p, w) and torch.equal(p.grad, g)
        for p, (w, g) in zip(model.parameters(), before, strict=True)
    )


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
