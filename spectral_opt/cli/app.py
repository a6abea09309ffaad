"""The command line `spectral-opt`: progress on stderr, results on stdout, exit code 2 for a user's mistake."""

from collections.abc import Sequence

from paramgraph.cli import Commands, run_commands
from spectral_opt.cli._demo_command import Demonstration
from spectral_opt.cli._embedded_command import Embedded
from spectral_opt.cli._finetune_command import FineTune
from spectral_opt.cli._plan_command import Plan
from spectral_opt.cli._refine_command import Refine
from spectral_opt.cli._study_command import STUDY

PROGRAM, ABOUT = "spectral-opt", "Fine-tuning with the spectrum of a parameter graph."
COMMANDS: Commands = {
    "demo": Demonstration,
    "finetune": FineTune,
    "plan": Plan,
    "refine": Refine,
    "study": STUDY,
    "embedded": Embedded,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of the process, and return its exit code.

    0; 2 for a mistake that the one line on stderr names; 130 where it was interrupted.

    >>> main(["demo", "--learning-rates", "-1"])
    2
    """
    return run_commands(PROGRAM, ABOUT, COMMANDS, arguments)
