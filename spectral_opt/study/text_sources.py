"""The sources of a task's texts, by what each is for, held apart: none of them has a text of another."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from typing import Literal

from paramgraph.errors import UnknownNameError
from spectral_opt.errors import DataError
from spectral_opt.study.plan import LanguageTask, StudyPlan, StudyTask, Task
from spectral_opt.tasks import (
    LabelledText,
    TokenizerLike,
    UnlabelledText,
    is_same_source,
    load_labelled_text,
    load_tokenizer,
    read_paragraphs,
)

# Words of a paragraph that is nobody's but one source's; "Enter the King" may stand in two plays.
TELLING = 8


def check_sources(plan: StudyPlan) -> None:
    """Read all texts of a plan, and raise DataError where a task's sources share one, by name or by content."""
    tokenizer = partial(load_tokenizer, plan.model)
    for task in plan.tasks:
        refuse_shared_names(plan, task)
        several = {role: read_paragraphs(name, tokenizer=tokenizer) for role, name in sources_of(task)}
        refuse_shared_texts(task, several | {f"data {task.data!r}": data_of(task, tokenizer)})


def sources_of(task: Task) -> Iterator[tuple[str, str]]:
    """Yield what each source of text is for, with its name, and its name alone."""
    for name in task.calibration:
        yield f"calibration {name!r}", name
    for role in ("selection", "held_out"):
        for name in measured_on(task, role):
            yield f"{role} {name!r}", name


def measured_on(task: Task, role: Literal["selection", "held_out"]) -> tuple[str, ...]:
    """List the sources on which forgetting is measured: of classes there is one."""
    names: str | tuple[str, ...] = getattr(task, role)
    return (names,) if isinstance(names, str) else names


def refuse_shared_names(plan: StudyPlan, task: Task) -> None:
    """Raise DataError where two sources are one by name."""
    if not task.calibration:
        raise DataError(f"task {task.name!r} has no calibration text: name at least one source to preserve")
    named = list(sources_of(task))
    own = [(f"data {one.data!r}", one.data) for one in tasks_before(plan, task)]
    for (role, name), (other_role, other) in [*combinations(named, 2), *product(named, own)]:
        if is_same_source(name, other):
            raise DataError(
                f"task {task.name!r}: {role} and {other_role} are the same texts; calibration, selection, held_out "
                "and the data of a task have to be sources that share nothing"
            )
    for name in task.probes if isinstance(task, StudyTask) else ():
        if any(is_same_source(name, place) for _, place in own):
            raise DataError(
                f"task {task.name!r}: the probe {name!r} is the task's own data; name labelled texts of another task"
            )


def tasks_before(plan: StudyPlan, task: Task) -> list[Task]:
    """List a task and those that are learned before it, the last one first; a circle of them raises ValueError."""
    known = {one.name: one for one in plan.tasks}
    found = [task]
    while (first := found[-1].first) is not None:
        if first not in known:
            raise UnknownNameError.among(f"first task of {found[-1].name}", first, sorted(known))
        if known[first] in found:
            raise ValueError(
                f"the tasks {', '.join(one.name for one in found)} come before each other: leave out one `first`"
            )
        found.append(known[first])
    return found


def refuse_shared_texts(task: Task, sources: Mapping[str, LabelledText | UnlabelledText]) -> None:
    """Raise DataError where two sources share a text; of a language model, or a paragraph of more than a few words."""
    alike = {
        role: set(_alike(found.texts, is_cut=isinstance(task, LanguageTask)))
        for role, found in sources.items()
    }
    for (role, found), (other_role, other) in combinations(alike.items(), 2):
        shared = found & other
        if shared:
            example = min(shared)
            raise DataError(
                f"task {task.name!r}: {role} and {other_role} share {len(shared)} texts, such as {example[:60]!r}; "
                "calibration, selection, held_out and the data of a task have to be sources that share nothing"
            )


def _alike(texts: Sequence[str], *, is_cut: bool) -> Iterator[str]:
    """Yield texts, and their paragraphs, as they are compared: neither case nor white space makes another text."""
    for text in texts:
        yield " ".join(text.split()).casefold()
        # One source has scenes, and another the paragraphs of them.
        for paragraph in re.split(r"\n\s*\n", text) if is_cut else ():
            words = paragraph.split()
            if len(words) >= TELLING:
                yield " ".join(words).casefold()


def data_of(task: Task, tokenizer: TokenizerLike) -> LabelledText | UnlabelledText:
    """Read what a task is learned from, with classes or without."""
    if isinstance(task, LanguageTask):
        return unlabelled_data(task, tokenizer)
    return labelled_data(task, tokenizer)


def unlabelled_data(task: LanguageTask, tokenizer: TokenizerLike) -> UnlabelledText:
    """Read the texts of a task, with the column by which they are documents."""
    return read_paragraphs(
        task.data,
        task.text_column,
        tokenizer=tokenizer,
        document_column=task.document_column,
        subset=task.subset,
    )


def labelled_data(task: StudyTask, tokenizer: TokenizerLike) -> LabelledText:
    """Read the texts and classes of a task."""
    return load_labelled_text(
        task.data,
        task.text_column,
        task.label_column,
        task.group_column,
        subset=task.subset,
        tokenizer=tokenizer,
    )
