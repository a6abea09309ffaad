"""The command line `spectral-opt`: progress on stderr, results on stdout, exit code 2 for a user's mistake."""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Before torch is imported: spinning threads cost a small machine five times the work they do.
THREADS = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


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
    try:
        _demo(options, shlex.join(["spectral-opt", *given]))
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
    demo.add_argument(
        "--out", type=Path, default=Path("demo-report"), help="folder of the results [%(default)s]"
    )
    demo.add_argument("--quick", action="store_true", help="a fraction of the size, about a minute")
    demo.add_argument(
        "--seed", type=int, default=0, help="seed of split, batches, dropout and nulls [%(default)s]"
    )
    demo.add_argument(
        "--model", default="embedded", help="embedded name, folder or Hugging Face name [%(default)s]"
    )
    demo.add_argument(
        "--data",
        default="rotten_tomatoes",
        help="embedded name, CSV or JSONL file, or Hugging Face name [%(default)s]",
    )
    demo.add_argument(
        "--text-column", default="text", help="column of the text in your own data [%(default)s]"
    )
    demo.add_argument(
        "--label-column", default="label", help="column of the label in your own data [%(default)s]"
    )
    demo.add_argument("--preserve", default="sotu", help="text that the refinement protects [%(default)s]")
    demo.add_argument("--retention", default="bbc", help="text on which retention is measured [%(default)s]")
    demo.add_argument("--per-class", type=int, default=64, help="training examples a class [%(default)s]")
    demo.add_argument("--test-size", type=int, default=1000, help="test texts [%(default)s]")
    demo.add_argument("--steps", type=int, default=32, help="training steps of a run [%(default)s]")
    demo.add_argument(
        "--max-length", type=int, default=48, help="tokens of a text; longer ones are cut [%(default)s]"
    )
    demo.add_argument("--batch-size", type=int, default=16, help="texts a step [%(default)s]")
    demo.add_argument(
        "--learning-rates",
        type=float,
        nargs="+",
        default=[5e-5, 1e-4, 2e-4],
        help="tried for each method, chosen on dev",
    )
    demo.add_argument(
        "--shuffle-labels", action="store_true", help="a control: accuracy has to fall to chance"
    )
    demo.add_argument("--traceback", action="store_true", help="show where an error arose")
    return parser


def _demo(arguments: argparse.Namespace, command: str) -> None:
    folder: Path = arguments.out
    _check_numbers(arguments)
    _check_writable(folder)
    print("loading model and texts", file=sys.stderr)
    from tqdm import tqdm

    from spectral_opt.report.demo_drawings import example_drawings
    from spectral_opt.report.demo_page import demo_page
    from spectral_opt.report.results import demo_results, write_results
    from spectral_opt.report.tables import print_tables
    from spectral_opt.study.demo import Demo, work_ahead
    from spectral_opt.study.demo_setting import DemoOptions, make_setting

    options = DemoOptions(
        model=arguments.model,
        data=arguments.data,
        text_column=arguments.text_column,
        label_column=arguments.label_column,
        preserve=arguments.preserve,
        retention=arguments.retention,
        seed=arguments.seed,
        per_class=arguments.per_class,
        test_size=arguments.test_size,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        max_length=arguments.max_length,
        learning_rates=tuple(arguments.learning_rates),
        shuffle_labels=arguments.shuffle_labels,
    )
    setting = make_setting(options.quick() if arguments.quick else options)
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


def _check_numbers(arguments: argparse.Namespace) -> None:
    for name in ("per_class", "test_size", "steps", "batch_size", "max_length"):
        if getattr(arguments, name) < 1:
            raise ValueError(
                f"--{name.replace('_', '-')} is {getattr(arguments, name)}: at least 1 is needed"
            )
    wrong = [rate for rate in arguments.learning_rates if not 0 < rate < float("inf")]
    if wrong:
        raise ValueError(f"--learning-rates has {wrong[0]:g}: each must be a positive number")


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
