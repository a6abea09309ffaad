"""A study and its records, made up but deterministic: what statistics and reports are tested on.

Each method has a curve of its own: a state at factor f has lost `lost` f^2 of the neighbours and gained
`gain` (1 - (1 - f)^2) of the score, plus the noise of its seed, which methods of one seed share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spectral_opt.study import (
    AfterGrid,
    Cell,
    CellRecord,
    Job,
    LanguageTask,
    MethodGrid,
    Part,
    StudyPlan,
    StudyTask,
    record_of,
)


@dataclass(frozen=True)
class Behaviour:
    """What a method does: the score it gains, what it loses, how fast dev loss falls, and what it costs."""

    gain: float
    lost: float
    speed: float = 1.0
    seconds: float = 20.0


METHODS = {
    "linear_probe": Behaviour(0.0, 0.0, 0.0, 0.0),
    "adamw": Behaviour(0.08, 0.45),
    "l2sp": Behaviour(0.075, 0.36, 0.95, 22.0),
    "spectral_penalty": Behaviour(0.078, 0.42, 1.0, 31.0),
    "spectral_filter": Behaviour(0.07, 0.4, 0.9, 30.0),
    "spectral_filter_permuted": Behaviour(0.071, 0.41, 0.9, 30.0),
    "distillation": Behaviour(0.08, 0.24, 0.95, 34.0),
    "soap": Behaviour(0.081, 0.48, 1.3, 65.0),
}
# What a filter leaves of the gain and of what was lost.
AFTER = {
    "product": (0.93, 0.3),
    "product_permuted": (0.97, 0.85),
    "product_rotated": (0.96, 0.86),
    "columns": (0.93, 0.4),
    "diagonal_fisher": (0.93, 0.6),
    "lines": (0.94, 0.7),
}
TEXTS = 300
FACTORS = (1.0, 0.8, 0.6, 0.4, 0.2)
VERSIONS = {"paramgraph": "0.1.0", "torch": "2.13.0"}
HARDWARE = {"cpu": "x86_64", "cores": 2}


def synthetic_plan(
    seeds: int = 5,
    tasks: Sequence[str] = ("rotten_tomatoes", "sotu_eras"),
    methods: Sequence[str] = tuple(METHODS),
    after: Sequence[str] = tuple(AFTER),
    hypotheses: Sequence[Mapping[str, Any]] = (),
    nulls: Sequence[str] = (),
) -> StudyPlan:
    """Make a plan of four parts: tuning, filters of finished fine-tunes, few-shot, and convergence.

    The first filter has `nulls` as well.
    """
    rate = {"learning_rate": (2e-4,)}
    null: dict[str, tuple[str | None, ...]] = {"null": (None, *nulls)} if nulls else {}
    grids = tuple(MethodGrid(name, rate if name != "linear_probe" else {}) for name in methods)
    trained = tuple(grid for grid in grids if grid.name != "linear_probe")
    tuned = tuple(MethodGrid(grid.name, {"learning_rate": (1e-4, 2e-4, 6e-4)}) for grid in trained)
    filters = tuple(
        AfterGrid(name, ("adamw",), {"strength": (1.0,), **(null if name == after[0] else {})})
        for name in after
    )
    # As in a real study, tuning and confirmation share no seed.
    fresh = tuple(range(1000, 1000 + seeds))
    names = tuple(tasks)
    parts = (
        Part("tuning", "tuning", names, (16,), (13, 21), tuned, factors=(1.0,)),
        Part("posthoc", "confirmation", names, (500,), fresh, grids[:2], filters, FACTORS, evaluate_every=10),
        Part("fewshot", "confirmation", names, (16,), fresh, grids, (), FACTORS, evaluate_every=10),
        Part("convergence", "confirmation", names, (500,), fresh, trained, (), evaluate_every=10),
    )
    known = tuple(
        StudyTask(name, name, ("reuters_r8",), "plots", "bbc", probes=("bbc_topics",), steps=100)
        for name in names
    )
    return StudyPlan("A study that is made up", "all-MiniLM-L6-v2", known, parts, tuple(hypotheses))


def synthetic_records(plan: StudyPlan, seed: int = 0) -> dict[str, CellRecord]:
    """Make the record of each cell of a plan, by its key; methods without a behaviour have AdamW's."""
    return {cell.key: synthetic_record(plan, job, cell, seed) for job in plan.jobs() for cell in job.cells}


