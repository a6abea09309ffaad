"""The command line `paramgraph`: progress on stderr, results on stdout, exit code 2 for a user's mistake."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from paramgraph.cli.builders_command import add_builders, run_builders
from paramgraph.cli.compare_command import add_compare, run_compare
from paramgraph.cli.inspect_command import add_inspect, run_inspect

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
        Exit code: 0; 1 where verified records disagree; 2 for a mistake that the one line on stderr names; 130
        where it was interrupted.

    Examples
    --------
    >>> main(["compare", "--out", "results"])
    2
    """
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        if options.command == "builders":
            return run_builders(options)
        if options.command == "inspect":
            return run_inspect(options)
        return run_compare(options, shlex.join(["paramgraph", *given]))
    except (ValueError, ImportError, OSError) as error:
        if options.traceback:
            raise
        print(f"paramgraph: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paramgraph", description="Graphs of a model's parameters: what they are, and what they carry."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_compare(commands)
    add_inspect(commands)
    add_builders(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
