import copy
import logging

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load, save
from torch import nn

import paramgraph
from spectral_opt import SpectralConfig, attach, penalty_gradient, penalty_value, prepare

from helpers.gradients import give_gradients
from helpers.names import shown

RING = {"builder": "ring", "normalization": None, "targets": ["0"]}
FILTER = {**RING, "penalty": 0.0}
PENALTY = {**RING, "response": None}


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def ring_laplacian(nodes=8):
    matrix = 2 * torch.eye(nodes) - torch.eye(nodes).roll(1, 0) - torch.eye(nodes).roll(-1, 0)
    return matrix


def tikhonov_matrix(nodes=8, gamma=1.0):
    return torch.linalg.inv(torch.eye(nodes) + gamma * ring_laplacian(nodes))


def sgd(model, lr=1.0, **options):
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def test_a_filter_on_the_gradient_multiplies_it_by_the_response_of_the_operator(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**FILTER))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), weight - tikhonov_matrix() @ gradient)


def test_a_filter_on_columns_acts_from_the_right(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**{**FILTER, "scheme": "columns"}))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), weight - gradient @ tikhonov_matrix(3))


def test_a_filter_on_the_update_acts_on_what_the_optimizer_did_weight_decay_included(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    attach(model, optimizer, SpectralConfig(**FILTER, placement="update"))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    plain = weight - 0.1 * 0.5 * weight - 0.1 * gradient.sign()  # the first step of AdamW
    expected = weight + tikhonov_matrix() @ (plain - weight)
    torch.testing.assert_close(model[0].weight.detach(), expected, rtol=1e-4, atol=1e-5)  # Adam's eps


def test_rows_and_columns_commute(model):
    rows, columns = SpectralConfig(**FILTER), SpectralConfig(**{**FILTER, "scheme": "columns"})
    results = []
    for configs in ([rows, columns], [columns, rows]):
        optimizer = sgd(model, lr=1.0)
        handle = attach(model, optimizer, configs)
        give_gradients(model)
        before = model[0].weight.detach().clone()
        optimizer.step()
        results.append(before - model[0].weight.detach())
        handle.remove()
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)  # two float32 products in another order


def test_norm_matching_keeps_the_norm_of_the_gradient(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**FILTER, norm_matching=True))
    give_gradients(model)
    before = model[0].weight.grad.norm()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.grad.norm(), before)


def test_parameters_outside_the_tables_are_not_touched(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**{**RING, "penalty": 0.5}))
    give_gradients(model)
    expected = {name: p.detach() - p.grad for name, p in model.named_parameters()}
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, expected[name]) == (name != "0.weight")


def test_the_penalty_is_exactly_zero_on_the_delta_before_the_first_step(model):
    handle = attach(model, sgd(model), SpectralConfig(**PENALTY, penalty=3.0, ridge=0.1))
    assert float(handle.penalty()) == 0.0


def test_the_penalty_is_the_factor_times_the_trace(model):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**PENALTY, penalty=0.3, ridge=0.1))
    start = model[0].weight.detach().clone()
    give_gradients(model)
    optimizer.step()
    delta = model[0].weight.detach() - start
    expected = 0.3 * (delta.T @ (ring_laplacian() + 0.1 * torch.eye(8)) @ delta).trace()
    torch.testing.assert_close(handle.penalty(), expected)
    assert not handle.penalty().requires_grad


def test_the_penalty_on_the_weight_is_the_literal_one(model):
    config = SpectralConfig(**PENALTY, penalty=0.3, penalty_on="weight")
    handle = attach(model, sgd(model), config)
    weight = model[0].weight.detach()
    torch.testing.assert_close(handle.penalty(), 0.3 * (weight.T @ ring_laplacian() @ weight).trace())


def test_several_penalties_are_summed(model):
    configs = [SpectralConfig(**PENALTY, penalty=0.3, penalty_on="weight")] * 2
    handle = attach(model, sgd(model), configs)
    weight = model[0].weight.detach()
    torch.testing.assert_close(handle.penalty(), 0.6 * (weight.T @ ring_laplacian() @ weight).trace())


