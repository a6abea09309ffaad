"""One fine-tuning run from its options to the folder of its model, taken up again wherever it ended."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import GenerationConfig, TrainerState
from transformers.utils import GENERATION_CONFIG_NAME

from paramgraph.checkpoints import read_json
from paramgraph.environment import hardware, peak_megabytes, versions, versions_beside
from paramgraph.errors import one_line
from paramgraph.sources import RandomStates
from paramgraph.whole_files import write_text
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.finetuning._arguments import learning_rate
from spectral_opt.finetuning._callbacks import Advance, Explained
from spectral_opt.finetuning._card import tuned_card
from spectral_opt.finetuning._model_folder import write_model
from spectral_opt.finetuning._run_folder import (
    CHECKPOINTS,
    RECORD,
    STATE,
    check_identity,
    locked,
    remove_unfinished,
    run_taken_up,
    step_of,
    stopped_early,
    whole_checkpoints,
)
from spectral_opt.finetuning._terminal import quiet_libraries
from spectral_opt.finetuning.opening import OpenedRun, RunInputs, open_run
from spectral_opt.finetuning.options import FineTuneOptions
from spectral_opt.finetuning.page import tune_page

# What is logged that is not about the texts; TRL counts tokens anew in a run that goes on.
OF_THE_MACHINE = ("_runtime", "_per_second", "_preparation_time", "num_tokens")


@dataclass(frozen=True)
class FinishedTuning:
    """The folder of a finished run, and its record, as `run.json` has it; `trained` is False if it was there before."""

    folder: Path
    record: Mapping[str, Any]  # JSON
    trained: bool


def finetune(
    options: FineTuneOptions,
    out: str | Path,
    *,
    command: str = "",
    advance: Advance = lambda share, what: None,
    workers: int | None = None,
) -> FinishedTuning:
    """Tune a model and leave it in `out`, with its tokenizer, README.md, run.json and report.html.

    What `out` holds of the same run is taken up: a finished one is only read, of an interrupted one the last whole
    checkpoint in `out`/checkpoints goes on, bitwise as if it had not ended. `advance` is told shares of the training
    and what comes next; so many `workers` build the graphs, as in `attach`; global random states are as before.

    ValueError or TypeError refuses before training, with nothing written, what cannot go well: options, texts, a model
    that does not fit them or the memory, a folder of something else or of a run with other options.
    TrainingDivergedError names the step at which the loss was no number, OSError a checkpoint that could not be
    written, as on a full disk; the last whole checkpoint stays.
    """
    out = Path(out).expanduser()
    known = run_taken_up(out, options.to_dict())
    states = RandomStates.capture()
    try:
        with quiet_libraries():
            return _finetune(options, out, known, command, advance, workers)
    finally:
        states.restore()


def _finetune(
    options: FineTuneOptions,
    out: Path,
    known: Mapping[str, Any] | None,
    command: str,
    advance: Advance,
    workers: int | None,
) -> FinishedTuning:
    clock = _Clock()
    inputs = RunInputs(options, workers)
    check_identity(out, known, {"texts": inputs.text_digest})
    if known is not None and known["status"] == "finished":
        return FinishedTuning(out, known, trained=False)
    if whole_checkpoints(out):
        inputs.check_resumable()
    run = _opened(inputs, out, known, advance)
    clock.tick("preparing")
    if not run.trainer.is_world_process_zero():
        return _tuned(run, out, known, command, clock)
    with locked(out):
        if run_taken_up(out, options.to_dict()) != known:
            raise ValueError(f"another run was at work in {out} meanwhile: run the same command again")
        return _tuned(run, out, known, command, clock)


def _tuned(
    run: OpenedRun, out: Path, known: Mapping[str, Any] | None, command: str, clock: "_Clock"
) -> FinishedTuning:
    trainer, options = run.trainer, run.options
    is_first = trainer.is_world_process_zero()
    removed = remove_unfinished(out) if is_first else []
    whole = whole_checkpoints(out)
    begun = {**_begun(run, command), "before": dict((known or {}).get("before", {}))}
    if not begun["before"]:
        begun["before"] = _evaluated(run, whole)
        clock.tick("evaluating before")
    if is_first:
        _write_record(out, begun)
    last = whole[-1] if whole else None
    if last is not None and (step_of(last) >= run.schedule.steps or stopped_early(last, options.patience)):
        _take_up_trained(run, last)
    else:
        _train(run, last, out)
    begun["before"] = begun["before"] or _first_scores(trainer.state)
    clock.tick("training")
    metrics = _measured(run, begun["before"])
    clock.tick("evaluating")
    try:
        files = write_model(trainer, out)
    except SafetensorError as error:  # its own error of a full disk
        raise OSError(
            f"the model could not be written to {out}: {error}; make room and run it again"
        ) from error
    clock.tick("writing")
    resumed = [] if last is None else [f"went on from step {step_of(last)}"]
    resumed += [f"removed what was not written to its end: {', '.join(removed)}"] if removed else []
    record = {**begun, **_finished(run, metrics, resumed, clock.spent), "files": files}
    if is_first:
        write_text(out / "README.md", tuned_card(record))
        write_text(out / "report.html", tune_page(record))
        _write_record(out, record)
    return FinishedTuning(out, record, trained=True)


def _train(run: OpenedRun, last: Path | None, out: Path) -> None:
    """Train to the end; what cannot go on is told with the checkpoint from which it can."""
    try:
        run.trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except TrainingDivergedError as error:
        raise TrainingDivergedError(
            f"{error}: {_kept(out)}; try a learning rate below {learning_rate(run.options):g}, in another folder"
        ) from None
    except (OSError, RuntimeError, SafetensorError) as error:
        # The libraries say it in errors of their own; what is not whole says that it was a checkpoint.
        if not remove_unfinished(out):
            raise
        reason = getattr(error, "strerror", None) or one_line(error)
        raise OSError(
            f"step {run.trainer.state.global_step} could not be written to {out / CHECKPOINTS}: {reason}; "
            f"{_kept(out)}: make room and run the same command again"
        ) from error


def _opened(inputs: RunInputs, out: Path, known: Mapping[str, Any] | None, advance: Advance) -> OpenedRun:
    """Open the run; a folder that the Trainer made for one that is refused is taken away."""
    try:
        run = open_run(inputs, out, advance)
        check_identity(out, known, run.identity)
        run.disk(out)
        return run
    except BaseException:
        for folder in (out / CHECKPOINTS, out):
            with contextlib.suppress(OSError):
                folder.rmdir()  # of an empty one alone
        raise


def _take_up_trained(run: OpenedRun, last: Path) -> None:
    """Take up a run that had trained to its end and was killed before its model was written.

    `train` would do one more step: it looks for the end after a step.
    """
    trainer = run.trainer
    trainer.state = TrainerState.load_from_json(str(last / STATE))
    # A copied folder has its best checkpoint beside the last one.
    best = last.parent / f"checkpoint-{trainer.state.best_global_step}"
    kept = best if run.options.patience is not None else last
    trainer._load_from_checkpoint(str(kept))  # no public name loads the weights alone
    # Nothing has sharded them: each rank has them whole.
    trainer.is_fsdp_enabled = False
    model: Any = trainer.model
    if run.adapter is None:
        # `train` makes the special tokens those of the tokenizer, and the checkpoint has them so.
        own = model.config.get_text_config()
        written = type(model.config).from_pretrained(kept, trust_remote_code=False).get_text_config()
        for name in ("bos_token_id", "eos_token_id"):
            if hasattr(written, name):
                setattr(own, name, getattr(written, name))
        if model.can_generate():
            model.generation_config = GenerationConfig.from_dict(read_json(kept / GENERATION_CONFIG_NAME))


def _kept(out: Path) -> str:
    whole = whole_checkpoints(out)
    return f"the last whole checkpoint is {whole[-1].name}" if whole else "no checkpoint had been written yet"


def _evaluated(run: OpenedRun, whole: Sequence[Path]) -> dict[str, float]:
    """Score the model before training; what that draws, training does not miss.

    Of several ranks nothing is scored, and the Trainer does it itself as training begins: a model that it has evaluated
    before it wraps neither for DDP, so that each rank would train alone, nor for FSDP2, which needs the optimizer too.
    """
    if run.trainer.args.world_size > 1:
        run.trainer.args.eval_on_start = not whole
        return {}
    states = RandomStates.capture()
    try:
        return _scores(run.trainer.evaluate(), "eval_")
    finally:
        states.restore()


def _first_scores(state: TrainerState) -> dict[str, float]:
    """Give what the Trainer scored before its first step, in this run or the one that goes on."""
    return next((_scores(row, "eval_") for row in state.log_history if _is_first(row)), {})


def _is_first(row: Mapping[str, Any]) -> bool:
    return row["step"] == 0 and "eval_loss" in row


def _measured(run: OpenedRun, before: Mapping[str, float]) -> dict[str, Any]:
    """Collect the scores of the states that count; the test texts are scored once, by the state that is kept."""
    history = [row for row in run.trainer.state.log_history if "eval_loss" in row]
    best_step = run.trainer.state.best_global_step if run.options.patience is not None else None
    kept = [row for row in history if row["step"] == best_step]
    found: dict[str, Any] = {"baseline": run.task.baseline(), "before": dict(before)}
    if history and history[-1]["step"] == run.trainer.state.global_step:
        found["last"] = _scores(history[-1], "eval_")
    elif best_step is None:
        found["last"] = _scores(run.trainer.evaluate(), "eval_")
    if kept:
        found["best"] = {**_scores(kept[-1], "eval_"), "step": float(best_step or 0)}
    test = run.task.tested(run.examples)
    if test is not None:
        scores = _scores(run.trainer.evaluate(test, metric_key_prefix="test"), "test_")
        # TRL logs what it counts of tokens, under the name of an evaluation.
        found["test"] = {**_scores(run.trainer.state.log_history[-1], "eval_"), **scores}
    return found


def _scores(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Leave out what is about the machine and not about the texts."""
    return {
        name.removeprefix(prefix): float(value)
        for name, value in metrics.items()
        if name.startswith(prefix) and not _is_of_the_machine(name)
    }


