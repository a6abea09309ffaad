"""The command line: what `paramgraph compare`, `inspect` and `builders` read, do and print.

A command is a frozen dataclass: its fields are the options, its docstring and its `EXAMPLES` are the help, `run` does
the work and gives the exit code. `run_commands` reads the words of a command line into one of them, by Typer, and turns
a user's mistake into one line and exit code 2. The commands of `spectral_opt` are made of the same. To add a command:
one file, and one value in `COMMANDS` of the program's `app.py`. Nothing here imports torch before a command runs.

The program: `main`, `COMMANDS`. To write and run commands: `Command`, several of them under one name `CommandGroup`,
all of a program `Commands`; `run_commands`, `read_command`, `THREADS`.
Options: `option`, `argument`, those that commands share (`Json`, `Quiet`, `Traceback`), and their sentences (`PLACE`,
`TEXT_COLUMN`, `LABEL_COLUMN`, `PARAGRAPHS`). Before any work: `check_extras`, `check_writable`. Inside:
`inspect_model`, `describe_builders`, `parse_builders`, `read_targets`, `read_excluded`, `size_text`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.cli._builders_command import describe_builders as describe_builders
    from paramgraph.cli._inspect_command import size_text as size_text
    from paramgraph.cli._inspection import inspect_model as inspect_model
    from paramgraph.cli._words import (
        parse_builders as parse_builders,
        read_excluded as read_excluded,
        read_targets as read_targets,
    )
    from paramgraph.cli.app import COMMANDS as COMMANDS, main as main
    from paramgraph.cli.commands import (
        LABEL_COLUMN as LABEL_COLUMN,
        PARAGRAPHS as PARAGRAPHS,
        PLACE as PLACE,
        TEXT_COLUMN as TEXT_COLUMN,
        THREADS as THREADS,
        Command as Command,
        CommandGroup as CommandGroup,
        Commands as Commands,
        Json as Json,
        Quiet as Quiet,
        Traceback as Traceback,
        argument as argument,
        check_extras as check_extras,
        check_writable as check_writable,
        option as option,
        read_command as read_command,
        run_commands as run_commands,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