def test_without_a_penalty_it_is_zero(model):
    assert float(attach(model, sgd(model), SpectralConfig(**FILTER)).penalty()) == 0.0


def test_the_gradient_of_the_penalty_is_added_before_the_filter(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**RING, penalty=0.3, penalty_on="weight"))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    total = gradient + 0.3 * 2 * ring_laplacian() @ weight
    torch.testing.assert_close(model[0].weight.detach(), weight - tikhonov_matrix() @ total)


@pytest.mark.parametrize("with_filter", [True, False])
def test_mode_gradient_and_mode_loss_are_the_same(model, with_filter):
    results = []
    for mode in ("gradient", "loss"):
        fields = RING if with_filter else PENALTY
        config = SpectralConfig(**fields, penalty=0.05, ridge=0.1, penalty_mode=mode)
        twin = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        twin.load_state_dict(model.state_dict())
        optimizer = sgd(twin, lr=0.1)
        handle = attach(twin, optimizer, config)
        for seed in range(5):
            optimizer.zero_grad()
            inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
            loss = twin(inputs).square().mean()
            if mode == "loss":
                assert handle.penalty().requires_grad
                loss = loss + handle.penalty()
            loss.backward()
            optimizer.step()
        results.append(twin[0].weight.detach())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)  # float32 sums in another order


def test_mode_loss_that_nobody_asked_for_is_logged(model, caplog):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**PENALTY, penalty_mode="loss"))
    give_gradients(model)
    with caplog.at_level(logging.WARNING, "spectral_opt.training.handle"):
        optimizer.step()
        optimizer.step()
    assert len(caplog.records) == 1


def test_a_decoupled_penalty_acts_after_the_step_with_the_present_learning_rate(model):
    optimizer = sgd(model, lr=0.5)
    attach(
        model,
        optimizer,
        SpectralConfig(**PENALTY, penalty=0.1, penalty_mode="decoupled", penalty_on="weight"),
    )
    optimizer.param_groups[0]["lr"] = 0.25  # as a schedule does
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    plain = weight - 0.25 * gradient
    expected = plain - 0.25 * 0.1 * penalty_gradient(plain, ring_laplacian())
    torch.testing.assert_close(model[0].weight.detach(), expected)


def test_a_decoupled_penalty_with_a_huge_factor_takes_the_proximal_step_and_is_stable(model):
    config = SpectralConfig(**PENALTY, penalty=1e3, penalty_mode="decoupled", ridge=1.0)
    optimizer = sgd(model, lr=1.0)
    handle = attach(model, optimizer, config)
    assert "proximal" in handle.explanation.tables[0].penalty
    start = model[0].weight.detach().clone()
    give_gradients(model)
    gradient = model[0].weight.grad.clone()
    optimizer.step()
    system = torch.eye(8) + 2e3 * (ring_laplacian() + torch.eye(8))
    expected = start - torch.linalg.solve(system, gradient)
    torch.testing.assert_close(model[0].weight.detach(), expected, rtol=1e-4, atol=1e-6)


def test_no_graph_with_ridge_is_decoupled_l2_sp(model):
    config = SpectralConfig(builder=None, ridge=1.0, penalty=0.1, penalty_mode="decoupled", targets=["0"])
    optimizer = sgd(model, lr=0.5)
    attach(model, optimizer, config)
    start = model[0].weight.detach().clone()
    give_gradients(model)
    delta = -0.5 * model[0].weight.grad
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), start + (1 - 2 * 0.5 * 0.1) * delta)


def test_parameters_without_a_gradient_are_left_alone(model):
    for placement, mode in (("gradient", "gradient"), ("update", "decoupled")):
        config = SpectralConfig(
            **RING, penalty=0.5, penalty_on="weight", placement=placement, penalty_mode=mode
        )
        optimizer = sgd(model)
        handle = attach(model, optimizer, config)
        before = model[0].weight.detach().clone()
        optimizer.zero_grad()
        optimizer.step()
        assert torch.equal(model[0].weight, before)
        assert model[0].weight.grad is None
        handle.remove()


