"""Run the cells of a job: train, filter, measure, and hand out a record after each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from paramgraph.digests import text_digest
from paramgraph.environment import hardware, peak_megabytes
from paramgraph.whole_files import replacing
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.study.device import device_facts, open_device
from spectral_opt.study.fine_tuning import (
    WARMUP,
    WEIGHT_DECAY,
    FineTuned,
    fine_tune,
    kept_for,
    prepare_method,
)
from spectral_opt.study.method import FinishedTune, chosen_options, get_after_training, get_method
from spectral_opt.study.opening import open_setting
from spectral_opt.study.plan import Cell, Job, StudyPlan, Task, Value
from spectral_opt.study.records import CLASSIFICATION, CellRecord
from spectral_opt.study.state_measures import Metrics
from spectral_opt.study.store import other_texts, record_of

OnRecord = Callable[[Cell, CellRecord], object]
OnFailure = Callable[[Cell, Exception], object]


@dataclass
class _Trained:
    """A fine-tune that the next cells may filter; or why there is none."""

    key: str
    tune: FinishedTune | None = None
    diverged: str = ""
    error: Exception | None = None
    left_alone: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Clock:
    """Seconds of the process by what they were spent on."""

    spent: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.process_time)

    def tick(self, what: str) -> None:
        now = time.process_time()
        self.spent[what] = self.spent.get(what, 0.0) + now - self._since
        self._since = now

    def move(self, seconds: float, source: str, target: str) -> None:
        """Take seconds from what they were counted as."""
        self.spent[source] = self.spent.get(source, 0.0) - seconds
        self.spent[target] = self.spent.get(target, 0.0) + seconds

    def restart(self) -> None:
        """Count from now on."""
        self._since = time.process_time()


def run_job(
    plan: StudyPlan,
    job: Job,
    *,
    known: Mapping[str, Mapping[str, str]] | None = None,
    states: Path | None = None,
    on_record: OnRecord,
    on_failure: OnFailure | None = None,
    advance: Callable[[float, str], None] | None = None,
    device: str = "cpu",
) -> None:
    """Run the cells of a job whose keys are not `known`, in their order, and hand out each one's record at once.

    Known ones come with the checksums of the texts that they were measured on, as far as there are any: where the data
    has changed since, nothing is run, and ValueError says what is other.

    Tuned weights are kept in the folder `states`, so that a filter whose fine-tune was known goes on from them; without
    the file it is trained again; at the end those of methods that the plan does not keep are deleted. A run whose loss
    is no number is a record with that status, and so are the filters behind it. What a cell raises, `on_failure` is
    told, once for each cell that needs it, and the next one runs; without it, it is raised. What `on_record` raises
    always is. `advance` is told a share of the job's cells and what was done. On another `device` than the CPU models,
    batches and states lie there, and the records' hardware names it.
    """
    known = known or {}
    wanted = [cell for cell in job.cells if cell.key not in known]
    if not wanted:
        return
    running = _RunningJob(plan, job, states, open_device(device))
    for key, texts in known.items():
        if others := other_texts(texts, running.setting.facts.get("checksums", {})):
            raise ValueError(
                f"the texts of {job.task.name} ({', '.join(others)}) are others than those that {key} was measured on: "
                "the data has changed; take that back, or name another folder for the study"
            )
    for cell in wanted:
        try:
            record = running.run(cell)
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(cell, error)
        else:
            on_record(cell, record)
        if advance is not None:
            advance(1 / len(wanted), cell.key)
    if states is not None:
        for cell in job.cells:
            if cell.method not in plan.keep_states:
                _state_file(states, cell, plan.task_digest(job)).unlink(missing_ok=True)


class _RunningJob:
    """A job made real, and the fine-tune that its next cells filter."""

    def __init__(self, plan: StudyPlan, job: Job, states: Path | None, device: torch.device) -> None:
        self.plan, self.job, self.states, self.device = plan, job, states, device
        self.setting = open_setting(plan, job, device)
        self.measures = self.setting.measures()
        self._digest = plan.task_digest(job)
        self._trained = _Trained("")

    def run(self, cell: Cell) -> CellRecord:
        """Train or filter, and measure."""
        began, clock = time.perf_counter(), _Clock()
        # Measured once, and shared: no graph is built for it.
        metrics: Metrics = {"start": self.measures.start()}
        clock.tick("measuring")
        if self._trained.key != cell.trained.key:
            kept = None if cell.after is None else self._read_state(cell)
            self._trained = _Trained(cell.trained.key, kept)
            if kept is None and cell.after is None:
                metrics |= self._train(cell, clock)
            elif kept is None:
                # It has a record already, whose time that is.
                self._train(cell.trained, _Clock())
                clock.restart()
                began = time.perf_counter()
        if self._trained.error is not None:
            raise self._trained.error
        diverged = self._trained.diverged
        if cell.after is not None and not diverged:
            try:
                filtered = self._filtered(cell, clock)
                metrics |= {"tuned": self._tuned_point(), **self._points(filtered, is_filtered=True)}
            except TrainingDivergedError as error:
                diverged = str(error)
            clock.tick("measuring")
        return record_of(
            cell,
            status="diverged" if diverged else "finished",
            digest=self._digest,
            config=self._config(cell),
            metrics=metrics,
            seconds=time.perf_counter() - began,
            cpu_seconds=dict(clock.spent),
            peak_megabytes=peak_megabytes(),
            message=diverged,
            hardware=hardware() | device_facts(self.device),
        )

    def _train(self, cell: Cell, clock: _Clock) -> Metrics:
        """Fine-tune, measure along the scaling curve, and keep the weights for filters; an error waits for them too."""
        try:
            return self._fine_tuned(cell, clock)
        except TrainingDivergedError as error:
            clock.tick("training")
            self._trained.diverged = str(error)
        except Exception as error:
            self._trained.error = error
        return {}

    def _fine_tuned(self, cell: Cell, clock: _Clock) -> Metrics:
        setting = self.setting
        method = get_method(cell.method)
        options = _method_options(cell)
        if not method.trains:
            state = {name: value.clone() for name, value in setting.start.state_dict().items()}
            self._trained.tune = self._finished(state)
            found = self._points(state) | {"curve": {"losses": []}}
            clock.tick("measuring")
            return found
        known = setting.once("features of the methods", lambda: dict[object, Any]())
        prepared = prepare_method(setting.start, method, setting.calibration, known, options, setting.seed)
        for key in known.keys() - self._needed_after(cell):
            del known[key]  # of a language model they are gigabytes
        clock.tick("preparing")
        done = fine_tune(
            setting.start,
            setting.training,
            method,
            learning_rate=float(str(cell.options["learning_rate"])),
            weight_decay=WEIGHT_DECAY,
            seed=cell.seed,
            prepared=prepared,
            options=options,
            setting=setting,
            warmup=WARMUP,
            look=self.measures.look,
            look_every=self.job.part.evaluate_every,
        )
        clock.tick("training")
        clock.move(done.preparing, "training", "preparing")
        self._trained.left_alone = done.left_alone
        if done.is_mergeable:
            state = {name: value.detach() for name, value in done.model.state_dict().items()}
            self._trained.tune = self._finished(state)
            found = self._points(state)
            self._trained.tune.once("measures", lambda: found["points"][0])
            others = self.job.cells if self.states is not None else ()
            if any(other.after and other.trained.key == cell.key for other in others):
                self._write_state(cell, state)
        else:
            point = {"factor": 1.0, **self.measures.measure_model(done.model, whole=True)}
            found = {"points": [point], "bands": []}
        clock.tick("measuring")
        return found | {"curve": _curve(done)}

    def _needed_after(self, cell: Cell) -> set[object]:
        """Name the features that later cells of the job need."""
        later = self.job.cells[self.job.cells.index(cell) + 1 :]
        methods = (
            (get_method(other.method), _method_options(other)) for other in later if other.after is None
        )
        wanted = (kept_for(self.setting.start, *one, self.setting.seed) for one in methods)
        return set[object]().union(*wanted)

    def _filtered(self, cell: Cell, clock: _Clock) -> dict[str, Tensor]:
        """Filter the fine-tune; twice where graphs were built on the way: the filter's own time is told apart."""
        assert cell.after is not None
        tune = self._trained.tune
        if tune is None:
            raise ValueError(
                f"{cell.after} filters weights, and {cell.method} leaves none under the start's own names: take it out "
                "of the filter's `of`"
            )
        after = get_after_training(cell.after)
        options = chosen_options(cell.after_options, after)
        kept = tune.kept
        state = after.apply(tune, options)
        if tune.kept > kept:
            clock.tick("preparing")
            state = after.apply(tune, options)
        clock.tick("filter")
        return state

    def _tuned_point(self) -> Metrics:
        """Measure the fine-tune that is filtered: it is the filter at no strength."""
        tune = self._trained.tune
        assert tune is not None, "a filter has a fine-tune"
        return tune.once("measures", lambda: self.measures.scaled(tune.tuned, 1.0))

    def _finished(self, state: dict[str, Tensor]) -> FinishedTune:
        return FinishedTune(self.setting, self.setting.start.state_dict(), state)

    def _points(self, state: Mapping[str, Tensor], is_filtered: bool = False) -> Metrics:
        points = [self.measures.scaled(state, factor) for factor in self.job.part.factors_of(is_filtered)]
        return {"points": points, "bands": self.measures.bands(state)}

    def _config(self, cell: Cell) -> dict[str, Any]:
        """Write down what a record follows from, besides what it says itself."""
        left_alone = {} if cell.after else dict(self._trained.left_alone)
        return {
            "model": self.plan.model,
            "settings": _settings(self.job.task),
            "steps": len(self.setting.training),
            "evaluate_every": self.job.part.evaluate_every,
            "weight_decay": WEIGHT_DECAY,
            "warmup": WARMUP,
            "facts": dict(self.setting.facts),
        } | ({"left_alone": left_alone} if left_alone else {})

    def _write_state(self, cell: Cell, state: Mapping[str, Tensor]) -> None:
        assert self.states is not None
        self.states.mkdir(parents=True, exist_ok=True)
        start = self.setting.start.state_dict()
        changed = {
            name: value.contiguous() for name, value in state.items() if not torch.equal(value, start[name])
        }
        with replacing(_state_file(self.states, cell, self._digest)) as unfinished:
            # Its own error of a full disk is no OSError, by which a study is stopped.
            unfinished.write_bytes(save(changed, {"key": cell.key, "device": self.device.type}))

    def _read_state(self, cell: Cell) -> FinishedTune | None:
        """Read tuned weights; None where there are none of this fine-tune and kind of device: it trains again."""
        if self.states is None or not (file := _state_file(self.states, cell, self._digest)).is_file():
            return None
        start = self.setting.start.state_dict()
        try:
            with safe_open(file, "pt") as opened:
                told = opened.metadata() or {}
                # A filter's record names one device, that of its fine-tune too.
                if (told.get("key"), told.get("device", "cpu")) != (cell.trained.key, self.device.type):
                    return None
                changed = {name: opened.get_tensor(name).to(self.device) for name in list(opened.keys())}
        except SafetensorError:
            return None
        is_own = all(name in start and start[name].shape == value.shape for name, value in changed.items())
        return self._finished({**start, **changed}) if is_own else None


def _method_options(cell: Cell) -> dict[str, Value]:
    return {name: value for name, value in cell.options.items() if name != "learning_rate"}


def _settings(task: Task) -> dict[str, Any]:
    """Write down a task; of what each had before there were kinds, none is told."""
    return asdict(task) | ({} if task.kind == CLASSIFICATION else {"kind": task.kind})


def _curve(done: FineTuned) -> Metrics:
    looks = {name: [look[name] for look in done.looks] for name in (done.looks[0] if done.looks else ())}
    return {"losses": list(done.losses), **looks}


def _state_file(states: Path, cell: Cell, digest: str) -> Path:
    """Name the file of tuned weights after the cell and the settings that it does not name itself."""
    return states / f"{text_digest(cell.trained.key, digest)[:16]}.safetensors"
