"""Fixtures that every test may use: a seeded generator, tiny models of every kind and batches for them."""

import copy
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from helpers.tiny_architectures import ARCHITECTURES, TEXT, make
from helpers.type_checks import check_shapes, unchecked

PACKAGES = [Path(__file__).parents[1] / name for name in ("paramgraph", "spectral_opt")]
check_shapes(*PACKAGES)


class Measurable(NamedTuple):
    """A model, batches for it, and the loss of a batch; None means `model(**batch).loss`."""

    model: nn.Module
    batches: list[Any]
    loss: Callable[[nn.Module, Any], Tensor] | None = None


class RandomModel(NamedTuple):
    """A tiny random model of some architecture, which a test must leave as it is, and its inputs."""

    model: nn.Module
    inputs: dict[str, Tensor]


ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail a run in which a test was skipped that `allowed_skips.txt` does not name: a skip is a test that is gone."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = {report.nodeid for report in reporter.stats.get("skipped", [])} if reporter else set()
    unexpected = sorted(skipped - set(ALLOWED_SKIPS.read_text(encoding="utf-8").split()))
    if unexpected:
        reporter.write_line(f"skipped, and not on {ALLOWED_SKIPS.name}: {', '.join(unexpected)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module", autouse=True)
def settled_objects() -> None:
    """Let no collection look at what was there before: those that a Trainer asks for are most of a tiny run."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name an argument whose text holds an address after its parameter: all processes must collect the same tests."""
    return argname if " at 0x" in repr(val) else None


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Let wrong types through to our own checks, as they come where the suite's type checker does not run."""
    with unchecked():
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def tiny_transformer() -> BertForSequenceClassification:
    """A random BERT small enough for a gradient in milliseconds; global random state is left alone."""
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        num_labels=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertForSequenceClassification(config).eval()


@pytest.fixture
def tiny_batches() -> list[dict[str, Tensor]]:
    """Six batches of 4 texts of 12 tokens, padded on the right, with labels."""
    source = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(6):
        lengths = torch.randint(5, 13, (4, 1), generator=source)
        mask = (torch.arange(12) < lengths).long()
        tokens = torch.randint(1, 100, (4, 12), generator=source) * mask
        labels = torch.randint(0, 2, (4,), generator=source)
        batches.append({"input_ids": tokens, "attention_mask": mask, "labels": labels})
    return batches


class TiedModel(nn.Module):
    """One weight in two linear layers, of which one runs twice, and another in embedding and output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6, padding_idx=0)
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.output = nn.Linear(6, 20, bias=False)
        self.second.weight = self.first.weight
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(torch.tanh(self.first(self.embedding(tokens)))))
        return self.output(hidden + self.second(hidden))


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def mean_square(model: nn.Module, inputs: Tensor) -> Tensor:
    return model(inputs).square().mean()


def perceptron() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # In-place activation: the output of a measured layer is overwritten by the next one.
        return nn.Sequential(nn.Linear(5, 9), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(9, 4))


KINDS = ("perceptron", "bert", "gpt2", "tied", "frozen", "partly_frozen", "bfloat16")


@pytest.fixture(params=KINDS)
def measurable(
    request: pytest.FixtureRequest,
    tiny_transformer: BertForSequenceClassification,
    tiny_batches: list[dict[str, Tensor]],
) -> Measurable:
    """Every kind of model that a node table or a source must work with."""
    return _measurable(request.param, tiny_transformer, tiny_batches)


def _measurable(
    kind: str, tiny_transformer: BertForSequenceClassification, tiny_batches: list[dict[str, Tensor]]
) -> Measurable:
    source = torch.Generator().manual_seed(2)
    if kind == "perceptron":
        batches = [torch.randn(7, 5, generator=source) for _ in range(3)]
        return Measurable(perceptron(), batches, mean_square)
    if kind == "tied":
        tokens = [torch.randint(0, 20, (3, 5), generator=source) for _ in range(3)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Measurable(TiedModel(), tokens, next_token_loss)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=100, n_positions=32, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = GPT2LMHeadModel(config)
        return Measurable(model, [{**batch, "labels": batch["input_ids"]} for batch in tiny_batches[:3]])
    if kind == "experts":
        # Each of four experts is given some of 12 tokens.
        return Measurable(copy.deepcopy(make("OLMoE")), [{**TEXT, "labels": TEXT["input_ids"]}] * 2)
    if kind == "frozen":
        tiny_transformer.requires_grad_(False)
    if kind == "partly_frozen":
        tiny_transformer.bert.embeddings.requires_grad_(False)
        tiny_transformer.bert.encoder.layer[0].requires_grad_(False)
    if kind == "bfloat16":
        tiny_transformer.to(torch.bfloat16)
    return Measurable(tiny_transformer, tiny_batches[:3])


# Each way in which heads lie in projections; the other architectures have one of them under names of their own.
LAYOUTS = (
    *("BERT", "RoBERTa", "DistilBERT", "ALBERT (shared layers)", "DeBERTa", "ModernBERT"),
    *("GPT-2", "GPT-2 (cross attention)", "GPT-BigCode (multi-query)", "GPT-BigCode (multi-head)"),
    *("GPT-NeoX", "Bloom", "Falcon (grouped queries)", "Falcon (multi-query)", "MPT", "Phi-3"),
    *("Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "T5", "BART", "ViT", "DeepSeek-V3"),
)


@pytest.fixture(params=LAYOUTS)
def architecture(request: pytest.FixtureRequest) -> RandomModel:
    """Every layout of heads, in a model of two or three layers of random weights."""
    return RandomModel(make(request.param), ARCHITECTURES[request.param].inputs)


@pytest.fixture
def random_model() -> Callable[[str], RandomModel]:
    """Make the model of one of these architectures by its name."""
    return lambda name: RandomModel(make(name), ARCHITECTURES[name].inputs)


@pytest.fixture
def published() -> Callable[[str], nn.Module]:
    """Make a whole published model on the meta device, without weights, by its name."""
    return lambda name: make(name)


# One architecture of each form: the others differ in names, which the tests of heads look at.
FORMS = (
    *("RoBERTa", "GPT-NeoX", "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "T5", "ViT"),
    *("ALBERT (shared layers)", "Falcon (grouped queries)", "Phi-3", "BART", "Mixtral", "gpt-oss"),
)


@pytest.fixture(params=[*KINDS, "lora", *FORMS])
def any_model(
    request: pytest.FixtureRequest,
    tiny_transformer: BertForSequenceClassification,
    tiny_batches: list[dict[str, Tensor]],
) -> nn.Module:
    """Every kind of model, one with adapters, and every form of architecture."""
    if request.param in FORMS:
        model: nn.Module = make(request.param)
        return model
    if request.param == "lora":
        return lora(tiny_transformer)
    return _measurable(request.param, tiny_transformer, tiny_batches).model


def lora(model: nn.Module) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=["query", "value"], task_type="SEQ_CLS", r=2)
    adapted: nn.Module = get_peft_model(model, config)
    return adapted


@pytest.fixture
def lora_transformer(tiny_transformer: BertForSequenceClassification) -> nn.Module:
    """The tiny BERT with adapters on its queries and values, and its classifier trained as a saved copy."""
    return lora(tiny_transformer)


@pytest.fixture
def one_thread():
    """Train on one thread: waking a second one takes longer than multiplying matrices of 32 x 32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
