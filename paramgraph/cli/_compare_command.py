"""`paramgraph compare`: constructions of graphs side by side, each beside its nulls; a table, files and a page."""

import dataclasses
import json
import re
import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from paramgraph._checks import known_choice
from paramgraph.cli._words import EXCLUDE, TARGETS, parse_builders, read_excluded, read_targets
from paramgraph.cli.commands import (
    LABEL_COLUMN,
    PARAGRAPHS,
    PLACE,
    TEXT_COLUMN,
    Json,
    Quiet,
    Traceback,
    argument,
    check_extras,
    check_writable,
    option,
    read_command,
)
from paramgraph.display import print_lines
from paramgraph.whole_files import write_text

NULLS = ("permuted", "rotated", "random")
EXTRAS = ("pandas", "jinja2", "matplotlib", "rich")
WHAT, HOW, CHECK = "what is compared", "how", "verify instead"
# What --verify reads, and what any command does.
VERIFYING, ALWAYS = ("cells", "seed"), ("verify", "json", "quiet", "traceback")


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare graphs of a model's parameters, each beside its null models; a table and a page.

    Which graph of a model's parameters carries anything? Without --data and --tuned the weights are read matrix by
    matrix, and the model is never loaded. An interrupted run goes on when it is started again.

    paramgraph compare MODEL --out DIR [--data TEXT] [--tuned MODEL2] [options]

    paramgraph compare --verify RECORDS [--cells N] [--seed N]
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "paramgraph compare ./my-model --out results",
        "paramgraph compare embedded --data rotten_tomatoes --builders cosine_knn:k=20 gram --out results",
        "paramgraph compare ./base --tuned ./tuned --sources weights updates --seeds 0 1 2 --out results",
        "paramgraph compare --verify results",
    )

    model: Annotated[str, argument("MODEL", PLACE)] = ""
    out: Annotated[Path | None, option("folder of the results", metavar="DIR")] = None
    tuned: Annotated[
        str | None,
        option("a fine-tune of MODEL, or a LoRA adapter, for its updates", metavar="MODEL2", group=WHAT),
    ] = None
    data: Annotated[
        str | None,
        option(
            f"text that the model runs on: embedded name, {PARAGRAPHS}, table (.csv, .jsonl, .parquet, ...), folder "
            "or data set",
            metavar="TEXT",
            group=WHAT,
        ),
    ] = None
    builders: Annotated[
        list[str] | None,
        option(
            "as `paramgraph builders` lists them [cosine_knn gaussian_knn correlation gram ring]",
            metavar="NAME[:OPTION=VALUE,...]...",
            group=WHAT,
        ),
    ] = None
    sources: Annotated[
        list[str] | None,
        option(
            "what graphs are built from: weights, gradients, batch_gradients, activations, output_gradients, "
            "attention_maps, updates [weights; with --data also activations and batch_gradients, with --tuned updates]",
            metavar="NAME...",
            group=WHAT,
        ),
    ] = None
    scheme: Annotated[str, option("nodes: rows, columns, blocks, heads or layers [rows]", group=WHAT)] = (
        "rows"
    )
    targets: Annotated[list[str] | None, option(TARGETS, metavar="NAME...", group=WHAT)] = None
    exclude: Annotated[list[str] | None, option(EXCLUDE, metavar="NAME...", group=WHAT)] = None
    signal: Annotated[
        str,
        option(
            "what is measured on the graphs: gradients, updates, activations, weights [gradients with --data]",
            metavar="NAME",
            group=WHAT,
        ),
    ] = "auto"
    nulls: Annotated[
        list[str] | None,
        option("null models: permuted, rotated, random, or none [all three]", metavar="NAME...", group=HOW),
    ] = None
    seeds: Annotated[
        list[int] | None, option("of draws of batches and nulls [0]", metavar="INT...", group=HOW)
    ] = None
    permutations: Annotated[int, option("behind a p-value; 0 for none [399]", group=HOW)] = 399
    batches: Annotated[
        int, option("batches; half of them builds graphs, the other half measures [12]", group=HOW)
    ] = 12
    batch_size: Annotated[int, option("texts a batch [16]", group=HOW)] = 16
    max_length: Annotated[
        int, option("tokens of a text; longer ones are cut and counted [48]", group=HOW)
    ] = 48
    text_column: Annotated[str, option(TEXT_COLUMN, group=HOW)] = "text"
    label_column: Annotated[str | None, option(f"{LABEL_COLUMN[:-1]}, where there is one]", group=HOW)] = None
    task: Annotated[
        str,
        option("auto, language_model, classification, or none: no loss, so no gradients [auto]", group=HOW),
    ] = "auto"
    tune_steps: Annotated[
        int, option("fine-tune a copy first, on so many further batches of the text [0]", group=HOW)
    ] = 0
    tune_rate: Annotated[float, option("peak learning rate of that [5e-05]", group=HOW)] = 5e-5
    at: Annotated[
        Literal["start", "tuned"],
        option("where gradients and activations are taken: before or after --tune-steps [start]", group=HOW),
    ] = "start"
    cache: Annotated[
        Path | None, option("folder that keeps graphs and spectra for other runs", metavar="DIR", group=HOW)
    ] = None
    workers: Annotated[
        int | None,
        option("processes of one thread each that measure layers [this one, by its own threads]", group=HOW),
    ] = None
    scheduler: Annotated[
        str | None,
        option("a Dask scheduler whose workers measure layers instead", metavar="ADDRESS", group=HOW),
    ] = None
    memory_budget: Annotated[
        float | None,
        option("that all processes together may take [80 % of what is free]", metavar="GB", group=HOW),
    ] = None
    verify: Annotated[
        Path | None, option("measure random cells of records again", metavar="RECORDS", group=CHECK)
    ] = None
    cells: Annotated[int, option("how many of them [2]", group=CHECK)] = 2
    seed: Annotated[int, option("of their draw [0]", group=CHECK)] = 0
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Compare, or verify; 1 where verified records disagree, 130 where finished layers are on disk."""
        self._check_unread()
        if self.verify is not None:
            return _verify(self, self.verify)
        if not self.model or self.out is None:
            missing = "--out DIR" if self.model else "MODEL"
            raise ValueError(
                f"{missing} is missing: paramgraph compare MODEL --out DIR, or paramgraph compare --verify RECORDS"
            )
        for null in self.nulls or ():
            known_choice("--nulls", null, (*NULLS, "none"))
        if "none" in (self.nulls or ()) and len(self.nulls or ()) > 1:
            raise ValueError(f"--nulls is {' '.join(self.nulls or ())}: name null models, or none alone")
        if self.memory_budget is not None and not 0 < self.memory_budget < float("inf"):
            raise ValueError(f"--memory-budget is {self.memory_budget:g}: a number of GB above 0 is needed")
        check_extras("compare", EXTRAS, "paramgraph[compare]")
        from paramgraph.comparison import check_signal

        check_signal(self.signal)
        from paramgraph.checkpoints import check_outside

        for place in (self.out, self.cache):
            check_outside(place, [self.data])
        check_writable(self.out)
        try:
            found = _compare(self, line)
        except KeyboardInterrupt:
            print_lines(f"interrupted; the same command goes on from what is in {self.out}", to_stderr=True)
            return 130
        _write(found, self.out)
        if self.json:
            print(found.to_json())
            return 0
        from paramgraph.comparison.report import print_comparison

        print_comparison(found.to_dict())
        print_lines("", f"With figures, every layer and what the words mean: {self.out / 'report.html'}")
        return 0

    def _check_unread(self) -> None:
        """Refuse options that would be ignored beside the others."""
        verifies = self.verify is not None
        for field in dataclasses.fields(self):
            is_read = field.name in ALWAYS or (field.name in VERIFYING) is verifies
            if not is_read and getattr(self, field.name) != field.default:
                name = "MODEL" if field.name == "model" else f"--{field.name.replace('_', '-')}"
                place = "is not of --verify" if verifies else "is of --verify"
                raise ValueError(f"{name} {place}, and would be ignored: leave it out")
        tunes = self.tune_steps > 0
        if self.data and not tunes and self.tune_rate != Compare.tune_rate:
            raise ValueError("--tune-rate is of --tune-steps, which is 0: it would be ignored")


def _compare(arguments: Compare, command: str) -> Any:
    inputs = _open(arguments)
    # What was dropped, cut or guessed is known before an hour of work, not after it.
    print_lines(*(inputs.notes if inputs else ()), to_stderr=True)
    with _cluster(arguments.scheduler) as client:
        found = _measure(
            arguments,
            inputs,
            folder=arguments.out,
            cache=arguments.cache,
            progress=True,
            workers=arguments.workers,
            client=client,
            memory_budget=None if arguments.memory_budget is None else int(1e9 * arguments.memory_budget),
        )
    notes = [*found.setting["chosen"], *(inputs.notes if inputs else ())]
    return dataclasses.replace(found, setting={**found.setting, "command": command, "chosen": notes})


def _cluster(address: str | None) -> AbstractContextManager[Any]:
    from paramgraph.workers import connect_to_scheduler

    return nullcontext() if address is None else connect_to_scheduler(address)


def _open(arguments: Compare) -> Any:
    """Load model and text, where the model has to run."""
    from transformers.utils import logging as transformers_logging

    from paramgraph.inputs import InputOptions, open_inputs

    transformers_logging.disable_progress_bar()  # one bar is enough
    transformers_logging.set_verbosity_error()
    names = [field.name for field in dataclasses.fields(InputOptions) if field.name != "seed"]
    options = InputOptions(
        **{name: getattr(arguments, name) for name in names}, seed=(arguments.seeds or [0])[0]
    )
    if arguments.tuned and options.tune_steps:
        raise ValueError("give either --tuned, a fine-tune that is there, or --tune-steps to make one")
    if arguments.at == "tuned" and not options.tune_steps:
        raise ValueError(
            "--at tuned needs --tune-steps; a fine-tune that is there is compared as MODEL itself"
        )
    if not arguments.data:
        ignored = [name for name in names if getattr(options, name) != getattr(InputOptions, name)]
        if ignored:
            raise ValueError(
                f"--{ignored[0].replace('_', '-')} needs --data, the text that the model runs on: it would be ignored"
            )
        return None
    print_lines("loading model and text", to_stderr=True)
    return open_inputs(arguments.model, arguments.data, options)


def _measure(arguments: Compare, inputs: Any, **more: Any) -> Any:
    """Compare what the command line names; `more` goes to `compare` as it is."""
    from paramgraph.comparison import compare
    from paramgraph.inputs import locate_model

    model = inputs.model if inputs else locate_model(arguments.model)
    tuned = locate_model(arguments.tuned) if arguments.tuned else inputs.tuned if inputs else None
    if arguments.at == "tuned":
        model, tuned = tuned, None
    # Any: words, which `compare` checks.
    nulls: Any = () if "none" in (arguments.nulls or ()) else arguments.nulls or NULLS
    sources = arguments.sources or _sources(inputs, tuned)
    return compare(
        model,
        parse_builders(arguments.builders) if arguments.builders else None,
        sources,
        arguments.scheme,
        read_targets(arguments.targets),
        inputs.batches if inputs else None,
        nulls,
        exclude=_exclude(arguments, inputs),
        tuned=tuned,
        loss=inputs.loss if inputs else None,
        signal=_signal(arguments, inputs, sources),
        permutations=arguments.permutations,
        name=inputs.name if inputs else _name(arguments.model),
        **{"seeds": arguments.seeds or [0]} | more,
    )


def _name(model: str) -> str:
    from paramgraph.checkpoints import locate

    path = locate(model).path
    return path.resolve().name if path else model


def _sources(inputs: Any, tuned: Any) -> list[str]:
    sources = ["weights"]
    if inputs is not None:
        sources += ["activations"] if inputs.no_gradients else ["activations", "batch_gradients"]
    return sources if tuned is None else [*sources, "updates"]


def _signal(arguments: Compare, inputs: Any, sources: list[str]) -> str:
    """Refuse gradients where there are none, before anything runs."""
    from paramgraph.sources import SOURCES

    signal = arguments.signal
    if inputs is None:
        running = [name for name in (signal, *sources) if name in SOURCES and SOURCES[name].needs_batches]
        if running:
            raise ValueError(
                f"{running[0]} need --data, the text that the model runs on; without it there are weights and, with "
                "--tuned, updates"
            )
    if inputs is None or not inputs.no_gradients:
        return signal
    wanted = [name for name in (signal, *sources) if name in SOURCES and SOURCES[name].needs_loss]
    if wanted:
        raise ValueError(
            f"there are no {wanted[0]}: {inputs.no_gradients}; give labelled text, or compare 'weights', "
            "'activations' and 'updates'"
        )
    # With batches the choice would be gradients.
    return signal if signal != "auto" else "updates" if arguments.tuned else "activations"


def _exclude(arguments: Compare, inputs: Any) -> Any:
    """Leave out what was asked, and what nothing can be measured of."""
    from paramgraph.nodes import matched_layers

    asked = read_excluded(arguments.exclude)
    unused = inputs.exclude if inputs else None
    if asked is None or unused is None:
        return asked or unused
    # Every single name that was asked must match, which the joined expression would hide.
    matched_layers(inputs.model, exclude=asked, packed=True)
    patterns = [
        rule if isinstance(rule, str) else "|".join(rf"(?:.*\.)?{re.escape(name)}" for name in rule)
        for rule in (asked, unused)
    ]
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def _write(found: Any, folder: Path) -> None:
    found.to_json(folder / "comparison.json")
    write_text(folder / "cells.csv", found.frame.to_csv(index=False))
    write_text(folder / "summary.csv", found.summary().to_csv(index=False))
    write_text(folder / "report.html", found.to_html())


def _verify(arguments: Compare, records: Path) -> int:
    from paramgraph.comparison import verify_records

    opened: dict[str, Any] = {}

    def rerun(record: Any, cell: Any) -> Any:
        command = str(record.setting.get("command", ""))
        recorded = _recorded_arguments(command)
        if command not in opened:  # one at a time: models are large
            opened.clear()
            opened[command] = _open(recorded)
        return _measure(recorded, opened[command], layers=[cell["layer"]], seeds=[cell["seed"]])

    results = verify_records(records, arguments.cells, arguments.seed, rerun)
    if arguments.json:
        print(json.dumps(results, allow_nan=False))
    else:
        for result in results:
            outcome = "agrees" if result["agrees"] else f"differs: {result['differences']}"
            print_lines(f"{result['cell']}: {outcome}")
    return 0 if all(result["agrees"] for result in results) else 1


def _recorded_arguments(command: str) -> Compare:
    """Read the command line that made a record; it is parsed, never run by a shell."""
    words = shlex.split(command)
    if words[:2] != ["paramgraph", "compare"]:
        raise ValueError(
            f"the record was made by {command!r}; only records of the command `paramgraph compare` say all that is "
            "needed to measure them again"
        )
    asks_for_help = {"-h", "--help"} & set(words)
    recorded = None if asks_for_help else read_command("paramgraph", "", {"compare": Compare}, words[1:])
    if not isinstance(recorded, Compare) or not recorded.model or recorded.verify is not None:
        raise ValueError(f"the record was made by {command!r}, which measures nothing")
    return recorded
