"""`spectral-opt refine`: recover pretrained ability of a finished fine-tune, without training."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from paramgraph.cli import check_extras

OPTIONS = (
    ("--task", str, "data of the task that the fine-tune has not seen; without it nothing is picked"),
    ("--text-column", str, "column of the text in your own data [text]"),
    ("--label-column", str, "column of the label in your own data [label]"),
    ("--metric", str, "of the task: auto, accuracy, probe, loss [auto]"),
    ("--default-strength", float, "gamma that is written where nothing picks [0.1]"),
    ("--texts", int, "preserved texts that build the graphs [96; quick 32]"),
    ("--held-out", int, "other preserved texts that measure retention [48, language models 32; quick 16]"),
    ("--dev", int, "task texts that pick [96, language models 32; quick 24]"),
    ("--test", int, "task texts that report [300, language models 48; quick 48]"),
    ("--max-length", int, "tokens of a text; longer ones are cut and counted [64; quick 48]"),
    ("--batch-size", int, "texts a batch [16]"),
    ("--seed", int, "of every draw [0]"),
)
NOT_OPTIONS = ("command", "out", "quick", "traceback", "json", "overwrite", "run")


def add_refine(commands: Any) -> None:
    """Add the command to a parser.

    Parameters
    ----------
    commands : object
        What `ArgumentParser.add_subparsers` gave.
    """
    refine = commands.add_parser(
        "refine",
        help="recover pretrained ability of a finished fine-tune, without training; a strength sweep with its front",
        description="Filter what a fine-tune changed by the graph of what is to be preserved. Scaling is beside it.",
    )
    refine.add_argument("base", metavar="BASE", help="embedded name, local folder or Hugging Face name")
    refine.add_argument("tuned", metavar="TUNED", help="the same, or the folder of a LoRA adapter")
    refine.add_argument(
        "--preserve",
        required=True,
        metavar="TEXT",
        help="text file, .csv, .tsv, .jsonl, embedded name or data set",
    )
    refine.add_argument(
        "--out", type=Path, required=True, help="folder of the results; the model is in OUT/model"
    )
    for name, kind, meaning in OPTIONS:
        refine.add_argument(name, type=kind, default=argparse.SUPPRESS, help=meaning)
    for name, meaning in (
        ("--strengths", "gammas of the filter, separated by commas [0.03,0.1,0.3; quick 0.1,0.3]"),
        ("--scales", "factors of the delta for comparison (WiSE-FT) [0.8,0.6,0.4; quick 0.7,0.4]"),
    ):
        refine.add_argument(name, default=argparse.SUPPRESS, help=meaning)
    refine.add_argument("--quick", action="store_true", help="a third of the text, two strengths")
    refine.add_argument("--json", action="store_true", help="print the results as JSON instead of tables")
    refine.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    refine.add_argument("--traceback", action="store_true", help="show where an error arose")


def run_refine(arguments: argparse.Namespace, command: str) -> int:
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
        0; 130 where it was interrupted, with what is finished on disk.

    Raises
    ------
    ValueError, ImportError, OSError
        For a user's mistake, before any work.
    """
    check_extras("refine", ("jinja2", "matplotlib", "rich"), "paramgraph[demo]")
    given = {name: value for name, value in vars(arguments).items() if name not in NOT_OPTIONS}
    for name in ("strengths", "scales"):
        if name in given:
            given[name] = _numbers(name, given[name])
    from dataclasses import replace

    from spectral_opt.sweep import RefinementOptions

    plain = RefinementOptions(given.pop("base"), given.pop("tuned"), given.pop("preserve"))
    options = replace(plain.quick() if arguments.quick else plain, **given)
    folder = _folder(arguments.out, arguments.overwrite)
    print("loading models and texts", file=sys.stderr)
    from transformers.utils import logging as transformers_logging

    from spectral_opt.sweep import make_refinement

    transformers_logging.disable_progress_bar()  # one bar is enough
    # Warnings about heads that are drawn anew: what has no base is said in the results.
    transformers_logging.set_verbosity_error()
    setting = make_refinement(options)
    folder.mkdir(parents=True, exist_ok=True)
    return _sweep(setting, folder, command, arguments)


def _sweep(setting: Any, folder: Path, command: str, arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from paramgraph.display import print_views
    from spectral_opt.sweep import (
        Sweep,
        refinement_page,
        refinement_results,
        refinement_tables,
        write_refinement,
    )

    shape = "{percentage:3.0f}% {bar:24} {elapsed} gone, {remaining} left  {desc}"

    def keep(sweep: Sweep, finished: bool = False) -> dict[str, Any]:
        results = refinement_results(sweep, command, finished)
        write_refinement(results, folder)
        return results

    sweep = Sweep(setting, lambda work, what: None, keep)
    try:
        with tqdm(total=sweep.work, bar_format=shape, mininterval=1.0) as bar:

            def advance(work: float, what: str) -> None:
                bar.set_description_str(what, refresh=False)
                # Rounding of the sum must not take the bar past its end.
                bar.update(min(work, sweep.work - bar.n))

            sweep.advance = advance
            sweep.run()
            sweep.pick()
            sweep.save(folder / "model", arguments.overwrite)
    except KeyboardInterrupt:
        results = keep(sweep)
        (folder / "report.html").write_text(refinement_page(results), encoding="utf-8")
        print(f"interrupted; {len(sweep.points)} measured states are in {folder}", file=sys.stderr)
        return 130
    results = keep(sweep, finished=True)
    page = folder / "report.html"
    page.write_text(refinement_page(results), encoding="utf-8")
    if arguments.json:
        print(json.dumps(results, allow_nan=False))
    else:
        print_views(refinement_tables(results))
        _print_sentences(results)
        print(f"\nThe refined model: {folder / 'model'}. With figures: {page}")
    return 0


def _print_sentences(results: dict[str, Any]) -> None:
    from spectral_opt.sweep import refinement_sentences

    print()
    for sentence in refinement_sentences(results):
        print(f"- {sentence}")


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--{name} is {text!r}: numbers separated by commas are needed, such as 0.1,0.3"
        ) from None


def _folder(out: Path, overwrite: bool) -> Path:
    """Refuse a folder that has something in it, or that cannot be written, before any work."""
    nearest = next((path for path in (out, *out.absolute().parents) if path.exists()), out)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(f"cannot write to {out}; name another folder with --out")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ValueError(f"{out} is not empty: name another folder with --out, or add --overwrite")
    return out
