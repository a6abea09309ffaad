"""Twenty steps on a tiny transformer: what must not change does not, to the last bit."""

import copy

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from spectral_opt import SpectralConfig, attach, refine

from helpers.configs import preserve_config

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=False),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def plain_runs():
    """Plain runs by optimizer, each made once."""
    return {}


def train(model, batches, optimizer, configs=None, steps=20):
    """Train a copy with dropout on; return its state, its losses and the handle."""
    model = copy.deepcopy(model).train()
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    handle = (
        None if configs is None else attach(model, optimizer, configs, {"task": batches, "preserve": batches})
    )
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step in range(steps):
            optimizer.zero_grad()
            loss = model(**batches[step % len(batches)]).loss
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}, losses, handle


NEUTRAL = {
    "identity on the gradient": {"response": "identity", "penalty": 0.0},
    "identity on the update": {"response": "identity", "penalty": 0.0, "placement": "update"},
    "identity by chebyshev": {"response": "identity", "penalty": 0.0, "filter_method": "chebyshev"},
    "identity by lowrank": {"response": "identity", "penalty": 0.0, "filter_method": "lowrank", "rank": 3},
    "identity with norm matching": {"response": "identity", "penalty": 0.0, "norm_matching": True},
    "a low-pass that lets all pass": {
        "response": "lowpass",
        "response_options": {"cutoff": 3.0},
        "penalty": 0.0,
    },
    "no filter": {"response": None, "penalty": 0.0},
    "no graph": {"builder": None, "penalty": 0.0},
    "decoupled zero": {"response": None, "penalty": 0.0, "penalty_mode": "decoupled"},
}


CASES = [(optimizer, name) for optimizer in ("sgd", "adamw") for name in NEUTRAL]
CASES += [(optimizer, name) for optimizer in ("adamw-foreach", "adamw-fused") for name in list(NEUTRAL)[:2]]


@pytest.mark.parametrize(("optimizer", "name"), CASES)
def test_identity_and_zero_penalty_train_bitwise_like_the_plain_optimizer(
    tiny_transformer, tiny_batches, plain_runs, optimizer, name
):
    config = SpectralConfig(**{"builder": "ring", **NEUTRAL[name]})
    if optimizer not in plain_runs:
        plain_runs[optimizer] = train(tiny_transformer, tiny_batches, optimizer)
    plain, plain_losses, _ = plain_runs[optimizer]
    found, losses, _ = train(tiny_transformer, tiny_batches, optimizer, config)
    assert losses == plain_losses
    assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_run_twice_is_the_same_bitwise(tiny_transformer, tiny_batches, optimizer):
    config = SpectralConfig(builder_options={"k": 4}, penalty=0.01)
    first, second = (train(tiny_transformer, tiny_batches, optimizer, config, steps=5)[0] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
def test_a_larger_penalty_keeps_the_delta_smoother(tiny_transformer, tiny_batches, mode):
    penalties = []
    for factor in (1e-6, 1.0):
        config = SpectralConfig(builder_options={"k": 4}, response=None, penalty=factor, penalty_mode=mode)
        _, _, handle = train(tiny_transformer, tiny_batches, "sgd", config)
        penalties.append(float(handle.penalty()) / factor)
    assert penalties[1] < 0.5 * penalties[0]


def test_fit_and_preserve_train_together(tiny_transformer, tiny_batches):
    fit = SpectralConfig(builder_options={"k": 4})
    preserve = preserve_config()
    _, losses, handle = train(tiny_transformer, tiny_batches, "adamw", [fit, preserve])
    assert sum(losses[-6:]) < sum(losses[:6])
    assert 0.0 < handle.metrics()["spectral/kept_energy"] < 1.0


def test_a_finished_run_is_refined_without_training(tiny_transformer, tiny_batches):
    tuned, _, _ = train(tiny_transformer, tiny_batches, "adamw")
    config = SpectralConfig(
        builder="gram",
        scheme="columns",
        source="activations",
        shift="adjacency",
        batches="preserve",
        response_options={"gamma": 10.0},
    )
    refined = refine(tiny_transformer, tuned, [config], {"preserve": tiny_batches})

    def shift(state):
        model = copy.deepcopy(tiny_transformer)
        model.load_state_dict(state)
        with torch.no_grad():
            found = [model.bert(**{k: v for k, v in b.items() if k != "labels"})[0] for b in tiny_batches]
            base = [
                tiny_transformer.bert(**{k: v for k, v in b.items() if k != "labels"})[0]
                for b in tiny_batches
            ]
        return sum(float((one - other).norm()) for one, other in zip(found, base, strict=True))

    assert shift(refined) < shift(tuned)


def test_the_default_config_filters_each_expert_of_a_mixture_by_a_graph_of_its_own():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MixtralConfig(
            vocab_size=20,
            hidden_size=16,
            intermediate_size=12,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_local_experts=4,
        )
        model = MixtralForCausalLM(config)
    ids = torch.randint(0, 20, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": rows, "labels": rows} for rows in ids]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    handle = attach(model, optimizer, SpectralConfig(penalty=0.0), batches)
    acting = {table.parameter for table in handle.explanation.tables}
    name = "model.layers.0.mlp.experts.down_proj"
    assert {f"{name}[{expert}]" for expert in range(4)} <= acting
    model(**batches[0]).loss.backward()
    start, gradient = model.get_parameter(name).detach().clone(), model.get_parameter(name).grad.clone()
    optimizer.step()
    graphs = {table.name: table.prepared for table in handle._steps.tables}
    for expert in range(4):
        L = torch.tensor(graphs[f"{name}[{expert}]"].operator.to_scipy().toarray())
        expected = torch.linalg.solve(torch.eye(len(L)) + L, gradient[expert].double())
        moved = start[expert] - model.get_parameter(name)[expert].detach()
        # Single precision: the filter, and a difference of weights of size 0.02.
        torch.testing.assert_close(moved.double(), expected, rtol=1e-4, atol=1e-6)
