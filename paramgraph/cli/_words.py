"""Layers as they are named on a command line."""

from collections.abc import Sequence
from typing import Any

# None of these is in a module's name; a dot is, and stands for itself unless one of these is there as well.
REGULAR_EXPRESSION = frozenset("*+?[](){}|\\^$")


def add_targets(command: Any) -> None:
    """Add the options that choose layers.

    Parameters
    ----------
    command : object
        The parser of a command, or a group of its options.
    """
    command.add_argument(
        "--targets",
        nargs="+",
        metavar="NAME",
        help="layers by the ends of their names, as query value, or one regular expression [all-linear]",
    )
    command.add_argument("--exclude", nargs="+", metavar="NAME", help="layers to leave out, named likewise")


def read_targets(words: Sequence[str] | None) -> str | list[str]:
    r"""Read the layers that are chosen.

    Parameters
    ----------
    words : sequence of str or None
        What was given.

    Returns
    -------
    str or list of str
        As `paramgraph.node_tables` takes them: a string is "all-linear" or a regular expression.

    Examples
    --------
    >>> read_targets(["query", "value"]), read_targets(["layer[01]"]), read_targets(None)
    (['query', 'value'], 'layer[01]', 'all-linear')
    """
    return read_excluded(words) or "all-linear"


def read_excluded(words: Sequence[str] | None) -> str | list[str] | None:
    """Read the layers that are left out.

    Parameters
    ----------
    words : sequence of str or None
        What was given.

    Returns
    -------
    str or list of str or None
        As in `read_targets`; None for none.

    Examples
    --------
    >>> read_excluded(["pooler"]), read_excluded(None)
    (['pooler'], None)
    """
    if not words:
        return None
    if len(words) == 1 and (words[0].lower() == "all-linear" or REGULAR_EXPRESSION & set(words[0])):
        return words[0]
    return list(words)
