"""The blocks of tokens of a job: documents are told apart first, and cut then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from spectral_opt.errors import DataError
from spectral_opt.study import (
    TASK_BATCHES,
    Job,
    LanguageTask,
    StudyPlan,
    measured_on,
    refuse_shared_names,
    refuse_shared_texts,
    sources_of,
    unlabelled_data,
)
from spectral_opt.tasks import UnlabelledText, load_tokenizer, read_paragraphs, token_blocks

# Of the documents, set apart for testing, the same under every seed.
TEST_SHARE = 1 / 3
# Parts of a source of which the first that is there is its test part.
HELD_OUT = ("test", "validation", "dev")
# Letters that are read for a token that is drawn: an English token has four or five.
PLENTY = 16
Blocks = Mapping[str, Tensor]  # inputs of a model, each (blocks, length)


@dataclass(frozen=True)
class LanguageTexts:
    """The blocks of a job; no document has blocks in two parts but for `train` and `rest`, which share no block.

    `rest` are blocks of the task that are neither trained on nor scored, `preserved` those that methods may preserve,
    `measured` by source those on which forgetting is measured. `documents` are the numbers of documents that parts of
    the task are cut from; `notes` say what was left out or chosen here, `origins` where all came from.
    """

    train: Blocks
    dev: Blocks
    scored: Blocks
    rest: Blocks
    preserved: Blocks
    measured: Mapping[str, Blocks]
    documents: Mapping[str, int]
    split: str
    notes: tuple[str, ...]
    origins: Mapping[str, str]


def read_language_texts(plan: StudyPlan, job: Job) -> LanguageTexts:
    """Read, split and cut the texts of a job under its seed; no model is loaded.

    A third of the task's documents, the same under every seed, is its test part where the source ships none (one for
    validation is as good); dev takes of the others as many as it needs, in an order of the seed, and training blocks
    are drawn from what is left. Within a part blocks run from one document into the next, closed by the end token. In
    the stage "tuning" blocks of dev are scored and forgetting is measured on `task.selection`, and neither the test
    part nor a source of `task.held_out` is read. DataError says which sources share texts, and what is too small.
    """
    task = job.task
    assert isinstance(task, LanguageTask), "its kind has chosen this reader"
    is_tuning = job.part.stage == "tuning"
    refuse_shared_names(plan, task)
    tokenizer = load_tokenizer(plan.model)
    data = unlabelled_data(task, tokenizer)
    role: Literal["selection", "held_out"] = "selection" if is_tuning else "held_out"
    sources = {
        shown: read_paragraphs(name, tokenizer=tokenizer)
        for shown, name in sources_of(task)
        if not (is_tuning and shown.startswith("held_out"))
    }
    refuse_shared_texts(task, {**sources, f"data {task.data!r}": data})
    cutter = _Cutter(tokenizer, task.length, job.seed)
    documents = data.as_documents(task.document_column)
    parts = _split(documents, tokenizer, task, job.seed)
    train, notes = cutter.blocks(documents, parts["train"], f"train of {task.data}"), list[str]()
    if shipped := _shipped_test(documents):
        notes.append(f"the test part is the part {shipped!r} that the source ships")
    wanted = TASK_BATCHES * task.batch_size
    order = np.random.default_rng(job.seed).permutation(_count(train))
    if len(order) <= job.shots:
        raise DataError(
            f"{task.data}: {len(order)} blocks of {task.length} tokens are left beside dev and test, {job.shots} are "
            "to be trained on, and some of the others to build graphs from; ask for fewer shots"
        )
    rest = order[job.shots : job.shots + wanted]
    if len(rest) < wanted:
        notes.append(f"graphs of the task are built from {len(rest)} blocks, all that the split leaves")
    dev = scored = cutter.drawn(cutter.blocks(documents, parts["dev"], "dev"), task.dev_size, "dev")
    if not is_tuning:
        tested = cutter.blocks(documents, parts["test"], "the test part")
        scored = cutter.drawn(tested, task.test_size, "the test part")
    return LanguageTexts(
        train=_taken(train, order[: job.shots]),
        dev=dev,
        scored=scored,
        rest=_taken(train, rest),
        preserved=cutter.evenly(
            {name: sources[f"calibration {name!r}"] for name in task.calibration}, task.preserved
        ),
        measured={
            name: cutter.of_source(sources[f"{role} {name!r}"], task.measured, name)
            for name in measured_on(task, role)
        },
        documents={part: len(own) for part, own in parts.items()},
        split=f"{job.shots} blocks of {task.length} tokens, split by document, seed {job.seed}",
        notes=tuple(notes),
        origins={"data": str(documents.provenance)}
        | {shown: str(found.provenance) for shown, found in sources.items()},
    )


def _split(
    documents: UnlabelledText, tokenizer: PreTrainedTokenizerBase, task: LanguageTask, seed: int
) -> dict[str, list[int]]:
    """Deal whole documents: to the test part what is shipped as such, or a third; then to dev what it needs."""
    tokens = tokenizer(list(documents.texts), add_special_tokens=True, verbose=False)["input_ids"]
    sizes = np.array([len(one) for one in tokens])
    if len(sizes) < 3:
        raise DataError(
            f"{task.data} has {len(sizes)} documents, and a split by document needs three at least, one for each of "
            "train, dev and test: name a `document_column`, or give texts in more paragraphs"
        )
    shipped = _shipped_test(documents)
    if shipped is not None:
        is_tested = np.array(documents.metadata["split"], dtype=object) == shipped
        tested, others = np.flatnonzero(is_tested), np.flatnonzero(~is_tested)
    else:
        order = np.random.default_rng(0).permutation(len(sizes))
        ends = np.cumsum(sizes[order])
        count = 1 + int(np.searchsorted(ends, TEST_SHARE * ends[-1]))
        tested, others = order[:count], np.sort(order[count:])
    left = np.random.default_rng(seed).permutation(others)
    needed = task.dev_size * task.length
    held = 1 + int(np.searchsorted(np.cumsum(sizes[left]), needed))
    if held >= len(left):
        raise DataError(
            f"{task.data}: {len(left)} documents are left beside the test part, and dev takes {held} of them for "
            f"{task.dev_size} blocks of {task.length} tokens: ask for fewer, or give more documents"
        )
    parts = {"test": tested, "dev": left[:held], "train": left[held:]}
    return {part: sorted(own.tolist()) for part, own in parts.items()}


def _shipped_test(documents: UnlabelledText) -> str | None:
    """Name the part that the source ships for testing, as of classes; None where there is none."""
    parts = documents.metadata.get("split", ())
    return next((part for part in HELD_OUT if part in parts and "train" in parts), None)


@dataclass(frozen=True)
class _Cutter:
    """Cuts documents into blocks, and draws some of them by the seed of a job."""

    tokenizer: PreTrainedTokenizerBase
    length: int
    seed: int

    def blocks(self, documents: UnlabelledText, places: Sequence[int], shown: str) -> Blocks:
        """Cut some documents, one after the other."""
        texts = [documents.texts[at] for at in places]
        try:
            return token_blocks(self.tokenizer, texts, length=self.length, across=True)[:]
        except DataError:
            raise DataError(
                f"{shown} fills no block of {self.length} tokens: give more text, or a smaller `length`"
            ) from None

    def drawn(self, blocks: Blocks, size: int, shown: str) -> Blocks:
        """Draw blocks."""
        if _count(blocks) < size:
            raise DataError(f"{shown} has {_count(blocks)} blocks, and {size} are to be drawn: ask for fewer")
        return _taken(blocks, np.random.default_rng(self.seed).permutation(_count(blocks))[:size])

    def of_source(self, source: UnlabelledText, size: int, shown: str) -> Blocks:
        """Draw blocks of so many documents, in an order of the seed, that there are plenty, or of all."""
        order = np.random.default_rng(self.seed).permutation(len(source))
        letters = np.cumsum([len(source.texts[at]) for at in order])
        enough = 1 + int(np.searchsorted(letters, PLENTY * size * self.length))
        blocks = self.blocks(source, order[:enough].tolist(), shown)
        if _count(blocks) < size and enough < len(source):
            blocks = self.blocks(source, order.tolist(), shown)
        return self.drawn(blocks, size, shown)

    def evenly(self, sources: Mapping[str, UnlabelledText], size: int) -> Blocks:
        """Draw as many blocks from each source, one more from the first ones where the number does not divide."""
        each, more = divmod(size, len(sources))
        sizes = {name: each + (at < more) for at, name in enumerate(sources)}
        drawn = [self.of_source(sources[name], own, name) for name, own in sizes.items() if own]
        return {name: torch.cat([one[name] for one in drawn]) for name in drawn[0]}


def _taken(blocks: Blocks, places: np.ndarray) -> Blocks:
    return {name: value[torch.from_numpy(places)] for name, value in blocks.items()}


def _count(blocks: Blocks) -> int:
    return len(blocks["input_ids"])
