"""Fine-tuning: a step of LoRA with filter and penalty beside a plain one, `finetune` beside a script of the Trainer."""

import csv
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectral_opt import SpectralConfig, attach
from spectral_opt.finetuning import FineTuneOptions, finetune

from benchmarks.adapter_memory import (
    LENGTH,
    SENTENCES,
    SMOLLM2,
    causal_model,
    random_batch,
    take_step,
    trained_by,
)
from benchmarks.contest import Contest, Profile

LAYERS = 30
TOKENS = 64
STEPS = {"smallest": 2, "brief": 4, "full": 24}
TEXTS = {"smallest": 40, "brief": 120, "full": 400}


def contests(profile: Profile) -> Iterator[Contest]:
    """Give steps of LoRA, of few layers for a brief look, then runs of a classifier; the smallest without adapters."""
    if profile == "smallest":
        yield steps(1, {"vocab_size": 64, "hidden_size": 36, "intermediate_size": 48}, adapted=False)
    else:
        yield steps({"brief": 4, "full": LAYERS}[profile], SMOLLM2)
    with tempfile.TemporaryDirectory() as place:
        yield runs(profile, Path(place))


def steps(layers: int, shape: Mapping[str, int], adapted: bool = True) -> Contest:
    """Take a step of SmolLM2's shape with LoRA r8, with the default filter and penalty and without, in turn."""
    models = {name: causal_model(layers, shape, adapted) for name in ("filter and penalty", "plain")}
    optimizers = {name: trained_by(model) for name, model in models.items()}
    texts = [random_batch(shape, seed) for seed in (1, 2)]
    attach(models["filter and penalty"], optimizers["filter and penalty"], SpectralConfig(), batches=texts)

    def step(name: str) -> list[Tensor]:
        take_step(models[name], optimizers[name], random_batch(shape, 0))
        return [p.detach().clone() for p in models[name].parameters() if p.requires_grad]

    def check(found: Mapping[str, list[Tensor]]) -> None:
        ours, plain = found.values()
        assert all(bool(value.isfinite().all()) for value in ours)
        assert any(not torch.equal(one, other) for one, other in zip(ours, plain, strict=True))

    return Contest(
        "a step of LoRA r8",
        {"layers": layers, "tokens": SENTENCES * LENGTH},
        {name: (lambda name=name: step(name)) for name in models},
        check,
        turns=12,
        seconds=75.0,
        goals={"plain": 1.04},
    )


def runs(profile: Profile, place: Path) -> Contest:
    """Tune a classifier from its folder and a CSV to a folder, by `finetune` without a config and by a script."""
    model, rows = _tiny(place) if profile == "smallest" else _embedded()
    rows = rows[: TEXTS[profile]]
    with (place / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    numbers = itertools.count()
    options = FineTuneOptions(
        model=str(model),
        data=str(place / "texts.csv"),
        task="classification",
        max_length=TOKENS,
        max_steps=STEPS[profile],
        batch_size=16,
        evaluate_every=STEPS[profile] // 2,
    )

    def ours() -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(finetune(options, place / str(next(numbers))).folder / "model.safetensors")

    def check(found: Mapping[str, Mapping[str, Tensor]]) -> None:
        tuned, by_script = found.values()
        assert tuned.keys() == by_script.keys()
        assert all(torch.equal(value, tuned[name]) for name, value in by_script.items())

    script = _script(options, rows, lambda: place / str(next(numbers)))
    return Contest(
        "a run of finetune",
        {"steps": STEPS[profile], "texts": len(rows)},
        {"paramgraph": ours, "script of the Trainer": script},
        check,
        turns=4,
        seconds=150.0,
        goals={"script of the Trainer": 1.01},
    )


def _script(
    options: FineTuneOptions, rows: list[tuple[str, str]], folder: Callable[[], Path]
) -> Callable[[], dict[str, Tensor]]:
    """Write what a user of transformers would: the same parts, seeds, evaluations and checkpoints, and no record."""
    from safetensors.torch import load_file
    from sklearn.model_selection import train_test_split
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    names = sorted({label for _, label in rows})
    labels = [names.index(label) for _, label in rows]
    held_out = round(options.evaluation_share * len(rows))

    def scores(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    def run() -> dict[str, Tensor]:
        place = folder()
        tokenizer = AutoTokenizer.from_pretrained(options.model)
        cut = {"truncation": True, "max_length": options.max_length}
        parts = train_test_split(range(len(rows)), test_size=held_out, random_state=0, stratify=labels)
        train, evaluation = (
            [{**tokenizer(rows[at][0], **cut), "labels": labels[at]} for at in sorted(part)] for part in parts
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForSequenceClassification.from_pretrained(
                options.model, num_labels=len(names), dtype=torch.float32
            )
            arguments = TrainingArguments(
                str(place),
                max_steps=options.max_steps,
                eval_strategy="steps",
                eval_steps=options.evaluate_every,
                save_steps=options.evaluate_every,
                save_total_limit=2,
                per_device_train_batch_size=options.batch_size,
                per_device_eval_batch_size=options.batch_size,
                seed=0,
                data_seed=0,
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
                use_cpu=True,
            )
            trainer = Trainer(
                model,
                arguments,
                DataCollatorWithPadding(tokenizer),
                train,
                evaluation,
                processing_class=tokenizer,
                compute_metrics=scores,
            )
            with torch.random.fork_rng(devices=[]):  # its loader draws a seed, which would move dropout
                trainer.evaluate()
            trainer.train()
            trainer.save_model(str(place))
        return load_file(place / "model.safetensors")

    return run


def _embedded() -> tuple[Path, list[tuple[str, str]]]:
    from spectral_opt.tasks import embedded_folder, load_labelled_text

    folder, data = embedded_folder("embedded"), load_labelled_text("rotten_tomatoes", max_rows=1000)
    assert folder is not None
    return folder, [
        (text, data.label_names[label]) for text, label in zip(data.texts, data.labels, strict=True)
    ]


def _tiny(place: Path) -> tuple[Path, list[tuple[str, str]]]:
    from helpers.word_models import FILLER, OPINIONS, save_word_model

    rows = [
        (f"{FILLER[at % len(FILLER)]} {OPINIONS[at % 2][0]} {at}", ("bad", "good")[at % 2])
        for at in range(TEXTS["smallest"])
    ]
    return save_word_model(place / "bert"), rows
