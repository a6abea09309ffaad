"""Penalties of tensor products and measured modes on adapters, against NumPy on updates that are formed here."""

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from spectral_opt import SpectralConfig, attach, explain

from helpers.names import shown

TENSOR = {
    "builder": "gram",
    "shift": "adjacency",
    "scheme": "entries",
    "product": "tensor",
    "source": "weights",
}
PRODUCT = SpectralConfig(**TENSOR, placement=None, penalty=0.3, ridge=0.1)
MEASURED = SpectralConfig.preserve(1.0, placement=None, penalty=0.3, ridge=0.1)
CONFIGS = pytest.mark.parametrize("config", [PRODUCT, MEASURED], ids=["product", "modes"])
BATCHES = {"preserve": list(torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(0)))}


def adapted(**fields):
    options = {"target_modules": ["0", "2"], "r": 2, "lora_alpha": 6} | fields
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peft.get_peft_model(
            nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)), peft.LoraConfig(**options)
        )


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def move(model):
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source))


def deltas(model):
    """The update of each adapted layer as PEFT itself forms it."""
    layers = (module for module in model.modules() if isinstance(module, peft.tuners.lora.LoraLayer))
    return [layer.get_delta_weight("default").detach().double().numpy() for layer in layers]


@CONFIGS
@pytest.mark.parametrize("options", [{}, {"init_lora_weights": "pissa"}], ids=["zero", "pissa"])
def test_the_penalty_is_the_quadratic_form_of_the_update_written_out(config, options):
    model = adapted(**options)
    start = deltas(model)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config, BATCHES)
    assert float(handle.penalty()) == 0.0
    move(model)
    forms = [table.prepared.operator.operator.to_scipy().toarray() for table in handle._steps.tables]
    assert [len(form) for form in forms] == [48, 40]  # one table for both factors of a layer
    ways = [(now - before).flatten() for now, before in zip(deltas(model), start, strict=True)]
    expected = sum(way @ form @ way + 0.1 * way @ way for way, form in zip(ways, forms, strict=True))
    assert float(handle.penalty()) == pytest.approx(0.3 * expected, rel=2e-5)  # float32 sums


@CONFIGS
def test_the_gradient_that_is_added_is_autograds_of_the_penalty(config):
    by_loss, by_gradient = adapted(), adapted()
    in_loss = SpectralConfig(**(config.to_dict() | {"penalty_mode": "loss"}))
    handle = attach(by_loss, torch.optim.SGD(by_loss.parameters(), lr=1.0), in_loss, BATCHES)
    optimizer = torch.optim.SGD(by_gradient.parameters(), lr=1.0)
    attach(by_gradient, optimizer, config, BATCHES)
    for model in (by_loss, by_gradient):
        move(model)
    handle.penalty().backward()
    before = {name: p.detach().clone() for name, p in trained(by_gradient).items()}
    for parameter in trained(by_gradient).values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in trained(by_loss).items():
        found = before[name] - trained(by_gradient)[name]
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-5)  # float32
        assert parameter.grad.abs().max() > 1e-3


@CONFIGS
def test_a_resumed_run_has_the_operators_of_the_first(config):
    model, twin = adapted(), adapted()
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config, BATCHES)
    resumed = attach(twin, torch.optim.SGD(twin.parameters(), lr=0.1), config, BATCHES)
    resumed.load_state_dict(load(save(handle.state_dict())))
    for each in (model, twin):
        move(each)
    assert torch.equal(handle.penalty(), resumed.penalty())


def test_its_cost_is_that_of_the_factors_and_the_graphs():
    model = adapted()
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), PRODUCT)
    table = handle.explanation.tables[0]
    # Gram graphs of 8 rows and of 6 columns, times two vectors each; and the factors themselves.
    assert table.flops_per_step == 2 * 2 * (8**2 + 6**2) + 4 * 8 * 2
    assert np.isclose(table.extra_bytes, 8 * (8**2 + 6**2))
    assert (table.nodes, table.width) == (48, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"penalty_mode": "decoupled"}, "out of its rank.*penalty_mode='gradient'"),
        ({"placement": "update"}, "give two configs"),
    ],
    ids=shown,
)
def test_what_has_no_meaning_for_a_low_rank_update_is_refused(change, words):
    model = adapted()
    config = SpectralConfig(**(TENSOR | {"penalty": 0.3, "placement": None} | change))
    with pytest.raises(ValueError, match=words):
        attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config)


def test_two_configs_filter_the_factors_and_penalize_the_product():
    model = adapted()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    filtering = SpectralConfig(**TENSOR, placement="update", penalty=0.0)
    handle = attach(model, optimizer, [filtering, PRODUCT])
    assert [table.config for table in handle.explanation.tables] == [0, 0, 0, 0, 1, 1]


@CONFIGS
@pytest.mark.parametrize("on_adapter", [True, False])
def test_before_graphs_are_built_costs_are_those_of_dense_ones(config, on_adapter):
    torch.manual_seed(0)
    model = adapted() if on_adapter else nn.Sequential(nn.Linear(6, 8))
    needs = config is MEASURED
    if not needs:
        config = SpectralConfig(**(config.to_dict() | {"source": "activations", "batches": "preserve"}))
    before = explain(model, config).tables
    after = explain(model, config, BATCHES).tables
    assert before[0].edges >= after[0].edges
    assert before[0].flops_per_step == after[0].flops_per_step > 0
    assert before[0].nodes == after[0].nodes == 48


def test_what_was_chosen_by_itself_is_said():
    text = str(explain(adapted(), MEASURED, BATCHES))
    assert "objective 'representation', chosen by the kind of model" in text


@pytest.mark.parametrize("batches", [BATCHES, None], ids=["built", "estimated"])
def test_that_each_factor_has_a_filter_of_its_own_side_is_said(batches):
    model = adapted()
    words = "of an adapter each factor is filtered by the graph of its own side"
    assert any(words in note for note in explain(model, SpectralConfig.preserve(1.0), batches=batches).notes)
    assert not any(words in note for note in explain(model, MEASURED, batches=batches).notes)
