"""SOAP, Muon, Shampoo and GaLore: which optimizer of the library has which parameters, at which rate."""

import pytest
import torch
from pytorch_optimizer import SOAP, GaLore, Muon, ScalableShampoo

from spectral_opt.study import fine_tune, get_method

from helpers.study_settings import state_of

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("soap", "muon", "shampoo", "galore")


def groups(training):
    named = {key: p for key, p in training.model.named_parameters() if p.requires_grad}
    names = {id(p): key for key, p in named.items()}
    optimizer = training.make_optimizer([*named.values()], 1e-3, 0.01)
    return optimizer, [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_parameter_is_in_one_group_with_the_rate_of_the_run(prepare, name):
    training = prepare(name)
    optimizer, found = groups(training)
    trained = {key for key, p in training.model.named_parameters() if p.requires_grad}
    assert sorted(key for group in found for key in group) == sorted(trained)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3] * len(found)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01] * len(found)


@pytest.mark.parametrize("name", ["muon", "shampoo", "galore"])
def test_matrices_of_the_encoder_are_apart_from_vectors_and_head(prepare, name):
    _, (matrices, rest) = groups(prepare(name))
    assert len(matrices) == 12
    assert all(
        key.endswith(("dense.weight", "query.weight", "key.weight", "value.weight")) for key in matrices
    )
    assert {"classifier.weight", "classifier.bias"} <= set(rest)


def test_they_are_those_of_the_library(prepare):
    assert isinstance(groups(prepare("soap"))[0], SOAP)
    assert isinstance(groups(prepare("muon"))[0], Muon)
    assert isinstance(groups(prepare("galore"))[0], GaLore)
    shampoo, adamw = groups(prepare("shampoo"))[0].parts
    assert isinstance(shampoo, ScalableShampoo)
    assert isinstance(adamw, torch.optim.AdamW)


@pytest.mark.parametrize("name", NAMES)
def test_the_schedule_reaches_every_part(prepare, name):
    optimizer, _ = groups(prepare(name))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    for part in getattr(optimizer, "parts", (optimizer,)):
        assert [group["lr"] for group in part.param_groups] == [1e-3] * len(part.param_groups)
    optimizer.step()
    schedule.step()
    for part in getattr(optimizer, "parts", (optimizer,)):
        assert [group["lr"] for group in part.param_groups] == [5e-4] * len(part.param_groups)


def test_vectors_and_head_of_shampoo_move_as_under_adamw(setting):
    batches = setting.training[:1]
    plain, found = (
        state_of(
            fine_tune(setting.start, batches, get_method(name), learning_rate=1e-3, setting=setting).model
        )
        for name in ("adamw", "shampoo")
    )
    for key in ("classifier.weight", "classifier.bias", "encoder.encoder.layer.1.output.LayerNorm.bias"):
        assert torch.equal(plain[key], found[key])


@pytest.mark.parametrize("name", ["muon", "shampoo"])
def test_a_step_on_a_matrix_has_the_length_of_a_step_of_adamw(prepare, name):
    training = prepare(name)
    optimizer, _ = groups(training)
    weight = dict(training.model.named_parameters())["encoder.encoder.layer.0.output.dense.weight"]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for parameter in training.model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        last = weight.detach().clone()
        optimizer.step()
    # AdamW moves an entry by the rate, or by less where signs change; Muon's is .2 of that by its authors' choice.
    length = (weight.detach() - last).square().mean().sqrt().item()
    assert 0.1e-3 < length < 1.1e-3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soap", {"refresh": 0}, "refresh is 0"),
        ("galore", {"rank": 0}, "rank is 0"),
        ("galore", {"scale": -1.0}, "scale is -1.0"),
        ("shampoo", {"block": 1}, "block is 1"),
    ],
)
def test_a_wrong_option_is_refused(prepare, name, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(name, **options)


def test_a_library_that_is_missing_is_named_before_any_work(setting, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"Muon needs .*pip install pytorch-optimizer"):
        fine_tune(setting.start, [], get_method("muon"), learning_rate=1e-3)
