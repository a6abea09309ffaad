"""The command line `paramgraph`: progress on stderr, results on stdout, exit code 2 for a user's mistake."""

from collections.abc import Sequence

from paramgraph.cli._builders_command import Builders
from paramgraph.cli._compare_command import Compare
from paramgraph.cli._inspect_command import Inspect
from paramgraph.cli.commands import run_commands

PROGRAM, ABOUT = "paramgraph", "Graphs of a model's parameters: what they are, and what they carry."
COMMANDS = {"compare": Compare, "inspect": Inspect, "builders": Builders}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of the process, and return its exit code.

    0; 1 where verified records disagree; 2 for a mistake that the one line on stderr names; 130 where it was
    interrupted.

    >>> main(["compare", "--out", "results"])
    2
    """
    return run_commands(PROGRAM, ABOUT, COMMANDS, arguments)
