"""The texts of a job, all told apart before a model is loaded: of its task, to preserve, to measure forgetting on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int

from spectral_opt.errors import DataError
from spectral_opt.study.plan import Job, StudyPlan, StudyTask
from spectral_opt.study.text_sources import (
    labelled_data,
    refuse_shared_names,
    refuse_shared_texts,
    sources_of,
)
from spectral_opt.tasks import (
    LabelledText,
    UnlabelledText,
    few_shot_split,
    is_same_source,
    load_labelled_text,
    load_tokenizer,
    read_paragraphs,
    rest_of_split,
    with_test_part,
)

# Of the task's other texts, from which methods build graphs: at most so many batches.
TASK_BATCHES = 16
# Of a probe's texts: on so many it is fitted, on as many others it is scored.
PROBE_TEXTS = 60


@dataclass(frozen=True)
class LabelledPart:
    """Texts and the class of each."""

    texts: Sequence[str]
    labels: Int[np.ndarray, " texts"]


@dataclass(frozen=True)
class JobTexts:
    """The texts of a job; no text of one part is in another, but for those of `probes` among themselves.

    `rest` are texts of the task that are neither trained on nor scored, `preserved` those that methods may preserve,
    `neighbours` those on which forgetting is measured. Of each of `probes`, the first half is to be fitted. `split`
    says how the task was split, `notes` what was left out or chosen here, `origins` where all came from.
    """

    label_names: tuple[str, ...]
    train: LabelledPart
    dev: LabelledPart
    scored: LabelledPart
    rest: LabelledPart
    preserved: Sequence[str]
    neighbours: Sequence[str]
    probes: Mapping[str, LabelledPart]
    split: str
    notes: tuple[str, ...]
    origins: Mapping[str, str]


def read_job_texts(plan: StudyPlan, job: Job) -> JobTexts:
    """Read, split and draw the texts of a job under its seed; no model is loaded.

    A third of the task's groups, the same under every seed, is its test part where the source ships none. In the stage
    "tuning" texts of dev are scored and forgetting is measured on `task.selection`, and nothing of the test part or of
    `task.held_out` is in any part. DataError says which sources share texts, and what is too small.
    """
    task, is_tuning = job.task, job.part.stage == "tuning"
    assert isinstance(task, StudyTask), "its kind has chosen this reader"
    refuse_shared_names(plan, task)
    tokenizer = partial(load_tokenizer, plan.model)
    data = with_test_part(labelled_data(task, tokenizer))
    unread = f"held_out {task.held_out!r}" if is_tuning else ""
    sources = {
        role: read_paragraphs(name, tokenizer=tokenizer) for role, name in sources_of(task) if role != unread
    }
    refuse_shared_texts(task, {**sources, f"data {task.data!r}": data})
    split = few_shot_split(data, job.shots, task.dev_per_class, task.test_size, job.seed)
    wanted, notes = TASK_BATCHES * task.batch_size, list[str]()
    rest = rest_of_split(data, split)
    if not len(rest):
        rest = rest_of_split(data, split, beside_train=True)
        notes.append(
            "graphs of the task are built from other texts of the groups in train: the split leaves none"
        )
    rest = np.random.default_rng(job.seed).permutation(rest)[:wanted]
    if not len(rest):
        raise DataError(
            f"{task.data}: no text is left beside train, dev and test to build graphs from; ask for fewer shots"
        )
    if len(rest) < wanted:
        notes.append(f"graphs of the task are built from {len(rest)} texts, all that the split leaves")
    measured = sources[f"selection {task.selection!r}" if is_tuning else f"held_out {task.held_out!r}"]
    neighbours = measured.drawn(task.neighbours, job.seed)
    preserved = _evenly([sources[f"calibration {name!r}"] for name in task.calibration], task, job.seed)
    origins = {"data": str(data.provenance)}
    origins |= {role: str(found.provenance) for role, found in sources.items()}
    used, probes = {*neighbours, *preserved}, {}
    for name in task.probes:
        if is_tuning and is_same_source(name, task.held_out):
            notes.append(f"the probe on {name} is left out in tuning: its texts are held out")
            continue
        labelled = load_labelled_text(name, tokenizer=tokenizer)
        refuse_shared_texts(task, {f"probe {name!r}": labelled, f"data {task.data!r}": data})
        probes[name] = _probe(labelled, used, job.seed)
        origins[f"probe {name!r}"] = str(labelled.provenance)
    return JobTexts(
        data.label_names,
        _part(data, split.train),
        _part(data, split.dev),
        _part(data, split.dev if is_tuning else split.test),
        _part(data, rest),
        preserved,
        neighbours,
        probes,
        split.description,
        tuple(notes),
        origins,
    )


def _part(data: LabelledText, places: Int[np.ndarray, " part"]) -> LabelledPart:
    return LabelledPart([data.texts[at] for at in places], data.labels[places])


def _evenly(sources: Sequence[UnlabelledText], task: StudyTask, seed: int) -> list[str]:
    """Draw as many texts from each source, one more from the first ones where the number does not divide."""
    each, more = divmod(task.preserved, len(sources))
    return [text for at, source in enumerate(sources) for text in source.drawn(each + (at < more), seed)]


def _probe(data: LabelledText, used: set[str], seed: int) -> LabelledPart:
    """Draw texts to fit a probe on, then as many of other groups to score it on, a text of each class in turn."""
    generator = np.random.default_rng(seed)
    _, groups = np.unique(np.array(data.groups or data.texts, dtype=object), return_inverse=True)
    half = generator.permutation(int(groups.max()) + 1)[groups] % 2
    is_free = np.array([text not in used for text in data.texts])
    chosen = []
    for side in range(2):
        pool = generator.permutation(np.flatnonzero(is_free & (half == side)))
        turn = np.empty(len(pool), dtype=np.int64)
        for label in range(len(data.label_names)):
            same = np.flatnonzero(data.labels[pool] == label)
            turn[same] = np.arange(len(same))
        chosen.append(pool[np.argsort(turn, kind="stable")[:PROBE_TEXTS]])
    if min(map(len, chosen)) < PROBE_TEXTS or len(set(data.labels[chosen[0]])) < 2:
        raise DataError(
            f"the probe {data.name!r} has {len(chosen[0])} texts of {len(set(data.labels[chosen[0]]))} classes to fit, "
            f"and {len(chosen[1])} of other groups to score: {PROBE_TEXTS} of each are needed, of two classes or more"
        )
    return _part(data, np.concatenate(chosen))
