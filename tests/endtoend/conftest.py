"""A tiny model and invented opinions: the whole way in seconds."""

import copy
import csv
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from transformers import Trainer, TrainingArguments

import spectral_opt

from helpers.word_models import FILLER, OPINIONS, VOCABULARY, save_word_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Without these a browser as root does not start, or asks its maker's servers for news.
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Whatever Chromium or Chrome the machine has."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def word_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_model(tmp_path_factory.mktemp("models") / "word-bert")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Labelled sentences whose opinion stands in three of nine words, and unlabelled ones of the same words."""
    folder, generator = tmp_path_factory.mktemp("texts"), random.Random(0)
    paths = {name: folder / f"{name}.csv" for name in ("labelled", "preserve", "retention")}
    with paths["labelled"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        seen: set[str] = set()
        while len(seen) < 600:
            label = len(seen) % 2
            words = [*generator.choices(FILLER, k=6), *generator.choices(OPINIONS[label], k=3)]
            generator.shuffle(words)
            if (text := " ".join(words)) not in seen:
                seen.add(text)
                writer.writerow((text, ("negative", "positive")[label]))
    for name in ("preserve", "retention"):
        rows = {" ".join(generator.choices(VOCABULARY[4:], k=8)) for _ in range(200)}
        paths[name].write_text("text\n" + "\n".join(sorted(rows)) + "\n")
    return paths


@pytest.fixture
def examples(tiny_batches):
    """Twenty-four texts of 12 tokens with labels."""
    return [{key: value[i] for key, value in batch.items()} for batch in tiny_batches for i in range(4)]


@pytest.fixture
def trainer(tmp_path, tiny_transformer, examples):
    """Make a Trainer of a copy of the tiny model."""

    def make(config=None, folder="run", callback=None, model=None, optimizers=(None, None), **settings):
        options = {
            "output_dir": str(tmp_path / folder),
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        callback = spectral_opt.SpectralCallback(config) if config is not None else callback
        return Trainer(
            copy.deepcopy(tiny_transformer) if model is None else model,
            TrainingArguments(**(options | settings)),
            train_dataset=examples,
            eval_dataset=examples[:4],
            callbacks=[callback] if callback else None,
            optimizers=optimizers,
        )

    return make


@pytest.fixture
def run(trainer):
    """Make a Trainer and train at once: its constructor seeds everything."""

    def train(*args, **settings):
        made = trainer(*args, **settings)
        made.train()
        return made

    return train
