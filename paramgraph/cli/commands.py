"""What a command is, and how it is read and run: shared by `paramgraph` and `spectral-opt`.

A command is a frozen dataclass: its fields are the options, its docstring is the help, `run` does the work.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, TextIO, runtime_checkable

import typer
from typer.core import TyperCommand

from paramgraph.display import print_lines
from paramgraph.environment import versions, versions_beside
from paramgraph.whole_files import check_can_write

# Before torch is imported: spinning threads cost a small machine five times the work they do.
THREADS = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def option(meaning: str, *names: str, metavar: str | None = None, group: str | None = None) -> Any:
    """Describe an option; its default stands in brackets in `meaning`, as it may depend on others.

    Without `names` it is called as its field. Options of one `group` stand together in the help.
    """
    # Any: what Typer gives is for `Annotated` alone.
    return typer.Option(*names, help=meaning, metavar=metavar, show_default=False, rich_help_panel=group)


def argument(name: str, meaning: str) -> Any:
    """Describe what is given by its place."""
    return typer.Argument(metavar=name, help=meaning, show_default=False)


# Sentences of the help that several commands share.
PLACE = "embedded name, local folder or Hugging Face name"
TEXT_COLUMN = "column of the text in your own data [text]"
LABEL_COLUMN = "column of the label in your own data [label]"
PARAGRAPHS = "a text file, whose paragraphs (between empty lines) are texts"
Json = Annotated[bool, option("print JSON instead of tables", "--json")]
Quiet = Annotated[bool, option("no progress and no remarks, only warnings and errors", "--quiet", "-q")]
Traceback = Annotated[bool, option("show where an error arose", "--traceback")]


@runtime_checkable
class Command(Protocol):
    """Options of a command that were read; `EXAMPLES` are lines of its help."""

    EXAMPLES: ClassVar[tuple[str, ...]]

    @property
    def quiet(self) -> bool:
        """Whether stderr is to have nothing but warnings and errors."""

    @property
    def traceback(self) -> bool:
        """Whether errors of the user are shown with the place where they arose."""

    def run(self, line: str) -> int:
        """Do the work and return the exit code; `line` is the whole command line, for the record."""


@dataclass(frozen=True)
class CommandGroup:
    """Commands under one name; `about` is its help."""

    about: str
    commands: Mapping[str, type[Command]]


Commands = Mapping[str, type[Command] | CommandGroup]


def run_commands(program: str, about: str, commands: Commands, arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments`, by default those of the process, name, and return the exit code.

    0; what the command says; 2 and one line on stderr for a user's mistake; 130 where it was interrupted. What is
    neither is our own fault: it goes through, with its traceback and Python's exit code 1.
    """
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = None
    stderr = sys.stderr
    with warnings.catch_warnings():
        # Names of others stand in warnings too.
        warnings.showwarning = functools.partial(_show_warning, stderr)
        try:
            command = read_command(program, about, commands, words)
            if command is None:
                return 0
            with _quieted() if command.quiet else contextlib.nullcontext():
                return command.run(shlex.join([program, *words]))
        except KeyboardInterrupt:
            print_lines("interrupted", to_stderr=True)
            return 130
        except (ValueError, ImportError, OSError, typer.TyperException) as error:
            if command and command.traceback:
                raise
            text = error.format_message() if isinstance(error, typer.TyperException) else str(error)
            print_lines(f"{program}: {' '.join(text.split())}", to_stderr=True)
            return 2


# Any: its arguments are those of `warnings.showwarning`.
def _show_warning(stderr: TextIO, message: Any, category: Any, *_: Any, **__: Any) -> None:
    with contextlib.redirect_stderr(stderr):
        print_lines(f"{category.__name__}: {' '.join(str(message).split())}", to_stderr=True)


@contextlib.contextmanager
def _quieted() -> Iterator[None]:
    """Drop what a run and the libraries under it write to stderr, bars among it, but for warnings that are logged."""
    usual, warned = logging.lastResort, logging.StreamHandler(sys.stderr)
    warned.setLevel(logging.WARNING)
    logging.lastResort = warned
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.lastResort = usual


def read_command(program: str, about: str, commands: Commands, words: Sequence[str]) -> Command | None:
    """Read a command line without running it; None where it asked for help, which is printed.

    Raises `typer.TyperException` with near names where no command or option has a name, or a value does not fit.
    """
    group = commands.get(words[0]) if len(words) == 1 else None
    known, place = (
        (group.commands, f"{program} {words[0]}") if isinstance(group, CommandGroup) else (commands, program)
    )
    is_missing = not words or isinstance(group, CommandGroup)
    if is_missing and f"_{program}_COMPLETE".upper().replace("-", "_") not in os.environ:
        raise ValueError(f"COMMAND is missing: {', '.join(known)}; {place} --help says more")
    app = _app(about, commands, callback=_common, add_completion=True)
    # Not `app(...)`, which would set the process's excepthook.
    found = typer.main.get_command(app).main(list(words), prog_name=program, standalone_mode=False)
    if not found:
        return None
    places = {name: _in_home(value) for name, value in vars(found).items() if isinstance(value, Path)}
    expanded: Command = replace(found, **places)
    return expanded


