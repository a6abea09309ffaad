"""What a run would do, and what it would cost: before it is trained, or before its model is anywhere in memory."""

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramgraph.checkpoints import open_skeleton
from paramgraph.sources import RandomStates
from spectral_opt.explanation import RunPlan, explain, plan_run
from spectral_opt.finetuning._adapter import adapt
from spectral_opt.finetuning._arguments import learning_rate
from spectral_opt.finetuning._run_folder import check_identity, run_taken_up, whole_checkpoints
from spectral_opt.finetuning._spectral_part import read_configs
from spectral_opt.finetuning._terminal import quiet_libraries
from spectral_opt.finetuning.opening import TASKS, RunInputs, adapter_of, open_run
from spectral_opt.finetuning.options import FineTuneOptions
from spectral_opt.tasks import locate_named


@dataclass(frozen=True)
class TunePreview:
    """What a run would do: facts by their names, what penalty and filter would touch ("" without them), and needs."""

    facts: Mapping[str, str]
    explanation: str
    plan: RunPlan


def preview(options: FineTuneOptions, out: str | Path | None = None) -> TunePreview:
    """Open a run as `finetune` does, with all that it refuses, and say what it would do; nothing is written.

    `out` is the folder that the run would leave its model in; without it no folder is looked at.
    """
    place = None if out is None else Path(out).expanduser()
    known = None if place is None else run_taken_up(place, options.to_dict())
    states = RandomStates.capture()
    try:
        # The Trainer makes its folder when it is made.
        with quiet_libraries(), tempfile.TemporaryDirectory() as folder:
            inputs = RunInputs(options)
            if place is not None:
                check_identity(place, known, {"texts": inputs.text_digest})
            run = open_run(inputs, Path(folder), lambda share, what: None)
            disk = None
            if place is not None:
                check_identity(place, known, run.identity)
                disk = run.disk(place)
            model, explanation = run.trainer.model, ""
            if run.configs:
                run.trainer.create_optimizer()
                explanation = str(explain(model, run.configs, run.batches or None, run.trainer.optimizer))
            tokens = options.batch_size * options.accumulate * run.examples.max_length
            launch = inputs.launch
            plan = plan_run(model, run.configs, launch.ranks, launch.is_sharded, tokens=tokens)
    finally:
        states.restore()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    facts = {
        **({} if place is None else {"folder": _folder(place, known)}),
        "model": str(run.loaded.provenance),
        "texts": run.task.parts.description,
        "examples": ", ".join(f"{count} {part}" for part, count in run.examples.sizes.items()),
        "tokens of an example": f"up to {run.examples.max_length}",
        "trained weights": f"{trained:,} of {sum(p.numel() for p in model.parameters()):,}",
        "memory": "unknown: no safetensors" if run.memory is None else str(run.memory),
        **({} if disk is None else {"disk": str(disk)}),
        **{name.replace("_", " "): str(value) for name, value in dataclasses.asdict(run.schedule).items()},
        "learning rate": f"{learning_rate(options):g}",
        **{name: str(count) for name, count in run.examples.told.items()},
        **({"remarks": "; ".join(run.remarks)} if run.remarks else {}),
    }
    return TunePreview(facts, explanation, plan)


def _folder(out: Path, known: Mapping[str, Any] | None) -> str:
    if known is None:
        return f"{out}, which begins anew"
    if known["status"] == "finished":
        return f"{out}, which is finished: it would only be read"
    whole = whole_checkpoints(out)
    return f"{out}, which goes on from {whole[-1].name}" if whole else f"{out}, whose model is trained anew"


def plan_shapes(options: FineTuneOptions, ranks: int = 1, sharded: bool = False) -> RunPlan:
    """Reckon what each of some ranks would need, from the model's config.json alone: no weight and no text is read.

    `sharded` is FSDP2, else DDP. Raises as `read_configs`, `adapter_config` and `paramgraph.checkpoints.open_skeleton`.
    """
    configs = read_configs(options)
    adapter = adapter_of(options, TASKS[options.task])
    model = open_skeleton(locate_named(options.model, options.revision))
    if adapter is not None:
        model = adapt(model, adapter, options.seed)
    tokens = (
        options.batch_size * options.accumulate * (options.max_length or TASKS[options.task].usual_length)
    )
    return plan_run(model, configs, ranks=ranks, sharded=sharded, tokens=tokens)
