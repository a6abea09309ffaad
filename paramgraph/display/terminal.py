"""What a terminal shows: tables, and a bar of progress with the time that is left."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from paramgraph.display.page import TableView
from paramgraph.display.printable_text import printable

GAP = 2  # rich's, between columns
NAME = 24  # places of a name, or sentence, that stay on one line


def print_lines(*lines: str, to_stderr: bool = False) -> None:
    """Print each text on a line of its own; no name in it can begin another line."""
    for line in lines:
        print(printable(line), file=sys.stderr if to_stderr else sys.stdout)


def print_views(views: Iterable[TableView], width: int = 120) -> None:
    """Print tables; `width` is of what goes into a pipe or file, a terminal has its own. ImportError without rich.

    No number and no word is broken: a table that is wider than the terminal goes on below, under its first column.

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
        for place, columns in enumerate(_fitting(view, console.width)):
            table = Table(
                title=escape(printable(view.caption, kept="\n")) or None if place == 0 else None,
                title_justify="left",
                title_style="bold",
                box=None,
                pad_edge=False,
            )
            for column in columns:
                words = _is_words(view, column)
                table.add_column(
                    escape(printable(view.header[column], kept="\n")),
                    justify="left" if words else "right",
                    overflow="fold",
                    no_wrap=not words,
                    min_width=min(_least(view, column), console.width),
                )
            for number, row in enumerate(view.rows):
                # Cells are text: a bracket in one is no markup.
                cells = (escape(printable(row[column])) for column in columns)
                table.add_row(*cells, style="dim" if number in view.muted else "")
            console.print()
            console.print(table)


def _fitting(view: TableView, width: int) -> list[list[int]]:
    """Share columns out among tables of at most this width, the first column in each of them."""
    tables, used = [[0]], _least(view, 0)
    for column in range(1, len(view.header)):
        least = _least(view, column) + GAP
        if used + least > width and len(tables[-1]) > 1:
            tables.append([0])
            used = _least(view, 0)
        tables[-1].append(column)
        used += least
    return tables


def _least(view: TableView, column: int) -> int:
    """Count the places below which a number or a word would be broken, or a name would take many lines.

    A terminal gives two places to a character of Chinese, Japanese or Korean, and none to an accent of its own.
    """
    from rich.cells import cell_len

    cells = [printable(row[column]) for row in (view.header, *view.rows)]
    longest = max(map(cell_len, cells))
    if not _is_words(view, column):
        return longest
    words = (cell_len(word) for cell in cells for word in cell.split())
    return max(min(longest, NAME), max(words, default=0))


def _is_words(view: TableView, column: int) -> bool:
    return column == 0 or column in view.words


@contextmanager
def progress_bar(total: float, shown: bool = True) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr; what is yielded takes how much more of `total` is done, and what comes next."""
    from tqdm import tqdm

    shape = "{percentage:3.0f}% {bar:24} {elapsed} gone, {remaining} left  {desc}"
    # The mean pace of the whole run: the last second's would let the time left jump about.
    with tqdm(total=total, bar_format=shape, mininterval=1.0, smoothing=0, disable=not shown) as bar:

        def advance(work: float, what: str) -> None:
            bar.set_description_str(printable(what), refresh=not work)
            # Rounding of the sum must not take the bar past its end.
            bar.update(min(work, total - bar.n))

        yield advance