def _in_home(path: Path) -> Path:
    """Put the home folder in the place of "~", which a shell does not do after an equals sign."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"no home folder for {path}: {error}; write the path without ~") from error


# Any: Typer's own keywords.
def _app(about: str, commands: Commands, **more: Any) -> typer.Typer:
    settings = {"help_option_names": ["-h", "--help"]}
    more = {"add_completion": False} | more
    app = typer.Typer(rich_markup_mode=None, help=about, context_settings=settings, **more)
    for name, kind in commands.items():
        if isinstance(kind, CommandGroup):
            app.add_typer(_app(kind.about, kind.commands), name=name)
            continue
        summary = (kind.__doc__ or "").partition("\n")[0]
        app.command(name, cls=_Reader, short_help=summary, epilog="\n".join(kind.EXAMPLES))(kind)
    return app


def _show_versions(asked: bool) -> bool:
    if asked:
        found = versions()
        own, python = found.pop("paramgraph"), found.pop("python")
        shown = {"paramgraph": own, "python": python} | found | versions_beside()
        print_lines(*(f"{name} {version}" for name, version in shown.items()))
        raise typer.Exit
    return asked


# Typer reads the options that stand before any command off a signature.
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="print the versions of paramgraph, Python and the packages that decide a result",
            callback=_show_versions,
            is_eager=True,
            show_default=False,
        ),
    ] = False,
) -> None:
    pass


NUMBERS = ("FLOAT...", "INT...")  # what lists of numbers are called in the help


class _Reader(TyperCommand):
    """Options take several words, as in `--builders gram ring`: click has the option repeated before each of them.

    Numbers may also be separated by commas, `0.1,0.3`; a word may hold a comma of its own.
    """

    # ctx and formatter are Any: click's, which Typer keeps private.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put an option before each of its words; where it is given twice, the last one counts.

        A name may be cut short where one option alone begins so.
        """
        options: dict[str, Any] = {
            name: one for one in self.get_params(ctx) for name in one.opts if one.param_type_name == "option"
        }
        ahead, rest = list(args), list[str]()
        given: dict[str, list[str]] = {}
        while ahead and ahead[0] != "--":
            name, equals, value = ahead.pop(0).partition("=")
            if name.startswith("--") and name not in options:
                begun = [full for full in options if full.startswith(name)]
                name = begun[0] if len(begun) == 1 else name
            one = options.get(name)
            if one is None or one.is_flag:
                rest.append(f"{name}{equals}{value}")
                continue
            if equals:
                given[name] = [_named(value, ctx, one)]
                continue
            most = len(ahead) if one.multiple else 1
            count = next(
                (at for at, word in enumerate(ahead[:most]) if _is_option(word)), min(most, len(ahead))
            )
            if not count:
                raise typer.BadParameter("a value is needed", ctx, one)
            given[name] = [_named(word, ctx, one) for word in ahead[:count]]
            del ahead[:count]
        for name, values in given.items():
            if options[name].metavar in NUMBERS:
                given[name] = [part for value in values for part in value.split(",") if part]
                if not given[name]:  # else the option would count as not given
                    raise typer.BadParameter(
                        f"got {' '.join(values)!r}; numbers are needed", ctx, options[name]
                    )
        for word in (*rest, *ahead):
            _named(word, ctx)
        pairs = [part for name, values in given.items() for value in values for part in (name, value)]
        try:
            return super().parse_args(ctx, [*pairs, *rest, *ahead])
        except typer.BadParameter as error:
            came = [value for name in getattr(error.param, "opts", ()) for value in given.get(name, ())]
            if came:
                error.message = f"got {' '.join(came)}; {error.message}"
            raise

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on a line of its own."""
        if self.epilog:
            with formatter.section("examples"):
                for line in self.epilog.splitlines():
                    formatter.write_text(line)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help of all options, those of a group together."""
        groups: dict[str, list[Any]] = {}
        for one in self.get_params(ctx):
            if record := one.get_help_record(ctx):
                name = getattr(one, "rich_help_panel", None) or f"{one.param_type_name}s"
                groups.setdefault(name, []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


# ctx and one are Any: as in `_Reader`.
def _named(word: str, ctx: Any, one: Any = None) -> str:
    """Refuse an empty word, as of a variable that is not set: it would count as not given, or as this folder."""
    if not word:
        raise typer.BadParameter("got ''; a value is needed", ctx, one)
    return word


def _is_option(word: str) -> bool:
    return re.match(r"-[^\d.]", word) is not None  # -1 and -.5 are numbers


def check_extras(command: str, packages: Iterable[str], extra: str) -> None:
    """Refuse to begin what could not be finished: pages and tables come last, and the work would be lost.

    >>> check_extras("compare", ["no_such_package"], "paramgraph[compare]")
    Traceback (most recent call last):
    ...
    ImportError: compare needs no_such_package: pip install 'paramgraph[compare]'
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{command} needs {' and '.join(missing)}: pip install '{extra}'")


def check_writable(folder: Path) -> None:
    """Make the folder of results, and raise ValueError where it cannot be made or written."""
    check_can_write(folder)
    folder.mkdir(parents=True, exist_ok=True)
