"""The smallest scripts: one line more than without, in a plain loop, a Trainer, an SFTTrainer and with accelerate."""

import copy
import importlib

import datasets
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

import spectral_opt

TEXTS = [
    "the cat sat on the mat",
    "a dog ran in the park",
    "the mat is in the park",
    "a cat ran on a dog",
] * 4


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def words():
    """A tokenizer made in memory, of whole words."""
    vocabulary = ["[PAD]", "[UNK]", "</s>", *sorted({word for text in TEXTS for word in text.split()})]
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


@pytest.fixture
def llama():
    """A random Llama of width 32."""
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def test_the_smallest_plain_loop(tiny_transformer, tiny_batches):
    model, batches = tiny_transformer.train(), tiny_batches
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    config = spectral_opt.SpectralConfig(builder_options={"k": 4})
    handle = spectral_opt.attach(model, optimizer, config, batches=batches[:2])
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    print(handle.metrics())
    handle.remove()
    assert float(handle.penalty()) > 0


def test_the_smallest_trainer(tiny_transformer, examples, tmp_path):
    config = spectral_opt.SpectralConfig(builder_options={"k": 4})
    trainer = Trainer(
        model=tiny_transformer,
        args=TrainingArguments(str(tmp_path), max_steps=4, logging_steps=1, report_to="none", use_cpu=True),
        train_dataset=examples,
        callbacks=[spectral_opt.SpectralCallback(config)],
    )
    trainer.train()
    assert trainer.state.log_history[-2]["spectral/penalty"] > 0
    assert 0 < trainer.state.log_history[-2]["spectral/kept_energy"] < 1


def test_the_smallest_sft_trainer(llama, words, tmp_path):
    config = spectral_opt.SpectralConfig(builder_options={"k": 4})
    trainer = SFTTrainer(
        model=llama,
        # Named here because trl 1.16.0 sets it by a name that transformers 5.23.0 warns of.
        args=SFTConfig(
            str(tmp_path), max_steps=4, report_to="none", use_cpu=True, activation_checkpointing=True
        ),
        train_dataset=datasets.Dataset.from_dict({"text": TEXTS}),
        processing_class=words,
        callbacks=[spectral_opt.SpectralCallback(config)],
    )
    trainer.train()
    assert not trainer.optimizer.optimizer._optimizer_step_pre_hooks


@pytest.fixture
def fresh_accelerator():
    """Accelerate keeps one state per process: what a Trainer left there must not reach a loop, nor the reverse."""

    def reset():
        AcceleratorState._reset_state(True)
        GradientState._reset_state()

    reset()
    yield Accelerator
    reset()


def train_plainly(model, batches, config):
    """Two micro-batches a step, clipped."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    spectral_opt.attach(model, optimizer, config, batches)
    for step in range(len(batches) // 2):
        optimizer.zero_grad()
        for batch in batches[2 * step : 2 * step + 2]:
            (model(**batch).loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("order", ["attached before prepare", "attached after prepare"])
def test_a_loop_with_accelerate_is_the_plain_loop(tiny_transformer, tiny_batches, fresh_accelerator, order):
    config = spectral_opt.SpectralConfig(builder_options={"k": 4}, penalty=0.5)
    expected = train_plainly(copy.deepcopy(tiny_transformer), tiny_batches, config)
    accelerator = fresh_accelerator(cpu=True, gradient_accumulation_steps=2)
    model, loader = tiny_transformer, torch.utils.data.DataLoader(tiny_batches, batch_size=None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if order == "attached before prepare":
        spectral_opt.attach(model, optimizer, config, batches=tiny_batches)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    if order == "attached after prepare":
        spectral_opt.attach(model, optimizer, config, batches=tiny_batches)
    for batch in loader:
        with accelerator.accumulate(model):
            accelerator.backward(model(**batch).loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
    found = accelerator.unwrap_model(model).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("package", ["lightning.fabric", "lightning_fabric"])
@pytest.mark.parametrize("order", ["attached before setup", "attached after setup"])
def test_a_loop_with_fabric_is_the_plain_loop(tiny_transformer, tiny_batches, package, order):
    config = spectral_opt.SpectralConfig(builder="ring", penalty=0.5, targets=["intermediate.dense"])
    expected = train_plainly(copy.deepcopy(tiny_transformer), tiny_batches, config)
    fabric = importlib.import_module(package).Fabric(accelerator="cpu", devices=1)
    model, optimizer = tiny_transformer, torch.optim.AdamW(tiny_transformer.parameters(), lr=1e-2)
    if order == "attached before setup":
        spectral_opt.attach(model, optimizer, config)
    model, optimizer = fabric.setup(model, optimizer)
    if order == "attached after setup":
        handle = spectral_opt.attach(model, optimizer, config)
        assert next(iter(handle.start)).startswith("bert.")
    for step in range(len(tiny_batches) // 2):
        optimizer.zero_grad()
        for batch in tiny_batches[2 * step : 2 * step + 2]:
            fabric.backward(model(**batch).loss / 2)
        fabric.clip_gradients(model, optimizer, max_norm=0.5, error_if_nonfinite=False)
        optimizer.step()
    found = model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
