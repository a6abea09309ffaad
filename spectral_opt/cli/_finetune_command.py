"""`spectral-opt finetune`: one run on one data set, from a model's name to a folder that transformers or PEFT loads."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from paramgraph.cli import (
    LABEL_COLUMN,
    PARAGRAPHS,
    PLACE,
    TEXT_COLUMN,
    Json,
    Quiet,
    Traceback,
    check_extras,
    option,
)
from paramgraph.display import print_lines

if TYPE_CHECKING:
    from spectral_opt.finetuning import FineTuneOptions

PIPE = 140
NOT_OPTIONS = (
    *("out", "config", "workers", "dry_run", "device", "ranks", "sharded"),
    *("json", "quiet", "traceback"),
)
ASSIGNMENTS = ("peft_options", "spectral_options", "trainer")
TEXTS, TRAINING, DRY_RUN = "the texts", "the training", "a dry run"
ADAPTER, SPECTRAL = "an adapter", "penalty and filter"


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """Tune a model on labelled texts, plain text or conversations; leave it with its card, record and page.

    Full or by an adapter, with penalty and filter or without. Stop it at any moment, and go on with the same line.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "spectral-opt finetune --model embedded --data my.csv --task classification --out tuned",
        "spectral-opt finetune --model ./my-model --data texts.txt --task causal-lm --peft lora --out tuned",
        "spectral-opt finetune --config run.yaml --out tuned --dry-run",
    )

    out: Annotated[Path, option("folder of the model", metavar="OUT")]
    # What is not given is decided by FineTuneOptions, or by the file.
    model: Annotated[str | None, option(PLACE)] = None
    data: Annotated[
        str | None,
        option(f"embedded name, table (.csv, .jsonl, .parquet, ...), {PARAGRAPHS}, folder or data set"),
    ] = None
    task: Annotated[str | None, option("classification, causal-lm or instruction")] = None
    config: Annotated[
        Path | None, option("YAML file of these options; those given here go before", metavar="FILE")
    ] = None
    text_column: Annotated[str | None, option(TEXT_COLUMN, group=TEXTS)] = None
    label_column: Annotated[str | None, option(LABEL_COLUMN, group=TEXTS)] = None
    group_column: Annotated[
        str | None, option("column of what must stay in one part, such as an author", group=TEXTS)
    ] = None
    subset: Annotated[str | None, option("of a data set on the hub", group=TEXTS)] = None
    max_rows: Annotated[int | None, option("rows to draw [all]", group=TEXTS)] = None
    evaluate_on: Annotated[
        str | None, option("other data to evaluate on [the validation part, or a share]", group=TEXTS)
    ] = None
    evaluation_share: Annotated[float | None, option("share set apart to evaluate [0.1]", group=TEXTS)] = None
    max_length: Annotated[
        int | None,
        option("tokens of a text or block [the model's limit; causal-lm 512, instruction 1024]", group=TEXTS),
    ] = None
    across: Annotated[
        bool, option("blocks run from one text into the next (causal-lm)", "--across", group=TEXTS)
    ] = False
    peft: Annotated[str | None, option("lora, dora, ia3, ... [all weights]", group=ADAPTER)] = None
    peft_options: Annotated[
        list[str] | None, option("such as r=8,lora_alpha=16", metavar="NAME=VALUE,...", group=ADAPTER)
    ] = None
    spectral: Annotated[
        str | None,
        option("preset (preserve, fit, l2sp, literal) or JSON or YAML file [none]", group=SPECTRAL),
    ] = None
    spectral_options: Annotated[
        list[str] | None,
        option("of the preset, such as strength=0.3", metavar="NAME=VALUE,...", group=SPECTRAL),
    ] = None
    preserve: Annotated[
        str | None, option("text whose behaviour is to be preserved", metavar="TEXT", group=SPECTRAL)
    ] = None
    preserve_texts: Annotated[int | None, option("texts drawn of it [96]", group=SPECTRAL)] = None
    workers: Annotated[
        int | None,
        option(
            "processes of one thread each that build the graphs [this one, by its own threads]",
            group=SPECTRAL,
        ),
    ] = None
    learning_rate: Annotated[float | None, option("[5e-5; adapters 2e-4]", group=TRAINING)] = None
    max_steps: Annotated[int | None, option("[as many as the epochs have]", group=TRAINING)] = None
    epochs: Annotated[float | None, option("passes over the texts [3]", group=TRAINING)] = None
    batch_size: Annotated[int | None, option("examples at a time, on each device [8]", group=TRAINING)] = None
    accumulate: Annotated[int | None, option("batches a step [1]", group=TRAINING)] = None
    evaluate_every: Annotated[int | None, option("steps [a tenth of the run]", group=TRAINING)] = None
    checkpoint_every: Annotated[int | None, option("steps [as evaluate-every]", group=TRAINING)] = None
    patience: Annotated[
        int | None,
        option("end after so many evaluations without a better one, and keep the best state", group=TRAINING),
    ] = None
    bf16: Annotated[bool, option("compute in bfloat16", "--bf16", group=TRAINING)] = False
    gradient_checkpointing: Annotated[
        bool, option("less memory, more time", "--gradient-checkpointing", group=TRAINING)
    ] = False
    trainer: Annotated[
        list[str] | None,
        option(
            "further arguments of transformers' Trainer, such as weight_decay=0.01",
            metavar="NAME=VALUE,...",
            group=TRAINING,
        ),
    ] = None
    seed: Annotated[int | None, option("of split, head, batches and dropout [0]")] = None
    revision: Annotated[str | None, option("of a model on the hub")] = None
    trust_remote_code: Annotated[
        bool, option("let a model run code of its own on this machine", "--trust-remote-code")
    ] = False
    dry_run: Annotated[
        bool,
        option(
            "say what would be done and what it costs; train and write nothing", "--dry-run", group=DRY_RUN
        ),
    ] = False
    device: Annotated[
        str | None, option("meta: from the model's config alone, no weight is read", group=DRY_RUN)
    ] = None
    ranks: Annotated[int, option("processes to plan for, with --device meta [1]", group=DRY_RUN)] = 1
    sharded: Annotated[bool, option("they share the weights (FSDP2)", "--sharded", group=DRY_RUN)] = False
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Train and write, or go on; 130 where it was interrupted, with the last whole checkpoint on disk."""
        check_extras("finetune", ("accelerate", "jinja2", "matplotlib", "rich"), "paramgraph[finetune]")
        options = self._options()
        if self.device not in (None, "meta"):
            raise ValueError(
                f"--device is {self.device!r}: meta, or nothing; a run takes the device that is there"
            )
        if not self.dry_run and (self.device or self.ranks != 1 or self.sharded):
            raise ValueError(
                "--device, --ranks and --sharded are of --dry-run: without it they would be ignored"
            )
        if self.device is None and (self.ranks != 1 or self.sharded):
            raise ValueError("--ranks and --sharded are planned from shapes: add --device meta")
        # Of several processes, as torchrun starts them, the first one speaks.
        speaks = os.environ.get("RANK", "0") == "0"
        print_lines(*(["loading model and texts"] if speaks else []), to_stderr=True)
        if self.dry_run:
            return self._preview(options)
        from paramgraph.display import print_views, progress_bar
        from spectral_opt.finetuning import finetune, score_tables

        try:
            with progress_bar(1.0, shown=speaks) as advance:
                done = finetune(options, self.out, command=line, advance=advance, workers=self.workers)
        except KeyboardInterrupt:
            print_lines("interrupted; the same line goes on from the last whole checkpoint", to_stderr=True)
            return 130
        if self.json and speaks:
            print(json.dumps(done.record, allow_nan=False))
        if self.json or not speaks:
            return 0
        if not done.trained:
            print_lines(
                f"this run was finished before; what it measured stands in {done.folder / 'run.json'}"
            )
        print_views(score_tables(done.record), width=PIPE)
        print_lines("", *(f"- {remark}" for remark in done.record["remarks"]))
        print_lines("", f"The model: {done.folder}. With figures: {done.folder / 'report.html'}")
        return 0

    def _options(self) -> "FineTuneOptions":
        from spectral_opt.finetuning import read_assignments, read_options

        given: dict[str, Any] = {
            name: value
            for name, value in vars(self).items()
            # A switch that was not touched says nothing: the file may turn it on.
            if name not in NOT_OPTIONS and value is not None and value is not False
        }
        for name in ASSIGNMENTS:
            if name in given:
                given[name] = read_assignments(name.replace("_", "-"), given[name])
        try:
            return read_options(given, self.config)
        except TypeError as error:  # a value of the file that is of another kind
            raise ValueError(str(error)) from error

    def _preview(self, options: "FineTuneOptions") -> int:
        from spectral_opt.finetuning import plan_shapes, preview

        if self.device == "meta":
            plan = plan_shapes(options, self.ranks, self.sharded)
            print_lines(*([json.dumps(plan.to_dict())] if self.json else str(plan).splitlines()))
            return 0
        found = preview(options, self.out)
        if self.json:
            facts = {**found.facts, "explanation": found.explanation, "plan": found.plan.to_dict()}
            print(json.dumps(facts))
            return 0
        print_lines(*(f"{name}: {fact}" for name, fact in found.facts.items()))
        explained = found.explanation.splitlines()
        # Both have notes on filters and edges: each is told once.
        planned = [line for line in str(found.plan).splitlines() if line not in explained]
        print_lines("", *explained, "", *planned)
        return 0
