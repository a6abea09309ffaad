"""Tables in the terminal."""

import sys
from collections.abc import Iterable

from paramgraph.display.page import TableView


def print_views(views: Iterable[TableView], width: int = 120) -> None:
    """Print tables to the terminal.

    Parameters
    ----------
    views : iterable of TableView
        In this order.
    width : int, default 120
        Of what goes into a pipe or file; a terminal has its own.

    Raises
    ------
    ImportError
        If rich is missing; the message has the pip line.

    Examples
    --------
    >>> print_views([TableView(("graph", "share"), (("ring", "0.2"),))])
    <BLANKLINE>
    graph  share
    ring     0.2
    """
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError as error:
        raise ImportError("tables need rich: pip install 'paramgraph[compare]'") from error
    # A pipe has no width of its own: 80 columns would fold every row.
    console = Console() if sys.stdout.isatty() else Console(width=width)
    for view in views:
        table = Table(
            title=view.caption or None, title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for place, name in enumerate(view.header):
            words = place == 0 or place in view.words
            table.add_column(name, justify="left" if words else "right", overflow="fold")
        for place, row in enumerate(view.rows):
            # Cells are text: a bracket in one is no markup.
            table.add_row(*map(_plain, row), style="dim" if place in view.muted else "")
        console.print()
        console.print(table)


def _plain(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
