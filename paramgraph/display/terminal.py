"""What a terminal shows: tables, and a bar of progress with the time that is left."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from paramgraph.display.page import TableView
from paramgraph.display.printable_text import printable


def print_lines(*lines: str, to_stderr: bool = False) -> None:
    """Print each text on a line of its own; no name in it can begin another line."""
    for line in lines:
        print(printable(line), file=sys.stderr if to_stderr else sys.stdout)


def print_views(views: Iterable[TableView], width: int = 120) -> None:
    """Print tables; `width` is of what goes into a pipe or file, a terminal has its own. ImportError without rich.

    >>> print_views([TableView(("graph", "share"), (("ring", "0.2"),))])
    <BLANKLINE>
    graph  share
    ring     0.2
    """
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError as error:
        raise ImportError("tables need rich: pip install 'paramgraph[compare]'") from error
    # A pipe has no width of its own: 80 columns would fold every row.
    console = Console() if sys.stdout.isatty() else Console(width=width)
    for view in views:
        table = Table(
            title=escape(printable(view.caption, kept="\n")) or None,
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
        )
        for place, name in enumerate(view.header):
            words = place == 0 or place in view.words
            table.add_column(
                escape(printable(name, kept="\n")), justify="left" if words else "right", overflow="fold"
            )
        for place, row in enumerate(view.rows):
            # Cells are text: a bracket in one is no markup.
            table.add_row(
                *(escape(printable(cell)) for cell in row), style="dim" if place in view.muted else ""
            )
        console.print()
        console.print(table)


@contextmanager
def progress_bar(total: float, shown: bool = True) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr; what is yielded takes how much more of `total` is done, and what comes next."""
    from tqdm import tqdm

    shape = "{percentage:3.0f}% {bar:24} {elapsed} gone, {remaining} left  {desc}"
    with tqdm(total=total, bar_format=shape, mininterval=1.0, disable=not shown) as bar:

        def advance(work: float, what: str) -> None:
            bar.set_description_str(printable(what), refresh=not work)
            # Rounding of the sum must not take the bar past its end.
            bar.update(min(work, total - bar.n))

        yield advance