def _is_of_the_machine(name: str) -> bool:
    return name.endswith(OF_THE_MACHINE) or "_mem_" in name


def _begun(run: OpenedRun, command: str) -> dict[str, Any]:
    """Write down what is known before the first step."""
    options = run.options
    spectral = f" + {Path(options.spectral).stem}" if options.spectral else ""
    return {
        "status": "running",
        "method": (options.peft or "full") + spectral,
        "task": options.task,
        "base": run.loaded.name,
        "stage": "exploration",
        "seed": options.seed,
        "command": command,
        "options": options.to_dict(),
        "identity": dict(run.identity),
        "config": {
            **dataclasses.asdict(run.schedule),
            "learning_rate": learning_rate(options),
            "batch_size": options.batch_size,
            "accumulate": options.accumulate,
            "max_length": run.examples.max_length,
            "labels": _labels(run),
            "padding_token": run.loaded.padding_token,
            "peft": run.adapter,
            "spectral": [config.to_dict() for config in run.configs],
        },
        "origins": {
            "model": str(run.loaded.provenance),
            "data": [str(origin) for origin in run.task.origins],
            "preserve": run.preserved,
        },
        "licences": {
            "model": run.loaded.provenance.licence,
            "data": [origin.licence for origin in run.task.origins],
        },
        "parts": run.task.parts.description,
        "sizes": run.examples.sizes,
        "told": dict(run.examples.told),
        "remarks": list(run.remarks),
        "versions": {**versions(), **versions_beside()},
        "hardware": hardware(),
    }