@pytest.mark.parametrize("placement", ["gradient", "update"])
def test_a_gradient_that_is_not_finite_stays_visible(model, placement):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**RING, placement=placement))
    give_gradients(model)
    model[0].weight.grad[0, 0] = float("nan")
    optimizer.step()
    assert torch.isnan(model[0].weight).any()
    assert np.isnan(handle.metrics()["spectral/kept_energy"])


@pytest.mark.parametrize("keyword", [True, False])
def test_closures_see_the_hooks(model, keyword):
    config = SpectralConfig(**RING, penalty=0.3, penalty_on="weight")
    weight = model[0].weight.detach().clone()
    results = []
    for closure_given in (True, False):
        model[0].weight.data.copy_(weight)
        optimizer = sgd(model)
        handle = attach(model, optimizer, config)
        if closure_given:
            closure = lambda: give_gradients(model)  # noqa: E731
            optimizer.step(closure=closure) if keyword else optimizer.step(closure)
        else:
            give_gradients(model)
            optimizer.step()
        results.append(model[0].weight.detach().clone())
        handle.remove()
    torch.testing.assert_close(*results)


def test_lbfgs_runs_with_its_closure(model):
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    handle = attach(model, optimizer, SpectralConfig(**PENALTY, penalty=0.1))

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(handle.penalty()) > 0


@pytest.mark.parametrize(
    "factory", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.NAdam]
)
def test_any_torch_optimizer_will_do(model, factory):
    optimizer = factory(model.parameters(), lr=0.01)
    handle = attach(model, optimizer, SpectralConfig(**RING, penalty=0.1))
    give_gradients(model)
    optimizer.step()
    assert float(handle.penalty()) > 0


def test_metrics_are_numbers(model):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**RING))
    assert set(handle.metrics()) == {"spectral/penalty", "spectral/ms"}
    give_gradients(model)
    gradient = model[0].weight.grad.clone()
    optimizer.step()
    metrics = handle.metrics()
    kept = (tikhonov_matrix() @ gradient).square().sum() / gradient.square().sum()
    assert metrics["spectral/kept_energy"] == pytest.approx(float(kept), rel=1e-5)  # float32
    assert metrics["spectral/ms"] > 0
    assert metrics["spectral/penalty"] == float(handle.penalty())


def test_attach_leaves_model_optimizer_and_random_states_bitwise(tiny_transformer, tiny_batches):
    tiny_transformer.train()
    optimizer = torch.optim.AdamW(tiny_transformer.parameters())
    tiny_transformer(**tiny_batches[0]).loss.backward()
    state = {name: value.clone() for name, value in tiny_transformer.state_dict().items()}
    gradients = {n: p.grad.clone() for n, p in tiny_transformer.named_parameters() if p.grad is not None}
    # Not Python's `random`: beartype, which checks every call in these tests, draws from it.
    rng = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    handle = attach(
        tiny_transformer, optimizer, SpectralConfig(builder_options={"k": 3}), iter(tiny_batches[:2])
    )
    assert all(torch.equal(state[name], value) for name, value in tiny_transformer.state_dict().items())
    found = {n: p.grad for n, p in tiny_transformer.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys()
    assert all(torch.equal(found[name], gradients[name]) for name in gradients)
    assert all(module.training for module in tiny_transformer.modules())
    assert torch.equal(torch.get_rng_state(), rng[0])
    assert (np.random.get_state()[1] == rng[1]).all()  # noqa: NPY002
    assert not optimizer.state
    handle.remove()


def test_remove_restores_the_optimizer_exactly(model):
    optimizer = sgd(model)
    hooks = len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)
    handle = attach(model, optimizer, SpectralConfig(**RING, placement="update", penalty=9.0))
    handle.remove()
    handle.remove()
    assert (len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)) == hooks
    give_gradients(model)
    expected = model[0].weight.detach() - model[0].weight.grad
    optimizer.step()
    assert torch.equal(model[0].weight, expected)


