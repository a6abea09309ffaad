"""`paramgraph compare`: constructions of graphs side by side, each beside its nulls; a table, files and a page."""

import argparse
import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from paramgraph.cli._words import add_targets, read_excluded, read_targets
from paramgraph.cli.checks import check_extras, check_writable

EXTRAS = ("pandas", "jinja2", "matplotlib", "rich")
NULLS = ("permuted", "rotated", "random")
# Options of the batches: name, type, default, meaning.
BATCHES = (
    ("--batches", int, 12, "batches; half of them builds graphs, the other half measures"),
    ("--batch-size", int, 16, "texts a batch"),
    ("--max-length", int, 48, "tokens of a text; longer ones are cut and counted"),
    ("--text-column", str, "text", "column of the text in your own data"),
    ("--label-column", str, None, "column of the label in your own data"),
    ("--task", str, "auto", "auto, language_model, classification, or none: no loss, so no gradients"),
    ("--tune-steps", int, 0, "fine-tune a copy first, on so many further batches of the text"),
    ("--tune-rate", float, 5e-5, "peak learning rate of that"),
)


def add_compare(commands: Any) -> None:
    """Add the command to a parser.

    Parameters
    ----------
    commands : object
        What `ArgumentParser.add_subparsers` gave.
    """
    command = commands.add_parser(
        "compare",
        help="compare graphs of a model's parameters, each beside its null models; a table and a page",
        usage="paramgraph compare MODEL --out DIR [--data TEXT] [--tuned MODEL2] [options]\n"
        "       paramgraph compare --verify RECORDS [--cells N] [--seed N]",
        description="Which graph of a model's parameters carries anything? Without --data and --tuned the weights are "
        "read matrix by matrix, and the model is never loaded. An interrupted run goes on when it is started again.",
    )
    command.add_argument(
        "model", nargs="?", metavar="MODEL", help="embedded name, local folder or Hugging Face name"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="folder of the results")
    what = command.add_argument_group("what is compared")
    what.add_argument(
        "--tuned", metavar="MODEL2", help="a fine-tune of MODEL, or a LoRA adapter, for its updates"
    )
    what.add_argument(
        "--data",
        metavar="TEXT",
        help="text that the model runs on: embedded name, text file, .csv, .tsv, .jsonl or data set",
    )
    what.add_argument(
        "--builders",
        nargs="+",
        metavar="NAME[:OPTION=VALUE,...]",
        help="as `paramgraph builders` lists them [cosine_knn gaussian_knn correlation gram ring]",
    )
    what.add_argument(
        "--sources",
        nargs="+",
        metavar="NAME",
        help="what graphs are built from: weights, gradients, batch_gradients, activations, attention_maps, updates "
        "[weights; with --data also activations and batch_gradients, with --tuned updates]",
    )
    what.add_argument("--scheme", default="rows", help="nodes: rows, columns, blocks, heads or layers [rows]")
    add_targets(what)
    what.add_argument(
        "--signal",
        metavar="NAME",
        default="auto",
        help="what is measured on the graphs: gradients, updates, activations, weights [gradients with --data]",
    )
    how = command.add_argument_group("how")
    how.add_argument(
        "--nulls", nargs="+", choices=(*NULLS, "none"), default=list(NULLS), help="null models [all three]"
    )
    how.add_argument("--seeds", nargs="+", type=int, default=[0], help="of draws of batches and nulls [0]")
    how.add_argument("--permutations", type=int, default=399, help="behind a p-value; 0 for none [399]")
    for name, kind, default, meaning in BATCHES:
        shown = "label, where there is one" if default is None else default
        how.add_argument(name, type=kind, default=default, help=f"{meaning} [{shown}]")
    how.add_argument(
        "--at",
        choices=("start", "tuned"),
        default="start",
        help="where gradients and activations are taken: before or after --tune-steps [start]",
    )
    how.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder that keeps graphs and spectra for other runs"
    )
    check = command.add_argument_group("verify instead")
    check.add_argument("--verify", type=Path, metavar="RECORDS", help="measure random cells of records again")
    check.add_argument("--cells", type=int, default=2, help="how many of them [2]")
    check.add_argument("--seed", type=int, default=0, help="of their draw [0]")
    command.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    command.add_argument("--traceback", action="store_true", help="show where an error arose")


