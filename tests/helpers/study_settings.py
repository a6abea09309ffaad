"""A tiny study: a random encoder on random tokens, in which a word gives the class away."""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from spectral_opt.study import (
    ClassifierSetting,
    EarlierTask,
    LanguageTask,
    MethodGrid,
    Part,
    StudyPlan,
    StudyTask,
)
from spectral_opt.study.causal_lm import LanguageSetting
from spectral_opt.tasks import (
    MeanPooledClassifier,
    TokenizedBatches,
    embed_texts,
    fit_best_probe,
)

TASK = StudyTask("toy", "toy", ("other",), "third", "fourth", steps=6, batch_size=4)
LANGUAGE_TASK = LanguageTask(
    "counting", "counting", ("other",), ("third",), ("fourth", "fifth"), steps=6, batch_size=4, length=12
)


def tiny_plan(*parts: Part) -> StudyPlan:
    """Make a plan of these parts, by default of AdamW alone, on the tiny task."""
    part = Part(
        "part", "confirmation", ("toy",), (8,), (1,), (MethodGrid("adamw", {"learning_rate": (1e-2,)}),)
    )
    return StudyPlan("a tiny study", "tiny", (TASK,), parts or (part,))


def tiny_setting(
    seed: int = 0,
    stage: str = "confirmation",
    *,
    dropout: float = 0.1,
    layers: int = 2,
    with_earlier: bool = False,
) -> ClassifierSetting:
    """Make what the cells of a tiny job share; `with_earlier`, a task before it with the same two classes."""
    generator = torch.Generator().manual_seed(seed)

    def texts(number: int) -> tuple[torch.Tensor, np.ndarray]:
        labels = np.arange(number) % 2
        tokens = torch.randint(4, 60, (number, 7), generator=generator)
        tokens[:, 3] = torch.from_numpy(labels) + 1  # the word that decides
        return tokens, labels

    def batches(number: int, size: int = 4, labelled: bool = False) -> tuple[TokenizedBatches, np.ndarray]:
        tokens, labels = texts(number)
        rows = [slice(first, first + size) for first in range(0, number, size)]
        made = [
            {"input_ids": tokens[row], "attention_mask": torch.ones_like(tokens[row])}
            | ({"labels": torch.from_numpy(labels[row])} if labelled else {})
            for row in rows
        ]
        return TokenizedBatches(made, range(number), 0), labels

    config = BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = BertModel(config).eval()
    start = MeanPooledClassifier(encoder, 2).eval()
    for parameter in encoder.embeddings.parameters():
        parameter.requires_grad_(False)
    training, train = batches(TASK.steps * TASK.batch_size, labelled=True)
    dev, dev_labels = batches(16)
    scored, labels = batches(24)
    fit_best_probe(start, embed_texts(start, training), train, embed_texts(start, dev), dev_labels)
    earlier = None
    if with_earlier:
        head = MeanPooledClassifier(encoder, 2, seed=seed + 1).classifier
        earlier = EarlierTask("before", head, *batches(8), batches(8, labelled=True)[0])
    return ClassifierSetting(
        task=TASK,
        shots=8,
        seed=seed,
        stage=stage,
        start=start,
        training=training,
        dev=dev,
        scored=scored,
        labels={"train": train, "dev": dev_labels, "scored": labels},
        calibration={"task": batches(24, labelled=True)[0], "preserve": batches(24)[0]},
        neighbours=batches(20)[0],
        earlier=earlier,
        facts={"sizes": {"scored": 24}},
    )


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    """Make a random language model of the shape of SmolLM2: grouped queries, gated layers, tied embeddings."""
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def tiny_language_setting(seed: int = 0, stage: str = "confirmation") -> LanguageSetting:
    """Make what the cells of a tiny job of a language model share: texts that count, each by a step of its own."""
    generator = torch.Generator().manual_seed(seed)

    def blocks(number: int, step: int, size: int = 4) -> list[dict[str, Tensor]]:
        first = torch.randint(3, 40, (number, 1), generator=generator)
        tokens = 3 + (first + step * torch.arange(LANGUAGE_TASK.length)) % 37
        # Some tokens are random, so that no text is learned to its end.
        noise = torch.randint(3, 40, tokens.shape, generator=generator)
        tokens = torch.where(torch.rand(tokens.shape, generator=generator) < 0.2, noise, tokens)
        whole = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}
        return [
            {name: value[at : at + size] for name, value in whole.items()} for at in range(0, number, size)
        ]

    start = tiny_llama(seed)
    start.get_input_embeddings().weight.requires_grad_(False)
    return LanguageSetting(
        task=LANGUAGE_TASK,
        shots=8,
        seed=seed,
        stage=stage,
        start=start,
        training=blocks(LANGUAGE_TASK.steps * LANGUAGE_TASK.batch_size, 1),
        dev=blocks(8, 1),
        scored=blocks(12, 1),
        calibration={"task": blocks(24, 1), "preserve": blocks(24, 2)},
        texts={"fourth": blocks(8, 3), "fifth": blocks(8, 5)},
        facts={"sizes": {"scored": 12}},
    )


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy a state."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