def synthetic_record(plan: StudyPlan, job: Job, cell: Cell, seed: int = 0) -> CellRecord:
    """Make the record of one cell: what a run of it would have found."""
    names = [task.name for task in plan.tasks]
    # Cells of one task and seed have drawn the same texts, so part of their noise is one.
    shared = np.random.default_rng([seed, cell.seed, cell.shots, names.index(cell.task)])
    own = np.random.default_rng([seed, *cell.key.encode()])
    behaviour = METHODS.get(cell.method, METHODS["adamw"])
    gain, lost = behaviour.gain, behaviour.lost
    if cell.after is not None:
        null = cell.after_options.get("null")
        left = AFTER.get(f"{cell.after}_{null}" if null else cell.after, (1.0, 1.0))
        gain, lost = gain * left[0], lost * left[1]
    base = 0.66 + 0.03 * names.index(cell.task) + 0.012 * shared.normal()
    gain = gain * (1 + 0.1 * shared.normal()) + 0.002 * own.normal()
    lost = float(np.clip(lost * (1 + 0.08 * shared.normal()) * (1 + 0.04 * own.normal()), 0, 1))
    rate = float(cell.options.get("learning_rate") or 2e-4)
    gain -= 0.03 * abs(np.log(rate / 2e-4)) * (behaviour.gain > 0)
    points: list[dict[str, Any]] = [
        _point(factor, base, gain, lost, own) for factor in job.part.factors_of(cell.after is not None)
    ]
    points[0]["probes"] = {name: round(0.93 - 0.08 * lost, 4) for name in job.task.probes}
    metrics: dict[str, Any] = {"points": points, "start": _point(0.0, base, 0.0, 0.0, own)}
    if cell.after is not None:
        metrics["tuned"] = synthetic_record(plan, job, cell.trained, seed).metrics["points"][0]
    training = behaviour.seconds * (1 + 0.05 * own.random())
    if cell.after is None and behaviour.speed:
        every = job.part.evaluate_every
        metrics["curve"] = _curve(job.part.steps or job.task.steps, every, behaviour, training, shared, own)
    if behaviour.gain:
        shares = np.array([0.5, 0.2, 0.13, 0.1, 0.07]) ** (0.4 if cell.after == "product" else 1.0)
        metrics["bands"] = [round(float(share), 5) for share in shares / shares.sum()]
    spent = {"preparing": 4.0 * ("spectral" in cell.method), "training": training, "measuring": 3.0}
    if cell.after is not None:
        spent = {"preparing": 6.0, "filter": 1.5, "measuring": 3.0}
    return record_of(
        cell,
        status="finished",
        digest=plan.task_digest(job),
        config={"sizes": {"test": TEXTS}, "evaluate_every": job.part.evaluate_every},
        metrics=metrics,
        seconds=round(sum(spent.values()), 3),
        cpu_seconds={name: round(value, 3) for name, value in spent.items()},
        peak_megabytes=900.0 + (200.0 if "spectral" in cell.method else 0.0),
        versions=VERSIONS,
        hardware=HARDWARE,
    )


def diverged(record: CellRecord, step: int = 7) -> CellRecord:
    """Return the record that the same cell has where its loss was no number at a step."""
    kept = {name: value for name, value in record.metrics.items() if name == "start"}
    message = f"{record.method} at learning rate 0.0006: the loss is nan at step {step} of 100"
    return replace(record, status="diverged", metrics=kept, message=message)


def _point(
    factor: float, base: float, gain: float, lost: float, generator: np.random.Generator
) -> dict[str, Any]:
    accuracy = float(np.clip(base + gain * (1 - (1 - factor) ** 2), 0, 1))
    # The easiest texts are right, with some noise; accuracy is their share exactly.
    ease = np.arange(TEXTS) + 20 * generator.normal(size=TEXTS)
    correct = ease < np.sort(ease)[min(round(accuracy * TEXTS), TEXTS - 1)]
    return {
        "factor": factor,
        "accuracy": float(correct.mean()),
        "auc": round(min(1.0, accuracy + 0.09), 4),
        "balanced_accuracy": round(accuracy - 0.001, 4),
        "macro_f1": round(accuracy - 0.002, 4),
        "loss": round(1.3 - accuracy, 4),
        "lost": round(lost * factor**2, 4),
        "cosine": round(1 - 0.5 * lost * factor**2, 4),
        "drift": round(0.05 * factor * (0.5 + lost), 5),
        "correct": np.packbits(correct).tobytes().hex(),
    }


