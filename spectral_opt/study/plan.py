"""What a study is made of: tasks, parts, and the cells that they are cut into; plain values of one YAML file."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from paramgraph.digests import text_digest
from spectral_opt.study.records import CAUSAL_LM, CLASSIFICATION, Stage, TaskKind

# What an option of a method may be: all that YAML and JSON both write.
Value = str | int | float | bool | None


@dataclass(frozen=True)
class StudyTask:
    """A task of classes: which texts it is learned from, how long, and on what its forgetting is measured.

    `data` is an embedded name, a file or a Hugging Face name, of which `subset` is a part; its columns are named, and
    that of groups, which a split keeps together, where there is one. Texts that methods preserve come from
    `calibration`, those on which forgetting is measured from `selection` in tuning and from `held_out` in all other
    stages: sources that share nothing. On `probes`, labelled texts of other tasks, a linear probe is fitted to the
    embeddings. With `first`, the name of another task of the study, the run starts from a model tuned on that one, and
    its score there is measured too. Sizes are in texts and tokens; `steps` are of `batch_size` texts.
    """

    kind: ClassVar[TaskKind] = CLASSIFICATION
    shots_of: ClassVar[str] = "a class"

    name: str
    data: str
    calibration: tuple[str, ...]
    selection: str
    held_out: str
    probes: tuple[str, ...] = ()
    first: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    group_column: str | None = None
    subset: str | None = None
    steps: int = 125
    batch_size: int = 16
    max_length: int = 48
    dev_per_class: int = 64
    test_size: int = 300
    preserved: int = 96
    neighbours: int = 200
    preserved_length: int = 64

    @property
    def state_size(self) -> int:
        """How many texts pass the model where a state is measured."""
        return self.test_size + self.neighbours


@dataclass(frozen=True)
class LanguageTask:
    """A task of a causal language model: documents that it is tuned on, and other texts whose loss should not rise.

    `data` is as of a `StudyTask`; texts with one value in `document_column` are one document, which a split keeps
    together. `selection` and `held_out` are one source of text or more, on each of which forgetting is measured. All
    texts are cut into blocks of `length` tokens: `steps` are of `batch_size` blocks, and the sizes, `measured` of each
    source, are in blocks.
    """

    kind: ClassVar[TaskKind] = CAUSAL_LM
    shots_of: ClassVar[str] = "blocks"
    first: ClassVar[str | None] = None  # no task comes before

    name: str
    data: str
    calibration: tuple[str, ...]
    selection: tuple[str, ...]
    held_out: tuple[str, ...]
    text_column: str = "text"
    document_column: str | None = None
    subset: str | None = None
    steps: int = 60
    batch_size: int = 4
    length: int = 128
    dev_size: int = 24
    test_size: int = 24
    preserved: int = 64
    measured: int = 24

    @property
    def state_size(self) -> int:
        """How many blocks pass the model where a state is measured."""
        return self.test_size + self.measured * len(self.held_out)


Task = StudyTask | LanguageTask
TASKS: Mapping[TaskKind, type[Task]] = {task.kind: task for task in (StudyTask, LanguageTask)}


@dataclass(frozen=True)
class MethodGrid:
    """A method by its file's name, and each value that is tried of each option; their product is the tuning budget.

    `learning_rate` is an option like any other. A filter of a finished fine-tune is in `after`, the method that is
    trained before it in `of`.
    """

    name: str
    options: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def variants(self) -> Iterator[dict[str, Value]]:
        """Yield each combination of values."""
        for values in itertools.product(*self.options.values()):
            yield dict(zip(self.options, values, strict=True))


@dataclass(frozen=True)
class AfterGrid:
    """A filter of finished fine-tunes, each value tried of each option, and which trained methods it is put on."""

    name: str
    of: tuple[str, ...] = ("adamw",)
    options: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def variants(self) -> Iterator[dict[str, Value]]:
        """Yield each combination of values."""
        yield from MethodGrid(self.name, self.options).variants()


@dataclass(frozen=True)
class Part:
    """Cells of one stage that belong together: every method and variant on every task, number of shots and seed.

    `shots` are training texts of each class, or training blocks of a language model.
    `factors` scale the whole change of a finished state, 1 is the state itself: the method's own scaling curve; of a
    filtered one `after_factors` do, where they are given.
    `steps` takes the place of the task's. The loss on the development texts is measured every `evaluate_every` steps, 0
    for never.
    """

    name: str
    stage: Stage
    tasks: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[MethodGrid, ...]
    after: tuple[AfterGrid, ...] = ()
    factors: tuple[float, ...] = (1.0,)
    after_factors: tuple[float, ...] = ()
    steps: int | None = None
    evaluate_every: int = 0

    def factors_of(self, is_filtered: bool) -> tuple[float, ...]:
        """Give the factors at which a state is measured."""
        return self.after_factors if is_filtered and self.after_factors else self.factors


@dataclass(frozen=True)
class Cell:
    """One run: a method with its options on a task, with shots and seed; and a filter after it, or none."""

    part: str
    stage: Stage
    task: str
    shots: int
    seed: int
    method: str
    options: Mapping[str, Value]
    after: str | None = None
    after_options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A readable name that no other cell of the study has."""
        places = (self.part, f"{self.task}-{self.shots}", str(self.seed), _told(self.method, self.options))
        return "/".join([*places, *([_told(self.after, self.after_options)] if self.after else [])])

    @property
    def file(self) -> str:
        """Where its record is, below the folder of records."""
        name = self.method if self.after is None else f"{self.method}+{self.after}"
        return f"{self.part}/{self.task}-{self.shots}-{self.seed}/{name}-{text_digest(self.key)[:8]}.json"

    @property
    def trained(self) -> "Cell":
        """The cell whose fine-tune this one filters; itself where there is no filter."""
        if self.after is None:
            return self
        return Cell(self.part, self.stage, self.task, self.shots, self.seed, self.method, self.options)


