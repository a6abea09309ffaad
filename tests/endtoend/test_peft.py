"""The smallest PEFT scripts: a plain loop, and an unmodified Trainer with the callback, resumed and merged."""

import copy

import peft
import pytest
import torch
from torch.utils.data import DataLoader

import spectral_opt

CONFIG = spectral_opt.SpectralConfig(builder="cosine_knn", builder_options={"k": 5}, penalty=0.05)


@pytest.fixture(autouse=True)
def one_thread():
    # Waking a second thread takes longer than multiplying matrices of 32 x 32.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def lora(tiny_transformer):
    def make(**fields):
        config = peft.LoraConfig(target_modules=["query", "value"], r=2, task_type="SEQ_CLS", **fields)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return peft.get_peft_model(tiny_transformer, config)

    return make


def trained(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def test_a_plain_loop_needs_one_more_line(lora, examples):
    model = lora()
    loader = DataLoader(examples, batch_size=4)
    count = model.get_nb_trainable_parameters()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    handle = spectral_opt.attach(model, optimizer, CONFIG, batches=list(loader)[:2])
    for batch in loader:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model.get_nb_trainable_parameters() == count
    assert handle.metrics()["spectral/penalty"] > 0
    assert 0 < handle.metrics()["spectral/kept_energy"] < 1


@pytest.mark.parametrize("mode", ["gradient", "decoupled"])
def test_an_unmodified_trainer_resumes_from_its_checkpoint_bitwise(trainer, lora, tmp_path, mode):
    config = spectral_opt.SpectralConfig(
        builder="cosine_knn", builder_options={"k": 5}, penalty=0.05, penalty_mode=mode
    )
    settings = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
    base = lora()
    whole = trainer(config, "whole", model=copy.deepcopy(base), **settings)
    whole.train()
    resumed = trainer(config, "resumed", model=copy.deepcopy(base), **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    expected, found = trained(whole.model), trained(resumed.model)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    plain = trainer(None, "plain", model=copy.deepcopy(base), **settings)
    plain.train()
    assert not all(torch.equal(value, trained(plain.model)[name]) for name, value in expected.items())
    logged = [entry for entry in whole.state.log_history if "spectral/penalty" in entry]
    assert logged[-1]["spectral/penalty"] > 0


def test_a_trained_adapter_merges_and_loads_as_any_other(trainer, lora, tiny_batches, tmp_path):
    made = trainer(CONFIG, model=lora(use_dora=True), learning_rate=1e-2)
    made.train()
    model = made.model.eval()
    with torch.no_grad():
        expected = model(**tiny_batches[0]).logits
        made.save_model(str(tmp_path / "adapter"))
        assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
        merged = model.merge_and_unload()
        # Float32 weights hold the delta.
        torch.testing.assert_close(merged(**tiny_batches[0]).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_prompt_is_refused_before_the_first_step(trainer, tiny_transformer):
    prompt = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    with pytest.raises(ValueError, match="virtual tokens"):
        trainer(CONFIG, model=peft.get_peft_model(tiny_transformer, prompt)).train()
