"""Theta_0 that is not copied: mapped from the files of the base, or shared with who has it already."""

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from spectral_opt import SpectralConfig, attach

CONFIG = SpectralConfig(builder="ring", response=None, penalty=0.1, ridge=1.0)
SHAPE = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**SHAPE, num_attention_heads=4)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def load(base: Path, **options: object) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(base, **options)


def trained(model: torch.nn.Module, start: object) -> tuple[object, dict[str, torch.Tensor]]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    handle = attach(model, optimizer, CONFIG, start=start)
    tokens = torch.arange(12).view(2, 6)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    return handle, {name: p.detach().clone() for name, p in model.named_parameters()}


def test_a_start_mapped_from_files_trains_to_the_same_bits(base):
    copied, expected = trained(load(base), "copy")
    mapped, found = trained(load(base), base)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert torch.equal(mapped.penalty(), copied.penalty())
    assert torch.equal(mapped.checksum, copied.checksum)


def test_explain_says_where_the_start_lies_and_counts_no_copy(base):
    copied, _ = trained(load(base), "copy")
    mapped, _ = trained(load(base), base)
    entries = sum(value.numel() for value in copied.start.values())
    assert copied.explanation.extra_bytes - mapped.explanation.extra_bytes == 4 * entries
    assert f"is read from {base}, where it lies, and not copied" in str(mapped.explanation)
    assert "not copied" not in str(copied.explanation)


def test_the_parameters_are_not_what_is_stored(base):
    model = load(base)
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), CONFIG, start=base)
    held = {p.data_ptr() for p in model.parameters()}
    assert handle.start
    assert not held & {value.data_ptr() for value in handle.start.values()}


def test_tensors_that_are_given_are_shared(base):
    model = load(base)
    given = {name: p.detach().clone() for name, p in model.named_parameters()}
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), CONFIG, start=given)
    assert {value.data_ptr() for value in handle.start.values()} <= {v.data_ptr() for v in given.values()}


def test_parameters_that_are_given_themselves_are_copied(base):
    model = load(base)
    handle = attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), CONFIG, start=dict(model.named_parameters())
    )
    held = {p.data_ptr() for p in model.parameters()}
    assert not held & {value.data_ptr() for value in handle.start.values()}


def test_a_folder_that_holds_another_start_is_refused(base):
    model = load(base)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[0, 0] += 1
    with pytest.raises(
        ValueError, match=r"does not hold 'model.layers.0.self_attn.q_proj.weight' as it is now"
    ):
        attach(model, torch.optim.SGD(model.parameters(), lr=0.1), CONFIG, start=base)


def test_another_type_is_refused_by_name_and_copied_where_nothing_is_named(base):
    with pytest.raises(ValueError, match="in their own type"):
        trained(load(base, dtype=torch.float64), base)
    handle, _ = trained(load(base, dtype=torch.float64), None)
    assert all(value.dtype == torch.float64 for value in handle.start.values())


def test_a_folder_without_weights_is_refused(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no \.safetensors file"):
        trained(load(base), tmp_path / "empty")


def test_beside_a_frozen_base_nothing_is_read_or_copied(base):
    model = get_peft_model(load(base), LoraConfig(r=2, target_modules="all-linear"))
    handle, _ = trained(model, None)
    # Zeros without memory of their own.
    assert all(value.untyped_storage().nbytes() <= 4 for value in handle.start.values())


def test_a_local_folder_is_not_taken_unless_it_is_named(base):
    model = load(base)
    assert model.config._name_or_path == str(base)
    handle, _ = trained(model, None)
    assert "not copied" not in str(handle.explanation)


def test_the_cache_of_the_hub_is_taken_without_being_named(base, monkeypatch):
    model = load(base)
    model.config._name_or_path = "someone/something"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(base / file))
    handle, _ = trained(model, None)
    assert f"read from {base}" in str(handle.explanation)


def test_files_of_plain_modules_will_do(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    save_file(copy.deepcopy(model.state_dict()), tmp_path / "model.safetensors")
    handle = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), CONFIG, start=str(tmp_path))
    assert torch.equal(handle.start["0.weight"], model[0].weight)
    assert "not copied" in str(handle.explanation)


def test_a_start_that_is_not_there_is_told_before_any_pass(base, tmp_path):
    model = load(base)
    config = SpectralConfig(targets=["q_proj"], source="gradients", penalty=0.1)

    def passed(*_: object) -> None:
        raise AssertionError("a pass was made")

    model.forward = passed
    batch = {"input_ids": torch.arange(6)[None], "labels": torch.arange(6)[None]}
    with pytest.raises(ValueError, match="nowhere"):
        attach(
            model, torch.optim.SGD(model.parameters(), lr=0.1), config, [batch], start=tmp_path / "nowhere"
        )