@dataclass(frozen=True)
class Job:
    """The cells of one part, task, number of shots and seed: they share texts, model and graphs, and one process."""

    part: Part
    task: Task
    shots: int
    seed: int
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """A name that no other job of the study has."""
        return f"{self.part.name}/{self.task.name}-{self.shots}-{self.seed}"


@dataclass(frozen=True)
class StudyPlan:
    """A whole study.

    `hypotheses` are read by `spectral_opt.study.hypotheses`. `keep_states` are the methods whose tuned weights, where
    filters are put on them, stay on disk when these are done, 42 MB each for MiniLM, 0.4 GB for SmolLM2-135M.
    """

    title: str
    model: str
    tasks: tuple[Task, ...]
    parts: tuple[Part, ...]
    hypotheses: tuple[Mapping[str, Any], ...] = ()  # Any: what YAML has, checked where it is used
    keep_states: tuple[str, ...] = ()

    def jobs(self, parts: Sequence[str] | None = None) -> list[Job]:
        """List the jobs of all parts, or of those named, in the order of the file; each with all of its cells."""
        known = {task.name: task for task in self.tasks}
        return [
            Job(part, known[task], shots, seed, tuple(_cells(part, task, shots, seed)))
            for part in self.parts
            if parts is None or part.name in parts
            for seed in part.seeds
            for task in part.tasks
            for shots in part.shots
        ]

    def task_digest(self, job: Job) -> str:
        """Hash what the numbers of a job's cells follow from, besides what a cell itself says."""
        shared = {
            "model": self.model,
            "task": asdict(job.task),
            "steps": job.part.steps,
            "stage": job.part.stage,
        }
        first = {task.name: asdict(task) for task in self.tasks if task.name == job.task.first}
        return text_digest(repr(sorted((shared | {"first": first}).items())))


def _cells(part: Part, task: str, shots: int, seed: int) -> Iterator[Cell]:
    """Yield the cells of a job, each filter behind the fine-tune that it is put on."""
    for method in part.methods:
        for options in method.variants():
            cell = Cell(part.name, part.stage, task, shots, seed, method.name, options)
            yield cell
            for after in part.after:
                if method.name in after.of:
                    for after_options in after.variants():
                        yield Cell(**{**vars(cell), "after": after.name, "after_options": after_options})


def _told(name: str | None, options: Mapping[str, Value]) -> str:
    return ",".join([str(name), *(f"{option}={value}" for option, value in sorted(options.items()))])
