"""The command line `spectral-opt`: the demonstration, and the refinement of a finished fine-tune.

Commands are made as those of `paramgraph.cli`, which reads and runs them: one file for each, and one value in
`COMMANDS` of `app.py`, whose `main` is the command. Nothing here imports torch before a command runs.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.cli.app import COMMANDS as COMMANDS, main as main

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