def run_compare(arguments: argparse.Namespace, command: str) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : argparse.Namespace
        Parsed.
    command : str
        The command line, for the record.

    Returns
    -------
    int
        0; 1 where verified records disagree; 130 where it was interrupted, with finished layers on disk.

    Raises
    ------
    ValueError, ImportError, OSError
        For a user's mistake, before any work where that is possible.
    """
    if arguments.verify is not None:
        return _verify(arguments)
    if arguments.model is None or arguments.out is None:
        missing = "MODEL" if arguments.model is None else "--out DIR"
        raise ValueError(
            f"{missing} is missing: paramgraph compare MODEL --out DIR, or paramgraph compare --verify RECORDS"
        )
    check_extras("compare", EXTRAS, "paramgraph[compare]")
    check_writable(arguments.out)
    try:
        found = _compare(arguments, command)
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from what is in {arguments.out}", file=sys.stderr)
        return 130
    _write(found, arguments.out)
    if arguments.json:
        print(found.to_json())
        return 0
    from paramgraph.comparison.report import print_comparison

    print_comparison(found.to_dict())
    print(f"\nWith figures, every layer and what the words mean: {arguments.out / 'report.html'}")
    return 0


def _compare(arguments: argparse.Namespace, command: str) -> Any:
    inputs = _open(arguments)
    found = _measure(arguments, inputs, folder=arguments.out, cache=arguments.cache, progress=True)
    notes = [*found.setting["chosen"], *(inputs.notes if inputs else ())]
    return dataclasses.replace(found, setting={**found.setting, "command": command, "chosen": notes})


def _open(arguments: argparse.Namespace) -> Any:
    """Load model and text, where the model has to run."""
    from transformers.utils import logging as transformers_logging

    from paramgraph.comparison import check_signal
    from paramgraph.inputs import InputOptions, open_inputs

    check_signal(arguments.signal)
    transformers_logging.disable_progress_bar()  # one bar is enough
    transformers_logging.set_verbosity_error()
    names = [field.name for field in dataclasses.fields(InputOptions) if field.name != "seed"]
    options = InputOptions(**{name: getattr(arguments, name) for name in names}, seed=arguments.seeds[0])
    if arguments.tuned and options.tune_steps:
        raise ValueError("give either --tuned, a fine-tune that is there, or --tune-steps to make one")
    if arguments.at == "tuned" and not options.tune_steps:
        raise ValueError(
            "--at tuned needs --tune-steps; a fine-tune that is there is compared as MODEL itself"
        )
    if not arguments.data:
        if options.tune_steps:
            raise ValueError("--tune-steps needs --data, the text to fine-tune on")
        return None
    print("loading model and text", file=sys.stderr)
    return open_inputs(arguments.model, arguments.data, options)


def _measure(arguments: argparse.Namespace, inputs: Any, **more: Any) -> Any:
    """Compare what the command line names; `more` goes to `compare` as it is."""
    from paramgraph.cli.builder_words import parse_builders
    from paramgraph.comparison import compare
    from paramgraph.inputs import locate_model

    model = inputs.model if inputs else locate_model(arguments.model)
    tuned = locate_model(arguments.tuned) if arguments.tuned else inputs.tuned if inputs else None
    if arguments.at == "tuned":
        model, tuned = tuned, None
    sources = arguments.sources or _sources(inputs, tuned)
    return compare(
        model,
        parse_builders(arguments.builders) if arguments.builders else None,
        sources,
        arguments.scheme,
        read_targets(arguments.targets),
        inputs.batches if inputs else None,
        () if "none" in arguments.nulls else arguments.nulls,
        exclude=_exclude(arguments, inputs),
        tuned=tuned,
        loss=inputs.loss if inputs else None,
        signal=_signal(arguments, inputs, sources),
        permutations=arguments.permutations,
        name=inputs.name if inputs else _name(arguments.model),
        **{"seeds": arguments.seeds} | more,
    )


def _name(model: str) -> str:
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def _sources(inputs: Any, tuned: Any) -> list[str]:
    sources = ["weights"]
    if inputs is not None:
        sources += ["activations"] if inputs.no_gradients else ["activations", "batch_gradients"]
    return sources if tuned is None else [*sources, "updates"]


def _signal(arguments: argparse.Namespace, inputs: Any, sources: list[str]) -> str:
    """Refuse gradients where there are none, before anything runs."""
    from paramgraph.sources import SOURCES

    signal: str = arguments.signal
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


def _exclude(arguments: argparse.Namespace, inputs: Any) -> Any:
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
    found.frame.to_csv(folder / "cells.csv", index=False)
    found.summary().to_csv(folder / "summary.csv", index=False)
    (folder / "report.html").write_text(found.to_html(), encoding="utf-8")


def _verify(arguments: argparse.Namespace) -> int:
    from paramgraph.comparison import verify_records

    opened: dict[str, Any] = {}

    def rerun(record: Any, cell: Any) -> Any:
        command = str(record.setting.get("command", ""))
        recorded = _recorded_arguments(command)
        if command not in opened:  # one at a time: models are large
            opened.clear()
            opened[command] = _open(recorded)
        return _measure(recorded, opened[command], layers=[cell["layer"]], seeds=[cell["seed"]])

    results = verify_records(arguments.verify, arguments.cells, arguments.seed, rerun)
    if arguments.json:
        print(json.dumps(results, allow_nan=False))
    else:
        for result in results:
            outcome = "agrees" if result["agrees"] else f"differs: {result['differences']}"
            print(f"{result['cell']}: {outcome}")
    return 0 if all(result["agrees"] for result in results) else 1


def _recorded_arguments(command: str) -> argparse.Namespace:
    """Read the command line that made a record; it is parsed, never run by a shell."""
    words = shlex.split(command)
    if words[:2] != ["paramgraph", "compare"]:
        raise ValueError(
            f"the record was made by {command!r}; only records of the command `paramgraph compare` say all that is "
            "needed to measure them again"
        )
    parser = argparse.ArgumentParser(prog="paramgraph")
    add_compare(parser.add_subparsers(dest="command"))
    return parser.parse_args(words[1:])