def test_a_second_attach_raises_until_the_first_is_removed(model):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**RING))
    with pytest.raises(ValueError, match="live handle"):
        attach(model, optimizer, SpectralConfig(**RING))
    handle.remove()
    attach(model, optimizer, SpectralConfig(**RING)).remove()


def test_prepared_graphs_are_taken_over_and_nothing_is_built(model):
    config = SpectralConfig(**RING, penalty=0.1, penalty_on="weight")
    ready = [prepare(model, config, parameters=model.parameters())]
    handle = attach(model, sgd(model), config, prepared=ready)
    assert handle.penalty() == attach(model, sgd(model), config).penalty()


def test_prepared_graphs_of_other_tables_raise(model):
    config = SpectralConfig(**{**RING, "targets": ["2"]})
    ready = [prepare(model, config, parameters=model.parameters())]
    for given in (ready, []):
        with pytest.raises(ValueError, match="prepared does not fit"):
            attach(model, sgd(model), SpectralConfig(**RING), prepared=given)


def test_a_handle_is_a_context(model):
    optimizer = sgd(model)
    with attach(model, optimizer, SpectralConfig(**RING)):
        assert optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"targets": ["nothing"]}, "no linear layer"),
        ({"builder": "cosine_knn"}, "calibration batches 'task'"),
        ({"builder": "gram", "source": "activations", "batches": "preserve"}, "'preserve'"),
        ({"builder": "ring", "shift": "adjacency", "penalty": 0.1}, "no minimum"),
    ],
    ids=["targets", "no batches", "no preserve", "indefinite"],
)
def test_errors_come_before_anything_is_touched(model, fields, words):
    optimizer = sgd(model)
    with pytest.raises(ValueError, match=words):
        attach(model, optimizer, SpectralConfig(**{**RING, **fields}))
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_a_model_that_is_all_frozen_raises(model):
    optimizer = sgd(model)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        attach(model, optimizer, SpectralConfig(**RING))


def test_an_optimizer_of_another_model_raises(model):
    with pytest.raises(ValueError, match="not in the optimizer"):
        attach(model, sgd(nn.Linear(2, 2)), SpectralConfig(**RING))


def test_a_frozen_layer_is_skipped_and_named(model):
    model[0].weight.requires_grad_(False)
    handle = attach(model, sgd(model), SpectralConfig(**{**RING, "targets": ["0", "2"]}))
    assert [table.parameter for table in handle.explanation.tables] == ["2.weight"]
    assert ("0.weight", "frozen (requires_grad is False)") in handle.explanation.skipped


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("config", ["ring", [SpectralConfig(**RING), {"builder": "ring"}]], ids=shown)
def test_what_is_no_config_raises(model, config):
    with pytest.raises(TypeError, match="SpectralConfig"):
        attach(model, sgd(model), config)


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_optimizer_raises(model):
    with pytest.raises(TypeError, match="Optimizer"):
        attach(model, model, SpectralConfig(**RING))


def test_tied_weights_are_counted_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

    model = Tied()
    optimizer = sgd(model)
    config = SpectralConfig(
        builder="ring", penalty=1.0, penalty_on="weight", normalization=None, response=None
    )
    handle = attach(model, optimizer, config)
    assert len(handle.explanation.tables) == 1
    assert dict(handle.explanation.skipped)["second.weight"] == "tied to first.weight, listed under that name"
    torch.testing.assert_close(
        handle.penalty(), penalty_value(model.first.weight.detach(), ring_laplacian(4))
    )


def test_wrapped_models_and_optimizers_are_unwrapped(model):
    bare = sgd(model)
    accelerator = Accelerator(cpu=True)
    handle = attach(nn.DataParallel(model), accelerator.prepare_optimizer(bare), SpectralConfig(**RING))
    assert bare._optimizer_step_pre_hooks
    assert handle.explanation.tables[0].parameter == "0.weight"
    handle.remove()
    AcceleratorState._reset_state(True)


