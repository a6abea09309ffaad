"""Filters and methods on a language model: what each is held to on a classifier, where it differs."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from spectral_opt.study import (
    FinishedTune,
    Training,
    chosen_options,
    diagonal_fisher,
    fine_tune,
    get_after_training,
    get_method,
    list_after_training,
    prepare_method,
)

from helpers.gradients import give_gradients
from helpers.study_settings import state_of, tiny_language_setting

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = {"distilled": {"steps": 2}}
IDLE = {"strength": 0.0, "share": 1.0, "factor": 1.0, "alpha": 1.0, "beta": 0.0, "steps": 0}


@pytest.fixture(scope="module")
def tune():
    """Changes of full rank in all that is trained, of the size that a fine-tune has."""
    setting = tiny_language_setting(seed=3)
    tuned = copy.deepcopy(setting.start)
    give_gradients(tuned, seed=5)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(parameter.grad, alpha=0.02)
    return FinishedTune(setting, copy.deepcopy(setting.start.state_dict()), tuned.state_dict())


@pytest.mark.parametrize("name", list_after_training())
def test_a_filter_changes_matrices_and_leaves_tied_embeddings_alone(tune, name):
    after = get_after_training(name)
    state = after.apply(tune, chosen_options(SHORT.get(name, {}), after))
    assert state.keys() == tune.tuned.keys()
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    moved = {key for key in state if not torch.equal(state[key], tune.tuned[key])}
    assert "model.layers.0.mlp.down_proj.weight" in moved
    tied = ("lm_head.weight", "model.embed_tokens.weight")
    assert not moved.intersection(tied)
    idle = {key: IDLE[key] for key in after.options if key in IDLE}
    same = after.apply(tune, chosen_options(idle, after))
    assert all(torch.equal(value, tune.tuned[key]) for key, value in same.items())


def test_an_adapter_that_finds_no_layer_is_refused():
    # Its matrices are (inputs, outputs), which OSF passes over.
    config = GPT2Config(
        vocab_size=40, n_embd=24, n_layer=1, n_head=3, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    setting = replace(tiny_language_setting(), start=GPT2LMHeadModel(config).eval(), _kept={})
    with pytest.raises(ValueError, match="PEFT's OSF has found none of the 4 layers of the model"):
        fine_tune(setting.start, setting.training[:1], get_method("osf"), learning_rate=1e-3, setting=setting)


def test_ewc_holds_the_weights_that_next_tokens_depend_on():
    setting, method = tiny_language_setting(), get_method("ewc")
    moved = copy.deepcopy(setting.start)
    training = Training(moved, setting, chosen_options({"strength": 3.0}, method), 1e-3, 0.0)
    method.prepare(training)
    fisher = diagonal_fisher(
        setting.start, setting.calibration["preserve"], objective="labels", seed=setting.seed
    )
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += 0.1
    total = sum(float(value.double().sum()) for value in fisher.values())
    count = sum(value.numel() for value in fisher.values())
    # All weights are .1 off: strength / 2 times .01 times the sum of F over its mean.
    (loss,) = training.extra_losses
    assert loss(moved).item() == pytest.approx(3 / 2 * 0.01 * count, rel=1e-4)  # float32 weights
    name = "model.layers.1.mlp.down_proj.weight"
    gradient = torch.autograd.grad(loss(moved), dict(moved.named_parameters())[name])[0]
    expected = 3 * 0.1 * fisher[name] * count / total
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["adamw", "l2sp", "distillation", "spectral_both", "preserve_columns", "preserve_product"]
)
def test_a_method_trains_a_language_model_and_leaves_the_start_alone(name):
    setting, method = tiny_language_setting(), get_method(name)
    before = state_of(setting.start)
    prepared = prepare_method(setting.start, method, setting.calibration, seed=setting.seed)
    done = fine_tune(
        setting.start,
        setting.training[:2],
        method,
        learning_rate=1e-2,
        prepared=prepared,
        setting=setting,
    )
    after = state_of(done.model)
    assert after.keys() == before.keys()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert "model.layers.0.mlp.up_proj.weight" in moved
    assert not moved & {"lm_head.weight", "model.embed_tokens.weight"}
    assert all(torch.equal(value, before[key]) for key, value in setting.start.state_dict().items())
    # Of eight rows, fewer than neighbours are asked of, a graph is not built, and the run says so.
    assert bool(done.left_alone) == (name == "spectral_both")
