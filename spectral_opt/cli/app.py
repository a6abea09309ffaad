"""The command line `spectral-opt`: progress on stderr, results on stdout, exit code 2 for a user's mistake."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paramgraph.cli import check_extras, check_writable
from spectral_opt.cli.refine_command import add_refine, run_refine

# Before torch is imported: spinning threads cost a small machine five times the work they do.
THREADS = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
DEMO_OPTIONS = (
    ("--seed", int, "of split, batches, dropout and nulls [0]"),
    ("--model", str, "embedded name, local folder or Hugging Face name [embedded: all-MiniLM-L6-v2]"),
    ("--data", str, "embedded name, CSV or JSONL file, or Hugging Face name [rotten_tomatoes]"),
    ("--text-column", str, "column of the text in your own data [text]"),
    ("--label-column", str, "column of the label in your own data [label]"),
    ("--preserve", str, "text that the refinement protects [sotu]"),
    ("--retention", str, "text on which retention is measured [bbc]"),
    ("--per-class", int, "training examples a class [64; quick 16]"),
    ("--test-size", int, "test texts [1000; quick 200]"),
    ("--steps", int, "training steps of a run [32; quick 6]"),
    ("--batch-size", int, "texts a step [16]"),
    ("--max-length", int, "tokens of a text; longer ones are cut and counted [48]"),
)
NOT_OPTIONS = ("command", "out", "quick", "traceback")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of the process.

    Returns
    -------
    int
        Exit code: 0, or 2 for a mistake that the one line on stderr names.

    Examples
    --------
    >>> main(["demo", "--learning-rates", "-1"])
    2
    """
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    command = shlex.join(["spectral-opt", *given])
    try:
        if options.command == "refine":
            return run_refine(options, command)
        _demo(options, command)
    except (ValueError, ImportError, OSError) as error:
        if options.traceback:
            raise
        print(f"spectral-opt: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectral-opt", description="Fine-tuning with the spectrum of a parameter graph."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="compare graphs, methods and refinement on a real model and real text; a table and a page",
        description="Under ten minutes on two cores. A demonstration, not a claim.",
    )
    demo.add_argument("--out", type=Path, default=Path("demo-report"), help="folder of the results")
    demo.add_argument("--quick", action="store_true", help="a fraction of the size, about three minutes")
    # Without a default of their own: what is not given is decided by DemoOptions, small with --quick.
    for name, kind, meaning in DEMO_OPTIONS:
        demo.add_argument(name, type=kind, default=argparse.SUPPRESS, help=meaning)
    demo.add_argument(
        "--learning-rates",
        type=float,
        nargs="+",
        default=argparse.SUPPRESS,
        help="tried for each method, chosen on dev [5e-5 1e-4; quick 1e-4]",
    )
    demo.add_argument(
        "--shuffle-labels", action="store_true", help="a control: accuracy has to fall to chance"
    )
    demo.add_argument("--traceback", action="store_true", help="show where an error arose")
    add_refine(commands)
    return parser


def _demo(arguments: argparse.Namespace, command: str) -> None:
    folder: Path = arguments.out
    given = {name: value for name, value in vars(arguments).items() if name not in NOT_OPTIONS}
    _check_numbers(given)
    check_extras("the demo", ("jinja2", "matplotlib", "rich"), "paramgraph[demo]")
    check_writable(folder)
    print("loading model and texts", file=sys.stderr)
    from tqdm import tqdm
    from transformers.utils import logging as transformers_logging

    from spectral_opt.demo import (
        Demo,
        DemoOptions,
        demo_page,
        demo_results,
        example_drawings,
        make_setting,
        print_tables,
        work_ahead,
        write_results,
    )

    transformers_logging.disable_progress_bar()  # one bar is enough
    if "learning_rates" in given:
        given["learning_rates"] = tuple(given["learning_rates"])
    options = DemoOptions().quick() if arguments.quick else DemoOptions()
    setting = make_setting(replace(options, **given))
    records = folder / "records.jsonl"
    records.unlink(missing_ok=True)
    shape = "{percentage:3.0f}% {bar:24} {elapsed} gone, {remaining} left  {desc}"
    total = work_ahead(setting)
    with tqdm(total=total, bar_format=shape, mininterval=1.0) as bar:

        def advance(work: float, what: str) -> None:
            bar.set_description_str(what, refresh=False)
            # Rounding of the sum must not take the bar past its end.
            bar.update(min(work, total - bar.n))

        demo = Demo(setting, records, advance)
        demo.measure_graphs()
        demo.train_methods()
        demo.refine()
    results = demo_results(demo, command)
    write_results(results, folder)
    page = folder / "report.html"
    page.write_text(demo_page(results, example_drawings(setting)), encoding="utf-8")
    print_tables(results)
    print(f"\nA demonstration, not a claim. What did and did not help, with figures: {page}")


def _check_numbers(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        lowest = 0 if name == "seed" else 1
        if type(value) is int and value < lowest:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: at least {lowest} is needed")
    for rate in given.get("learning_rates", ()):
        if not 0 < rate < float("inf"):
            raise ValueError(f"--learning-rates has {rate:g}: each must be a positive number")


if __name__ == "__main__":
    sys.exit(main())