def _labels(run: OpenedRun) -> list[str] | None:
    """Name the classes in the order of the model's scores; None where there are none."""
    if run.task.label_names is None:
        return None
    config: Any = run.loaded.encoder.config  # transformers' own
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def _finished(
    run: OpenedRun, metrics: Mapping[str, Any], remarks: list[str], seconds: Mapping[str, float]
) -> dict[str, Any]:
    explained = [one.text for one in run.trainer.callback_handler.callbacks if isinstance(one, Explained)]
    state = run.trainer.state
    if run.options.patience is not None:
        kept = f"the state of step {state.best_global_step} is kept, of {state.global_step}"
    else:
        kept = f"the state of the last step, {state.global_step}, is kept"
    return {
        "status": "finished",
        "steps": state.global_step,
        "metrics": dict(metrics),
        "curve": [
            _plain_row(row) for row in state.log_history if "train_runtime" not in row and not _is_first(row)
        ],
        "explanation": explained[0] if explained else None,
        "remarks": [*run.remarks, kept, *remarks, *_overflows(state)],
        "seconds": dict(seconds),
        "peak_megabytes": peak_megabytes(),
    }


def _plain_row(row: Mapping[str, Any]) -> dict[str, float]:
    # JSON has no infinity; `_overflows` tells them.
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value) and not _is_of_the_machine(name)
    }


def _overflows(state: TrainerState) -> list[str]:
    """Count the logged steps that the scaler of float16 has skipped: of others a run ends."""
    count = sum(not math.isfinite(row.get("grad_norm", 0.0)) for row in state.log_history)
    return [f"logged steps that float16 overflowed in, and that were skipped: {count}"] if count else []


def _write_record(out: Path, record: Mapping[str, Any]) -> None:
    write_text(out / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")


class _Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._since = time.perf_counter()

    def tick(self, what: str) -> None:
        now = time.perf_counter()
        self.spent[what] = self.spent.get(what, 0.0) + now - self._since
        self._since = now
