"""Training programs of others with penalty and filter in them, tiny and really run: for tests and the support page.

`TRAINERS` make a Trainer of transformers, or one derived from it; `CLIENTS` train by name in a precision, and say why
where that cannot be.
"""

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, default_collate
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import spectral_opt

TEXTS = ["the cat sat on the mat", "a dog ran in the park", "the mat is in a park", "a cat ran on a dog"] * 4
CONFIG = spectral_opt.SpectralConfig(builder_options={"k": 4}, penalty=0.1)
PRECISIONS = {"float32": {}, "bf16": {"bf16": True}, "fp16": {"fp16": True}}
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
Make = Callable[..., Trainer]


def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words as tokens, made in memory."""
    vocabulary = ["[PAD]", "[UNK]", "</s>", *sorted({word for text in TEXTS for word in text.split()})]
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **special)


def decoder(kind: Any = LlamaForCausalLM, seed: int = 0) -> Any:
    """A random Llama of width 16; the same for the same seed."""
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2}
    config = LlamaConfig(vocab_size=16, max_position_embeddings=64, num_labels=1, **ends, **SIZES)
    return _seeded(lambda: kind(config), seed)


def encoder(kind: Any = BertForSequenceClassification) -> Any:
    """A random BERT of width 16 without dropout, so that training and evaluation have one loss."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return _seeded(lambda: kind(BertConfig(vocab_size=16, max_position_embeddings=32, **still, **SIZES)))


def _seeded(make: Callable[[], Any], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _arguments(kind: Any, folder: str | Path, settings: Mapping[str, Any]) -> Any:
    usual = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "learning_rate": 1e-2}
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    # TRL 1.16.0 sets this by a name that transformers 5.23.0 warns of.
    spared = {"activation_checkpointing": False}
    return kind(output_dir=str(folder), **(usual | quiet | spared | dict(settings)))


def labelled() -> list[dict[str, Any]]:
    words = tokenizer()
    return [
        {**words(text, padding="max_length", max_length=8), "labels": number % 2}
        for number, text in enumerate(TEXTS)
    ]