def _curve(
    steps: int,
    every: int,
    behaviour: Behaviour,
    seconds: float,
    shared: np.random.Generator,
    own: np.random.Generator,
) -> dict[str, Any]:
    depth = 0.2 * (1 + 0.1 * shared.normal())

    def loss(step: int) -> float:
        return float(0.65 - depth * (1 - np.exp(-3 * behaviour.speed * step / steps)))

    curve: dict[str, Any] = {
        "losses": [round(loss(step) + 0.03 * float(own.normal()), 4) for step in range(steps)]
    }
    if every:
        looked = list(range(0, steps + 1, every))
        curve["dev_step"] = looked
        curve["dev_loss"] = [round(loss(step) + 0.004 * float(own.normal()), 4) for step in looked]
        curve["dev_accuracy"] = [round(1.3 - loss(step), 4) for step in looked]
        curve["dev_cpu_seconds"] = [round(seconds * step / steps, 3) for step in looked]
    return curve


def language_study(seeds: int = 5) -> tuple[StudyPlan, dict[str, CellRecord]]:
    """Make a study of a language model: filters by columns, of which the first seed's has made other texts likelier.

    AdamW's state at factor f has gained .7 (1 - (1 - f)^2) nats on its task, and lost .4 f^2 - .1 f on other texts; the
    filter has nine tenths of that gain, and loses .3 less.
    """
    task = LanguageTask("hamlet", "hamlet", ("20_newsgroups",), ("reuters_r8",), ("plots", "bbc"), steps=20)
    adamw = MethodGrid("adamw", {"learning_rate": (3e-4,)})
    columns = AfterGrid("columns", ("adamw",), {"strength": (0.1, 0.3)})
    chosen = replace(columns, options={"strength": (0.1,)})
    parts = (
        Part("tuning", "tuning", ("hamlet",), (240,), (13, 21), (adamw,), (columns,), FACTORS),
        Part(
            "posthoc",
            "confirmation",
            ("hamlet",),
            (240,),
            tuple(range(1000, 1000 + seeds)),
            (adamw,),
            (chosen,),
            FACTORS,
        ),
    )
    claim = {
        "kind": "lost_difference",
        "part": "posthoc",
        "methods": ["adamw+columns"],
        "level": -0.05,
        "below": 0,
    }
    hypotheses = ({"id": "L1", "claim": "Columns lose less than scaling.", "tests": [claim]},)
    plan = StudyPlan("A language model", "SmolLM2-135M-Instruct", (task,), parts, hypotheses)
    records = {cell.key: _language_record(plan, job, cell) for job in plan.jobs() for cell in job.cells}
    return plan, records


def _language_record(plan: StudyPlan, job: Job, cell: Cell) -> CellRecord:
    noise = 0.01 * float(np.random.default_rng([cell.seed]).normal())

    def state(factor: float, filtered: bool) -> dict[str, Any]:
        gain, less = (0.63, 0.3) if filtered else (0.7, 0.0)
        loss = 4.0 - (gain + noise) * (1 - (1 - factor) ** 2)
        lost = 0.4 * factor**2 - 0.1 * factor - less * factor + noise * factor
        texts = {"plots": 3.0 + lost + 0.01, "bbc": 3.5 + lost - 0.01}
        return {
            "factor": factor,
            "loss": loss,
            "log_likelihood": -loss,
            "lost": lost,
            "texts": texts,
            "drift": 0.1 * factor,
        }

    filtered = cell.after is not None
    metrics: dict[str, Any] = {"start": state(0.0, filtered=False)}
    metrics["points"] = [state(factor, filtered) for factor in FACTORS]
    if filtered:
        metrics["tuned"] = state(1.0, filtered=False)
    else:
        metrics["curve"] = {
            "losses": [4.0] * 20,
            "dev_step": [10, 20],
            "dev_loss": [3.8, 3.4],
            "dev_cpu_seconds": [40, 80],
        }
    return record_of(
        cell,
        status="finished",
        digest=plan.task_digest(job),
        config={"settings": {"kind": "causal-lm"}, "evaluate_every": 0},
        metrics=metrics,
        seconds=100.0,
        cpu_seconds={"training": 80.0, "measuring": 20.0},
        peak_megabytes=2900.0,
        versions=VERSIONS,
        hardware=HARDWARE,
    )
