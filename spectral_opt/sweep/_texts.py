"""The texts of a refinement: what builds graphs, what measures retention, what picks, and what reports."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from paramgraph.digests import text_digest
from spectral_opt.errors import DataError
from spectral_opt.refinement import moments_made_of
from spectral_opt.sweep.options import RefinementOptions
from spectral_opt.tasks import (
    TokenizerLike,
    column_beside,
    few_shot_split,
    is_same_source,
    load_labelled_text,
    read_paragraphs,
    read_text_beside,
)

# Of each class, to fit the head of a linear probe.
PROBE_TEXTS = 32
# An accuracy on fewer has an interval of more than 40 points; a loss is a number for each text, not right or wrong.
LEAST_REPORT, LEAST_LOSSES = 20, 8


@dataclass(frozen=True)
class Part:
    """Texts with their labels, where they have some."""

    texts: list[str]
    labels: list[int] | None = None


@dataclass(frozen=True)
class TaskTexts:
    """The task: texts that fit a probe, that pick a strength, and that report; and the names of the classes."""

    train: Part | None
    dev: Part
    test: Part | None
    label_names: tuple[str, ...]
    origin: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefinementTexts:
    """All texts of a refinement; no text is in two parts. `split` says in words how they were split."""

    build: list[str]
    held_out: list[str]
    task: TaskTexts | None
    split: str
    origin: str
    remarks: tuple[str, ...] = ()


def graphs_made_of(texts: RefinementTexts, options: RefinementOptions, max_length: int) -> dict[str, str]:
    """Tell by words and a digest which texts build the graphs, each of so many tokens at most."""
    words = (
        f"{len(texts.build)} texts of {texts.origin} (seed {options.seed}, at most {max_length} tokens each)"
    )
    return {"words": words, "digest": text_digest(str(max_length), *texts.build)}


def check_graphs(moments: Path, made_of: Mapping[str, str]) -> None:
    """Refuse a file of graphs that other texts built: one of those might measure now, and the results name these."""
    if not moments.exists():
        return
    found = moments_made_of(moments)
    if found is None:
        raise ValueError(
            f"{moments} does not say which texts built its graphs (it is of Refiner.write_moments, or of an earlier "
            "version), and texts that built graphs must not measure: give another file with --moments"
        )
    if found.get("digest") != made_of["digest"]:
        raise ValueError(
            f"the graphs in {moments} were built from other texts, {found.get('words')}, than those of this run, "
            f"{made_of['words']}: give those again, or another file with --moments"
        )


def read_texts(
    options: RefinementOptions,
    causal: bool,
    labelled: bool,
    tokenizer: TokenizerLike | None = None,
    is_used: Callable[[str], bool] = lambda text: True,
) -> RefinementTexts:
    """Read and split all texts, deterministic under the seed; DataError says which are missing or too few.

    Plain texts that are not `is_used` are left out and counted: of a text of one token there is no next one to predict.
    The tokenizer is asked for conversations alone.
    """
    held_out, dev, test = options.sizes(causal)
    preserve = read_text_beside(options.preserve, options.text_column, tokenizer)
    wanted = options.texts + held_out
    if len(preserve) < wanted:
        raise DataError(
            f"{options.preserve} has {len(preserve)} {preserve.unit}, and {wanted} are needed: {options.texts} to "
            f"build graphs and {held_out} others to measure retention; give more, or smaller --texts and --held-out"
        )
    remarks: list[str] = []
    order = np.random.default_rng(options.seed).permutation(len(preserve))
    chosen, short = _drawn((preserve.texts[place] for place in order), wanted, is_used)
    remarks += [_of_one_token(short, options.preserve)] if short else []
    if len(chosen) < wanted:
        raise DataError(
            f"{options.preserve} has {len(chosen)} texts of two tokens or more, and {wanted} are needed; give more "
            "text, or smaller --texts and --held-out"
        )
    task = None
    if options.task is not None:
        if is_same_source(options.preserve, options.task):
            remarks.append("preserved text and task are the same data: the task's own domain is protected")
        # A column that the text to be preserved has alone is left to it.
        column = column_beside(options.task, options.text_column, "text", [options.preserve])
        if column != options.text_column:
            remarks.append(
                f"{options.task} is read by the column {column!r}, as it has none named {options.text_column!r}"
            )
        asked, used = replace(options, text_column=column), set(chosen)
        task = (
            _read_labelled(asked, dev, test, used, tokenizer)
            if labelled
            else _read_plain(asked, dev, test, used, tokenizer, is_used)
        )
    split = f"{options.texts} texts of {preserve.name} build graphs, {held_out} others measure retention"
    if task is not None:
        reports = f"{len(task.test.texts)} others report" if task.test else "too few are left to report"
        split += f"; {len(task.dev.texts)} texts of the task pick, {reports}"
    return RefinementTexts(
        chosen[: options.texts],
        chosen[options.texts :],
        task,
        f"{split}; seed {options.seed}",
        str(preserve.provenance),
        tuple(remarks),
    )


def _read_labelled(
    options: RefinementOptions, dev: int, test: int, used: set[str], tokenizer: TokenizerLike | None
) -> TaskTexts:
    assert options.task is not None, "the caller has looked"
    data = load_labelled_text(options.task, options.text_column, options.label_column, tokenizer=tokenizer)
    classes, rarest = len(data.label_names), min(data.class_counts().values())
    # A third of the rarest class for each part: a small file gives small parts, and the page says how small.
    per_class = max(1, min(PROBE_TEXTS, rarest // 3))
    of_dev = max(1, min(dev // classes, rarest // 3))
    # A balanced part is drawn from as many texts as have enough of the rarest class. A tenth of the rest is left to
    # chance; whole groups go to one part, which needs more room.
    left = len(data) - (per_class + of_dev) * len(data) / rarest
    of_test = max(1, min(test, int(left * (0.5 if data.groups else 0.9))))
    split = few_shot_split(data, per_class, of_dev, of_test, options.seed)

    def part(places: Int64[np.ndarray, " part"]) -> Part:
        kept = [int(place) for place in places if data.texts[int(place)] not in used]
        return Part([data.texts[place] for place in kept], [int(data.labels[place]) for place in kept])

    train, picks, reports = part(split.train), part(split.dev), part(split.test)
    remarks = [f"task: {data.provenance}"] if data.provenance.dropped or data.provenance.notes else []
    if per_class < PROBE_TEXTS or of_dev < dev // classes:
        name = next(name for name, count in data.class_counts().items() if count == rarest)
        remarks.append(
            f"the rarest class, {name}, has {rarest} texts, so {per_class} of each class fit a probe and {of_dev} pick"
        )
    if len(reports.texts) < LEAST_REPORT:
        remarks.append(_too_few(len(reports.texts), LEAST_REPORT))
    shared = sum(map(len, (split.train, split.dev, split.test)))
    shared -= sum(len(one.texts) for one in (train, picks, reports))
    if shared:
        remarks.append(_shared(shared))
    if set(train.labels or ()) != set(range(classes)):
        raise DataError(
            f"{options.task} leaves no text of a class to fit a probe on: {_shared(shared)}; preserve another text"
        )
    found = TaskTexts(
        train,
        picks,
        reports if len(reports.texts) >= LEAST_REPORT else None,
        data.label_names,
        str(data.provenance),
        tuple(remarks),
    )
    if len(found.dev.texts) < 8:
        raise DataError(
            f"{options.task} leaves {len(found.dev.texts)} texts to pick a strength: at least 8 are needed"
        )
    return found


def _read_plain(
    options: RefinementOptions,
    dev: int,
    test: int,
    used: set[str],
    tokenizer: TokenizerLike | None,
    is_used: Callable[[str], bool],
) -> TaskTexts:
    assert options.task is not None, "the caller has looked"
    data = read_paragraphs(options.task, options.text_column, tokenizer)
    left = [text for text in data.texts if text not in used]
    remarks = [] if len(left) == len(data) else [_shared(len(data) - len(left))]
    order = np.random.default_rng(options.seed + 1).permutation(len(left))
    drawn, short = _drawn((left[place] for place in order), dev + test, is_used)
    remarks += [_of_one_token(short, options.task)] if short else []
    if len(drawn) < dev:
        raise DataError(
            f"{options.task} has {len(drawn)} texts, and {dev} are needed to pick a strength; give more, or a "
            "smaller --dev"
        )
    reports = drawn[dev:]
    enough = len(reports) >= LEAST_LOSSES
    return TaskTexts(
        None,
        Part(drawn[:dev]),
        Part(reports) if enough else None,
        (),
        str(data.provenance),
        tuple(remarks if enough else [*remarks, _too_few(len(reports), LEAST_LOSSES)]),
    )


def _drawn(texts: Iterable[str], wanted: int, is_used: Callable[[str], bool]) -> tuple[list[str], int]:
    """Take the first texts that are used; count those that were passed over."""
    kept: list[str] = []
    passed = 0
    for text in texts:
        if len(kept) == wanted:
            break
        if is_used(text):
            kept.append(text)
        else:
            passed += 1
    return kept, passed


def _of_one_token(count: int, place: str) -> str:
    return f"texts of {place} of one token, of which there is no next one to predict, and which are left out: {count}"


def _shared(count: int) -> str:
    return f"texts of the task that are among the preserved ones, and are left out: {count}"


def _too_few(left: int, needed: int) -> str:
    return f"no test: {left} texts of the task are left for it, and at least {needed} are needed"