def test_sparse_gradients_are_refused(model):
    optimizer = sgd(model)
    attach(model, optimizer, SpectralConfig(**RING))
    give_gradients(model)
    model[0].weight.grad = model[0].weight.grad.to_sparse()
    with pytest.raises(ValueError, match=r"0\.weight.*sparse"):
        optimizer.step()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"placement": "update", "penalty_mode": "decoupled"},
        {"filter_method": "lowrank", "rank": 3},
        {"filter_method": "chebyshev"},
        {"filter_method": "solve"},
        {"normalization": "rw", "penalty": 0.0},
        {"builder": "gram", "source": "weights", "shift": "adjacency"},
        {"builder": None, "ridge": 1.0},
    ],
    ids=shown,
)
def test_state_goes_through_safetensors_and_a_resumed_run_is_the_same_bitwise(fields):
    config = SpectralConfig(**{**RING, "penalty": 0.1, **fields})

    def start():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, attach(model, optimizer, config)

    def steps(model, optimizer, seeds):
        for seed in seeds:
            give_gradients(model, seed)
            optimizer.step()

    model, optimizer, handle = start()
    steps(model, optimizer, range(3))
    saved = save(handle.state_dict()), *copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    resumed, other, twin = start()
    twin.load_state_dict(load(saved[0]))
    resumed.load_state_dict(saved[1])
    other.load_state_dict(saved[2])
    steps(model, optimizer, range(3, 6))
    steps(resumed, other, range(3, 6))
    assert torch.equal(model[0].weight, resumed[0].weight)
    assert torch.equal(handle.state_dict()["step"], twin.state_dict()["step"])
    assert float(handle.penalty()) == float(twin.penalty())


def test_the_loaded_graph_takes_the_place_of_the_present_one(model):
    def random_graph(seed):
        def builder(data):
            weights = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed)).triu(1)
            return paramgraph.graph_from_scipy((weights + weights.T).numpy(), like=data)

        return builder

    fields = {**RING, "penalty": 0.1, "penalty_on": "weight", "source": "weights"}
    first = attach(model, sgd(model), SpectralConfig(**{**fields, "builder": random_graph(0)}))
    second = attach(model, sgd(model), SpectralConfig(**{**fields, "builder": random_graph(1)}))
    assert float(first.penalty()) != float(second.penalty())
    second.load_state_dict(first.state_dict())
    assert float(first.penalty()) == float(second.penalty())


def _other_start(state):
    state["checksum"][0] += 1


def _missing(state):
    del state["0/degrees"]


def _other_names(state):
    state["names"] = state["names"].flip(0)


def _other_config(state):
    state["config"] = state["config"][:-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_start, "Theta_0"),
        (_missing, "lacks 0/degrees"),
        (_other_names, "other parameters"),
        (_other_config, "other configs"),
    ],
)
def test_a_state_of_another_run_raises_and_changes_nothing(model, change, words):
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**RING))
    state = handle.state_dict()
    state["step"] += 5
    change(state)
    with pytest.raises(ValueError, match=words):
        handle.load_state_dict(state)
    assert int(handle.state_dict()["step"]) == 0


def test_a_state_from_before_a_file_of_ours_moved_is_of_the_same_config(model):
    config = SpectralConfig(**{**RING, "source": paramgraph.gradients})
    handle = attach(model, sgd(model), config)
    state = handle.state_dict()
    text = bytes(state["config"].tolist()).decode()
    here = f"{paramgraph.gradients.__module__}:gradients"
    assert here in text
    before = text.replace(here, "paramgraph.table_features:gradients")
    state["config"] = torch.tensor(list(before.encode()), dtype=torch.uint8)
    state["step"] += 5
    handle.load_state_dict(state)
    assert int(handle.state_dict()["step"]) == 5


