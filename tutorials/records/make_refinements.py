"""Does refining a fine-tune that forgot pay? One record for each task and seed, in refinements/.

`python tutorials/records/make_refinements.py TASK SEED...`, from the root of the repository, after `make install`; a
quarter of an hour for each seed on two cores. Fine-tunes are kept in build/refinements, and every state that is
measured is on disk at once: what was interrupted goes on where it was.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from paramgraph import tikhonov
from paramgraph.environment import hardware, versions
from paramgraph.whole_files import write_text
from spectral_opt import Refiner, SpectralConfig
from spectral_opt.study import fine_tune, get_method, retention
from spectral_opt.tasks import (
    MeanPooledClassifier,
    TokenizedBatches,
    embed_texts,
    few_shot_split,
    fit_best_probe,
    freeze_embeddings,
    load_labelled_text,
    load_model,
    load_text,
    score_classes,
    tokenize_batches,
    tokenize_epochs,
    unused_by_mean_pooling,
)

RECORDS, BUILD = Path("tutorials/records/refinements"), Path("build/refinements")
BATCH, RATE = 16, 2e-4
# In tokens, of preserved text.
MAX_LENGTH = 64
# Texts that are preserved; others of `HELD_OUT` whose neighbours are counted; and of the task, which pick nothing.
PRESERVED, NEIGHBOURS, TEST = 96, 200, 1000
HELD_OUT = "bbc"
FACTORS = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
GAMMAS = (0.1, 0.3, 1.0, 3.0, 10.0)
FEWER = (0.3, 1.0, 3.0)
# A null knows nothing of where the few large energies belong, and takes far larger strengths to change as much.
FOR_NULLS = (3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass(frozen=True)
class Task:
    """A fine-tune that forgets: a usual number of steps at a usual rate, from a linear probe, embeddings frozen.

    `other` is preserved text of a third domain, beside that of which the neighbours are counted.
    """

    data: str
    other: str
    per_class: int
    dev_per_class: int = 150
    split_test: int = 700
    steps: int = 375
    max_length: int = MAX_LENGTH


TASKS = {
    "rotten_tomatoes": Task("rotten_tomatoes", "sotu", 1000),
    "sotu_eras": Task("sotu_eras", "plots", 500, steps=250, max_length=32),
    "20_newsgroups": Task("20_newsgroups", "plots", 50, dev_per_class=20, split_test=2000, steps=125),
}


class Cell:
    """One task and seed: the fine-tune, the texts, and what a state is worth."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed, self.task = name, seed, TASKS[name]
        self.loaded = load_model()
        # Parts are drawn from all texts: a shipped test part is not what the records were made with.
        self.data = replace(load_labelled_text(self.task.data), shipped_split=None)
        task = self.task
        self.split = few_shot_split(self.data, task.per_class, task.dev_per_class, task.split_test, seed)
        self.model = MeanPooledClassifier(self.loaded.encoder, len(self.data.label_names))
        freeze_embeddings(self.loaded.encoder)
        news = load_text(HELD_OUT).drawn(NEIGHBOURS + PRESERVED, seed)
        self._neighbours = self._tokens(news[:NEIGHBOURS])
        self.preserved = {HELD_OUT: news[NEIGHBOURS:]}
        self.preserved[task.other] = load_text(task.other).drawn(PRESERVED, seed)
        test = self._test()
        self._test_texts = self._tokens([self.data.texts[place] for place in test], task.max_length)
        self._labels = self.data.labels[test]

    def fine_tuned(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the states before and after fine-tuning."""
        path = BUILD / f"{self.name}_{self.seed}.safetensors"
        if not path.exists():
            train = [self.data.texts[place] for place in self.split.train]
            labels = self.data.labels[self.split.train]
            dev = [self.data.texts[place] for place in self.split.dev]
            embedded = [
                embed_texts(self.model, self._tokens(texts, self.task.max_length)) for texts in (train, dev)
            ]
            fit_best_probe(self.model, embedded[0], labels, embedded[1], self.data.labels[self.split.dev])
            batches = tokenize_epochs(
                self.loaded.tokenizer,
                train,
                labels,
                steps=self.task.steps,
                batch_size=BATCH,
                max_length=self.task.max_length,
                seed=self.seed,
            )
            with tqdm(total=len(batches), desc=f"{path.stem}: fine-tuning", disable=None) as bar:
                done = fine_tune(
                    self.model,
                    batches,
                    get_method("adamw"),
                    learning_rate=RATE,
                    seed=self.seed,
                    on_step=lambda: bar.update() and None,
                )
            state = {f"tuned.{name}": value for name, value in done.model.state_dict().items()}
            state |= {f"head.{name}": value for name, value in self.model.classifier.state_dict().items()}
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value for name, value in state.items() if value.is_floating_point()}, path)
        stored = load_file(path)
        base = {name: value.clone() for name, value in self.model.state_dict().items()}
        base |= {f"classifier.{name}": stored[f"head.{name}"] for name in ("weight", "bias")}
        tuned = base | {
            name.removeprefix("tuned."): value for name, value in stored.items() if name.startswith("tuned.")
        }
        return base, tuned

    def batches(self, preserved: str) -> TokenizedBatches:
        """Tokenize preserved text."""
        return self._tokens(self.preserved[preserved], size=BATCH)

    def remember_base(self, base: Mapping[str, Tensor]) -> None:
        """Take a state as the one of which the neighbours are to be kept."""
        self.model.load_state_dict(base)
        self.before = embed_texts(self.model, self._neighbours).numpy()

    def measure(self, state: Mapping[str, Tensor]) -> dict[str, float]:
        """Measure a state: its task on texts that picked nothing, and what it lost."""
        self.model.load_state_dict(state)
        with torch.no_grad():
            logits = self.model.classifier(embed_texts(self.model, self._test_texts))
        chances = logits.softmax(dim=1).double().numpy()
        if len(self.data.label_names) == 2:
            auc = roc_auc_score(self._labels, chances[:, 1])
        else:
            auc = roc_auc_score(self._labels, chances, multi_class="ovr")
        predicted = chances.argmax(axis=1)
        kept = retention(self.before, embed_texts(self.model, self._neighbours).numpy())
        return {
            "auc": float(auc),
            "accuracy": float(np.mean(predicted == self._labels)),
            **asdict(score_classes(predicted, self._labels)),
            "lost": 1 - kept.neighbours_kept,
            "cosine": kept.cosine,
        }

    @property
    def sizes(self) -> dict[str, int]:
        """How many texts there are of each kind."""
        parts = {part: len(getattr(self.split, part)) for part in ("train", "dev")}
        return {**parts, "test": len(self._labels), "preserved": PRESERVED, "neighbours": NEIGHBOURS}

    def _test(self) -> np.ndarray:
        """Take all texts of groups that are neither in train nor in dev, up to `TEST`."""
        used = np.concatenate([self.split.train, self.split.dev])
        groups = np.arange(len(self.data)) if self.data.groups is None else np.array(self.data.groups)
        free = np.flatnonzero(~np.isin(groups, groups[used]))
        chosen: np.ndarray = np.random.default_rng(self.seed).permutation(free)[:TEST]
        return chosen

    def _tokens(self, texts: Sequence[str], max_length: int = MAX_LENGTH, size: int = 64) -> TokenizedBatches:
        return tokenize_batches(
            self.loaded.tokenizer, texts, batch_size=size, max_length=max_length, order="length"
        )


def states(
    cell: Cell, base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], known: set[tuple[str, float]]
) -> Iterator[tuple[str, float, dict[str, Tensor]]]:
    """Yield family, strength and state of all that is measured and not known yet; graphs are built once each.

    The head is that of the fine-tune in all of them, and base of the filters is the encoder alone.
    """

    def encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {name: value for name, value in state.items() if name.startswith("encoder.")}
        return {name.removeprefix("encoder."): value for name, value in own.items()}

    def whole(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tuned) | {f"encoder.{name}": value for name, value in state.items()}

    yield "base", 0.0, dict(base)
    yield "tuned", 1.0, dict(tuned)
    start, end = encoder(base), encoder(tuned)
    cell.model.load_state_dict(base)
    before = copy.deepcopy(cell.loaded.encoder)  # states are measured in the encoder itself
    for factor in FACTORS:
        if ("scaling", factor) not in known:
            floating = {name: value for name, value in end.items() if value.is_floating_point()}
            yield "scaling", factor, whole({n: torch.lerp(start[n], v, factor) for n, v in floating.items()})
    families: list[tuple[str, str, str, str, tuple[float, ...]]] = [
        ("columns", HELD_OUT, "columns", "", GAMMAS[:4]),
        ("product", HELD_OUT, "product", "", GAMMAS),
        ("product, permuted", HELD_OUT, "product", "permuted", FOR_NULLS),
        ("product, rotated", HELD_OUT, "product", "rotated", FOR_NULLS),
        (f"product of {cell.task.other}", cell.task.other, "product", "", FEWER),
    ]
    ready: dict[tuple[str, str], Refiner] = {}
    for family, preserved, graph, null, strengths in families:
        left = [strength for strength in strengths if (family, strength) not in known]
        if not left:
            continue
        if (preserved, graph) not in ready:
            config = SpectralConfig.preserve(graph=graph, exclude=unused_by_mean_pooling(before))
            started = time.perf_counter()
            ready = {
                (preserved, graph): Refiner(
                    before, config, {"preserve": cell.batches(preserved)}, rest="base"
                )
            }
            print(f"{family}: graphs in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        refiner = ready[preserved, graph]
        for strength in left:
            chosen = refiner.null(null, seed=cell.seed) if null else refiner
            yield family, strength, whole(chosen.apply(end, [tikhonov(strength)]))


def run(name: str, seed: int) -> None:
    """Measure all states of one cell and write its record."""
    path = RECORDS / f"{name}_{seed}.json"
    if path.exists():
        return
    cell = Cell(name, seed)
    base, tuned = cell.fine_tuned()
    cell.remember_base(base)
    unfinished = BUILD / f"{name}_{seed}.jsonl"
    points: list[dict[str, Any]] = []
    if unfinished.exists():
        points = [json.loads(line) for line in unfinished.read_text(encoding="utf-8").splitlines()]
    known = {(point["family"], point["strength"]) for point in points}
    for family, strength, state in states(cell, base, tuned, known):
        if (family, strength) in known:
            continue
        point = {"family": family, "strength": strength, **cell.measure(state)}
        points.append(point)
        with unfinished.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        print(
            f"{path.stem}: {family} {strength:g}: {point['auc']:.4f}, lost {point['lost']:.3f}",
            file=sys.stderr,
        )
    record = {
        "command": f"python tutorials/records/make_refinements.py {name} {seed}",
        "task": asdict(cell.task),
        "seed": seed,
        "stage": "exploration",
        "split": cell.split.description,
        "sizes": cell.sizes,
        "learning_rate": RATE,
        "batch_size": BATCH,
        "max_length": MAX_LENGTH,
        "held_out": HELD_OUT,
        "model": cell.loaded.name,
        "points": points,
        "versions": versions(),
        "hardware": hardware(),
    }
    RECORDS.mkdir(exist_ok=True)
    write_text(path, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("seeds", type=int, nargs="+")
    options = parser.parse_args()
    for one in options.seeds:
        run(options.task, one)
