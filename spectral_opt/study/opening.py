"""A job made real: its texts as batches, and the model that all of its runs start from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from paramgraph.digests import text_digest
from spectral_opt.study.causal_lm import open_language_setting
from spectral_opt.study.classifier_setting import ClassifierSetting, ProbeTask
from spectral_opt.study.fine_tuning import WARMUP, WEIGHT_DECAY, fine_tune
from spectral_opt.study.job_texts import JobTexts, read_job_texts
from spectral_opt.study.method import get_method
from spectral_opt.study.plan import Job, StudyPlan, StudyTask
from spectral_opt.study.records import CAUSAL_LM, CLASSIFICATION, TaskKind
from spectral_opt.study.setting import EarlierTask, StudySetting
from spectral_opt.study.text_sources import tasks_before
from spectral_opt.tasks import (
    LoadedModel,
    MeanPooledClassifier,
    TokenizedBatches,
    draw_labels,
    embed_texts,
    fit_best_probe,
    freeze_embeddings,
    load_model,
    tokenize_batches,
    tokenize_epochs,
)

# The peak rate at which an earlier task is learned.
EARLIER_RATE = 1e-4
# Texts of a batch that is only read: it changes no result.
READING = 64
CPU = torch.device("cpu")


def open_setting(plan: StudyPlan, job: Job, device: torch.device = CPU) -> StudySetting:
    """Read the texts of a job and load the model, as its kind of task has it: the same in every process.

    Heads are fitted on the CPU; then all is put on the `device`, on which an earlier task is learned too.

    Of classes, a head is fitted. With `task.first`, the model is tuned on that task first, by AdamW with that task's
    steps and the job's shots and seed, and the head is fitted to what it has become. Mistakes in texts are the errors
    of `read_job_texts`, before a model is loaded; a model that cannot be had is a ModelError.
    """
    setting = OPENERS[job.task.kind](plan, job, device)
    if device != CPU:
        setting.place(device)
    return setting


def _open(plan: StudyPlan, job: Job, device: torch.device = CPU) -> tuple[ClassifierSetting, LoadedModel]:
    task, steps = job.task, job.part.steps or job.task.steps
    assert isinstance(task, StudyTask), "its kind has chosen this door"
    texts = read_job_texts(plan, job)
    loaded, earlier = _loaded(plan, job, device)
    start = MeanPooledClassifier(loaded.encoder, len(texts.label_names)).eval()

    def read(
        part: Sequence[str], longest: int = task.preserved_length, size: int = READING
    ) -> TokenizedBatches:
        return tokenize_batches(loaded.tokenizer, part, batch_size=size, max_length=longest, order="length")

    parts = {"train": texts.train, "dev": texts.dev, "scored": texts.scored, "task": texts.rest}
    batches = {name: read(part.texts, task.max_length) for name, part in parts.items()}
    batches["preserve"] = read(texts.preserved, size=task.batch_size)
    batches["neighbours"] = read(texts.neighbours)
    probes = [
        ProbeTask(name, read(part.texts), part.labels, len(part.texts) // 2)
        for name, part in texts.probes.items()
    ]
    strength = fit_best_probe(
        start,
        embed_texts(start, batches["train"]),
        texts.train.labels,
        embed_texts(start, batches["dev"]),
        texts.dev.labels,
    )
    drawn = draw_labels(start, batches["task"], job.seed)
    setting = ClassifierSetting(
        task=task,
        shots=job.shots,
        seed=job.seed,
        stage=job.part.stage,
        start=start,
        training=tokenize_epochs(
            loaded.tokenizer,
            texts.train.texts,
            texts.train.labels,
            steps=steps,
            batch_size=task.batch_size,
            max_length=task.max_length,
            seed=job.seed,
        ),
        dev=batches["dev"],
        scored=batches["scored"],
        labels={name: parts[name].labels for name in ("train", "dev", "scored")},
        calibration={
            "task": tokenize_batches(
                loaded.tokenizer,
                texts.rest.texts,
                drawn,
                batch_size=task.batch_size,
                max_length=task.max_length,
            ),
            "preserve": batches["preserve"],
        },
        neighbours=batches["neighbours"],
        probes=tuple(probes),
        earlier=earlier,
        facts=_facts(texts, loaded, batches | {f"probe {probe.name}": probe.batches for probe in probes})
        | {"probe_strength": strength, "steps": steps},
    )
    return setting, loaded


def _loaded(plan: StudyPlan, job: Job, device: torch.device) -> tuple[LoadedModel, EarlierTask | None]:
    """Load the model, embeddings frozen; tuned on the task that comes first, where there is one."""
    if job.task.first is None:
        loaded = load_model(plan.model)
        freeze_embeddings(loaded.encoder)
        return loaded, None
    first = tasks_before(plan, job.task)[1]
    setting, loaded = _open(plan, replace(job, part=replace(job.part, steps=None), task=first, cells=()))
    if device != CPU:
        setting.place(device)
    adamw = get_method("adamw")
    done = fine_tune(
        setting.start,
        setting.training,
        adamw,
        learning_rate=EARLIER_RATE,
        weight_decay=WEIGHT_DECAY,
        warmup=WARMUP,
        seed=job.seed,
    )
    tuned: Any = done.model.to(CPU)  # a copy of the classifier that the start is
    note = f"tuned on {first.name}: {len(setting.training)} steps of AdamW, rate {EARLIER_RATE:g}"
    loaded = replace(loaded, encoder=tuned.encoder, provenance=loaded.provenance.with_note(note))
    earlier = EarlierTask(
        first.name, tuned.classifier, setting.scored, setting.labels["scored"], setting.training
    )
    return loaded, earlier


def _facts(texts: JobTexts, loaded: LoadedModel, batches: dict[str, TokenizedBatches]) -> dict[str, object]:
    """State what a record has to say of its texts: how many, from where, and which, by a checksum of each part."""
    parts = {"train": texts.train.texts, "dev": texts.dev.texts, "scored": texts.scored.texts}
    parts |= {"task": texts.rest.texts, "preserve": texts.preserved, "neighbours": texts.neighbours}
    parts |= {f"probe {name}": part.texts for name, part in texts.probes.items()}
    labelled = (texts.train, texts.dev, texts.scored, texts.rest, *texts.probes.values())
    labels = [str(part.labels.tolist()) for part in labelled]
    return {
        "sizes": {name: len(part) for name, part in parts.items()},
        "split": texts.split,
        "truncated": {name: batches[name].truncated for name in parts},
        "provenance": {"model": str(loaded.provenance), **texts.origins},
        "checksums": {name: text_digest(*part) for name, part in parts.items()}
        | {"labels": text_digest(*labels)},
        "classes": list(texts.label_names),
        "notes": list(texts.notes),
    }


OPENERS: Mapping[TaskKind, Callable[[StudyPlan, Job, torch.device], StudySetting]] = {
    CLASSIFICATION: lambda plan, job, device: _open(plan, job, device)[0],
    CAUSAL_LM: lambda plan, job, device: open_language_setting(plan, job),
}
