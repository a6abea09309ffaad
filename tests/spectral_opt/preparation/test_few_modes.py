"""What "auto" keeps beside the factors of an adapter, whose complete bases would be larger than the model."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from spectral_opt import SpectralConfig, attach, explain

NODES, INPUTS, RANK = 48, 24, 8
FIELDS = {"builder": "ring", "rank": RANK, "penalty": 0.0, "scheme": "rows"}


def make_model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(INPUTS, NODES), nn.Linear(NODES, 2))
        return get_peft_model(model, LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))


def step(model: nn.Module, config: SpectralConfig) -> dict[str, torch.Tensor]:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    with attach(model, optimizer, config) as handle:
        for parameter in trained:
            parameter.grad = (
                torch.ones_like(parameter) * torch.arange(parameter.numel()).view_as(parameter).cos()
            )
        optimizer.step()
        state = handle.state_dict()
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad} | state


def methods(config: SpectralConfig) -> list[str]:
    return [table.filter.partition(":")[0] for table in explain(make_model(), config).tables]


def test_auto_keeps_rank_modes_where_all_would_be_many_times_the_factor():
    # Of B 48 rows; the columns of A are 24, no more than four times the rank.
    assert methods(SpectralConfig(**FIELDS)) == ["lowrank", "exact"]
    assert "many times as large as a factor of width 2" in str(
        explain(make_model(), SpectralConfig(**FIELDS))
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"filter_method": "exact"},
        {"shift": "adjacency", "response_options": {"gamma": 0.1}},
        {"response": "highpass", "response_options": {"cutoff": 0.5}},
        {"rank": 16},
    ],
    ids=str,
)
def test_all_modes_stay_where_they_are_asked_for_or_few_would_say_another_thing(fields):
    assert methods(SpectralConfig(**FIELDS | fields)) == ["exact", "exact"]


def test_it_steps_as_the_lowrank_filter_that_is_asked_for():
    found = step(make_model(), SpectralConfig(**FIELDS))
    expected = step(make_model(), SpectralConfig(**FIELDS, filter_method="lowrank"))
    for name, value in expected.items():
        if "lora_B" in name:
            # Eigenvectors are rounded to float32 once.
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_a_matrix_that_is_trained_itself_keeps_all_modes():
    model = nn.Sequential(nn.Linear(INPUTS, NODES))
    assert explain(model, SpectralConfig(**FIELDS)).tables[0].filter.startswith("exact")


@pytest.mark.parametrize("rank", [8, 11])
def test_eigenvectors_are_held_once_in_float32_and_told_so(rank):
    model = make_model()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    handle = attach(model, optimizer, SpectralConfig(**FIELDS | {"rank": rank}, targets=["0"]))
    (lowrank,) = [t for t in handle._steps.tables if t.prepared.filter.method == "lowrank"]
    kept = lowrank.prepared.filter.design.basis
    assert kept.dtype == torch.float32
    read = lowrank.prepared.filter.thin_factors(kept.device, kept.dtype)
    assert read.basis.data_ptr() == kept.data_ptr()
    told = next(t for t in handle.explanation.tables if t.filter.startswith("lowrank"))
    assert told.memory["spectrum"] == 4 * NODES * rank