def _of_sums(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func` that cannot do without the number of items."""
    return cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


class WeightedTrainer(Trainer):
    """A loss of one's own, with weighted classes, on a model that is given no labels."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 3.0]))
        return (loss, outputs) if return_outputs else loss


def plain(
    folder: str | Path, callbacks: Sequence[TrainerCallback] = (), kind: Any = Trainer, **settings: Any
):
    """A classifier in a Trainer."""
    function = settings.pop("compute_loss_func", None)
    arguments = _arguments(TrainingArguments, folder, settings)
    given = {} if function is None else {"compute_loss_func": function}
    return kind(encoder(), arguments, train_dataset=labelled(), callbacks=list(callbacks), **given)


def _completed(text: str, by: str) -> dict[str, str]:
    return {"prompt": text, "completion": f" {by}"}


def supervised(
    folder: str | Path, callbacks: Sequence[TrainerCallback] = (), adapted=False, prompts=False, **settings
):
    """TRL's trainer on texts, or on completions of prompts only."""
    from trl import SFTConfig, SFTTrainer

    rows = [_completed(text, "a cat ran") if prompts else {"text": text} for text in TEXTS]
    return SFTTrainer(decoder(), _arguments(SFTConfig, folder, settings), **_trl(rows, callbacks, adapted))


def preferences(folder: str | Path, callbacks: Sequence[TrainerCallback] = (), adapted=False, **settings):
    """TRL's DPO; with an adapter the reference is the model without it."""
    from trl import DPOConfig, DPOTrainer

    reference = {} if adapted else {"ref_model": decoder()}
    return DPOTrainer(
        decoder(),
        args=_arguments(DPOConfig, folder, settings),
        **reference,
        **_trl(_pairs(), callbacks, adapted),
    )


def rewards(folder: str | Path, callbacks: Sequence[TrainerCallback] = (), **settings: Any):
    """TRL's reward model."""
    from trl import RewardConfig, RewardTrainer

    model = decoder(LlamaForSequenceClassification)
    return RewardTrainer(model, _arguments(RewardConfig, folder, settings), **_trl(_pairs(), callbacks))


def judged(folder: str | Path, callbacks: Sequence[TrainerCallback] = (), **settings: Any):
    """TRL's KTO."""
    from trl import KTOConfig, KTOTrainer

    rows = [_completed(text, "a cat ran") | {"label": number % 2 == 0} for number, text in enumerate(TEXTS)]
    arguments = _arguments(KTOConfig, folder, settings)
    return KTOTrainer(decoder(), ref_model=decoder(), args=arguments, **_trl(rows, callbacks))


def odds(folder: str | Path, callbacks: Sequence[TrainerCallback] = (), **settings: Any):
    """TRL's ORPO."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer(decoder(), args=_arguments(ORPOConfig, folder, settings), **_trl(_pairs(), callbacks))


def _pairs() -> list[dict[str, str]]:
    return [{"prompt": text, "chosen": " a cat sat", "rejected": " the park is"} for text in TEXTS]


def _trl(
    rows: list[dict[str, Any]], callbacks: Sequence[TrainerCallback], adapted: bool = False
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "train_dataset": datasets.Dataset.from_list(rows),
        "processing_class": tokenizer(),
        "callbacks": list(callbacks),
    }
    if adapted:
        from peft import LoraConfig

        # B that is not zero, so that the adapted model is another than its base.
        targets = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
        given["peft_config"] = LoraConfig(r=2, task_type="CAUSAL_LM", **targets)
    return given


def embedder() -> Any:
    """A sentence-transformers model of a random BERT, as mean of its tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    with tempfile.TemporaryDirectory() as folder:
        encoder(BertModel).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        words = Transformer(folder, max_seq_length=16)
    return SentenceTransformer(modules=[words, Pooling(16)], device="cpu")


def embeddings(folder: str | Path, callbacks: Sequence[TrainerCallback] = (), **settings: Any):
    """sentence-transformers' trainer with a contrastive loss."""
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = embedder()
    rows = {"anchor": TEXTS, "positive": TEXTS[::-1]}
    return SentenceTransformerTrainer(
        model,
        _arguments(SentenceTransformerTrainingArguments, folder, settings),
        train_dataset=datasets.Dataset.from_dict(rows),
        loss=MultipleNegativesRankingLoss(model),
        callbacks=list(callbacks),
    )


TRAINERS: dict[str, Make] = {
    "Trainer": plain,
    "Trainer, label smoothing": partial(plain, label_smoothing_factor=0.1),
    "Trainer, compute_loss_func": partial(plain, compute_loss_func=_of_sums),
    "Trainer, compute_loss of a subclass": partial(plain, kind=WeightedTrainer),
    "SFTTrainer": supervised,
    "SFTTrainer, packing": partial(supervised, packing=True, max_length=16),
    "SFTTrainer, completions only": partial(supervised, prompts=True),
    "SFTTrainer, LoRA": partial(supervised, adapted=True),
    "DPOTrainer": preferences,
    "DPOTrainer, LoRA": partial(preferences, adapted=True),
    "RewardTrainer": rewards,
    "KTOTrainer": judged,
    "ORPOTrainer": odds,
    "SentenceTransformerTrainer": embeddings,
}


def _train(make: Make, precision: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(folder, [spectral_opt.SpectralCallback(CONFIG)], **PRECISIONS[precision])
        trainer.train()
        if precision == "fp16" and not trainer.accelerator.native_amp:
            return FLOAT32
        entries = [entry for entry in trainer.state.log_history if "spectral/penalty" in entry]
    return None if entries and entries[-1]["spectral/penalty"] > 0 else "no penalty was logged"


class NotHereError(Exception):
    """A precision that this machine does not compute in."""


FLOAT32 = "accelerate computes in float32 instead, without a GPU"


def _in_loop(
    precision: str, prepare: Callable[[Any, Any, str], tuple[Any, Any, Callable[[Any], None]]]
) -> str | None:
    """Train by a loop of one's own; `prepare` gives model, optimizer and backward."""
    model = encoder()
    try:
        model, optimizer, backward = prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-2), precision)
    except NotHereError as reason:
        return str(reason)
    batches = [default_collate(rows) for rows in (tensors()[:4], tensors()[4:8])]
    with spectral_opt.attach(model, optimizer, CONFIG, batches) as handle:
        for batch in batches:
            optimizer.zero_grad()
            backward(model(**batch).loss)
            optimizer.step()
        return None if float(handle.penalty()) > 0 else "the penalty is zero"


def tensors() -> list[dict[str, torch.Tensor]]:
    """Labelled texts as tensors."""
    return [{key: torch.tensor(value) for key, value in row.items()} for row in labelled()]


def _plain_loop(model: Any, optimizer: Any, precision: str) -> tuple[Any, Any, Callable[[Any], None]]:
    kinds = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    model = model.to(kinds[precision])
    # Not Adam: its 1e-8 is zero in float16.
    return model, torch.optim.SGD(model.parameters(), lr=1e-2), torch.Tensor.backward


def _accelerated(model: Any, optimizer: Any, precision: str) -> tuple[Any, Any, Callable[[Any], None]]:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    # One state per process: what was prepared before has its own precision.
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=NAMES[precision])
    if precision == "fp16" and not accelerator.native_amp:
        raise NotHereError(FLOAT32)
    return *accelerator.prepare(model, optimizer), accelerator.backward


def _with_fabric(model: Any, optimizer: Any, precision: str) -> tuple[Any, Any, Callable[[Any], None]]:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1, precision=LIGHTNING[precision])
    return *fabric.setup(model, optimizer), fabric.backward


NAMES = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's
LIGHTNING = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def module_of(package: Any, optimizers: int = 1, manual: bool = False) -> Any:
    """A classifier as a LightningModule of either package, with a count of its own, as metrics have."""

    class Classifier(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.automatic_optimization = encoder(), not manual
            self.seen = {"batches": torch.zeros(())}

        def training_step(self, batch, batch_idx):
            self.seen["batches"] += 1
            loss = self.model(**batch).loss
            self.log("loss", loss)
            if manual:
                self.optimizers().zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(self.optimizers(), 0.5, "norm")
                self.optimizers().step()
            return loss

        def configure_optimizers(self):
            made = [torch.optim.AdamW(self.parameters(), lr=1e-2) for _ in range(optimizers)]
            return made if optimizers > 1 else made[0]

    return Classifier()


def _fitted(precision: str, package: str) -> str | None:
    pl = importlib.import_module(package)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    settings = {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1, "logger": False}
    callbacks = [spectral_opt.LightningSpectralCallback(CONFIG)]
    trainer = pl.Trainer(callbacks=callbacks, precision=LIGHTNING[precision], **quiet, **settings)
    trainer.fit(module_of(pl), DataLoader(tensors(), batch_size=4))
    return None if float(trainer.callback_metrics["spectral/penalty"]) > 0 else "no penalty was logged"


# Name to run(precision of PRECISIONS) -> None where it trained, else the reason why not.
CLIENTS: dict[str, Callable[[str], str | None]] = {
    "a loop of one's own": partial(_in_loop, prepare=_plain_loop),
    "accelerate": partial(_in_loop, prepare=_accelerated),
    "Fabric": partial(_in_loop, prepare=_with_fabric),
    **{name: partial(_train, make) for name, make in TRAINERS.items()},
    "Lightning's Trainer": partial(_fitted, package="lightning.pytorch"),
    "pytorch_lightning's Trainer": partial(_fitted, package="pytorch_lightning"),
}