def test_a_state_from_before_names_a_function_of_yours_in_the_same_words(model):
    config = SpectralConfig(**{**RING, "response": lambda eigenvalues: torch.exp(-eigenvalues)})
    text = bytes(attach(model, sgd(model), config).state_dict()["config"].tolist()).decode()
    # As `repr` has it, which states have always held.
    name = "test_a_state_from_before_names_a_function_of_yours_in_the_same_words.<locals>.<lambda>"
    assert f"response=<function {name}>, " in text


@pytest.mark.parametrize("named", ["hostile_state:gradients", "paramgraph.hostile_state:others"])
def test_a_state_that_names_other_code_is_of_another_run_and_imports_nothing(
    model, named, tmp_path, monkeypatch
):
    (tmp_path / "hostile_state.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    handle = attach(model, sgd(model), SpectralConfig(**{**RING, "source": paramgraph.gradients}))
    state = handle.state_dict()
    text = bytes(state["config"].tolist()).decode()
    text = text.replace(f"{paramgraph.gradients.__module__}:gradients", named)
    state["config"] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    with pytest.raises(ValueError, match="other configs"):
        handle.load_state_dict(state)
    assert not (tmp_path / "ran").exists()


def test_a_state_of_a_model_that_started_elsewhere_raises(model):
    state = attach(model, sgd(model), SpectralConfig(**RING)).state_dict()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    with pytest.raises(ValueError, match="Theta_0"):
        attach(model, sgd(model), SpectralConfig(**RING)).load_state_dict(state)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("state", [None, "spectral_state.safetensors", [("step", 1)]])
def test_a_state_that_is_no_mapping_raises(model, state):
    with pytest.raises(TypeError, match=r"the state is a \w+; give what state_dict\(\)"):
        attach(model, sgd(model), SpectralConfig(**RING)).load_state_dict(state)


def test_bfloat16_models_train(model):
    model.to(torch.bfloat16)
    optimizer = sgd(model)
    handle = attach(model, optimizer, SpectralConfig(**RING, penalty=0.1, placement="update"))
    give_gradients(model)
    optimizer.step()
    assert model[0].weight.dtype == torch.bfloat16
    assert torch.isfinite(handle.penalty())
    save(handle.state_dict())


class Constant(torch.optim.Optimizer):
    """An optimizer without a learning rate, or with one that is chosen inside, as Adafactor's."""

    def __init__(self, parameters, **defaults):
        super().__init__(parameters, defaults)

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-0.1)


@pytest.mark.parametrize("defaults", [{}, {"lr": None}], ids=shown)
def test_an_optimizer_without_a_learning_rate_will_do(model, defaults):
    optimizer = Constant(model.parameters(), **defaults)
    attach(model, optimizer, SpectralConfig(**FILTER))
    give_gradients(model)
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), weight - 0.1 * tikhonov_matrix() @ gradient)


@pytest.mark.parametrize("defaults", [{}, {"lr": None}], ids=shown)
def test_a_decoupled_penalty_without_a_learning_rate_raises_at_once(model, defaults):
    optimizer = Constant(model.parameters(), **defaults)
    with pytest.raises(ValueError, match=r"learning rate.*penalty_mode='gradient'"):
        attach(model, optimizer, SpectralConfig(**PENALTY, penalty_mode="decoupled"))
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize(
    "part",
    [{"1/matrix": torch.zeros(3, 3)}, {"1/labels": torch.zeros(1, dtype=torch.int64)}],
    ids=["matrix", "labels"],
)
def test_a_state_with_a_broken_table_changes_nothing(model, part):
    handle = attach(model, sgd(model), SpectralConfig(**{**PENALTY, "targets": ["0", "2"]}))
    state = handle.state_dict() | {"step": torch.tensor(7)}
    state["0/degrees"] = state["0/degrees"] + 1.0
    assert set(part) <= set(state)
    before = handle.state_dict()
    with pytest.raises(ValueError, match=r"broken at table '2\.weight'"):
        handle.load_state_dict(state | part)
    after = handle.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
