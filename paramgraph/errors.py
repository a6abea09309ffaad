"""Errors and warnings that a caller may want to catch."""

import difflib
import sys
from collections.abc import Iterable
from types import FrameType


class NumericalWarning(UserWarning):
    """A result is defined, but the input was on the edge of what has a meaning."""


class PerformanceWarning(UserWarning):
    """The result is right, but a much cheaper way to it exists."""


class UnknownNameError(ValueError):
    """A name that is not registered; the message lists the near and the allowed ones."""

    @classmethod
    def among(cls, what: str, name: object, names: Iterable[str]) -> "UnknownNameError":
        """Make the error of a name that is not among some names; `what` it should be of, as "builder".

        >>> UnknownNameError.among("scheme", "row", ["rows", "columns"])
        UnknownNameError("no scheme named 'row'; did you mean 'rows'? (available: columns, rows)")
        """
        available = sorted(names)
        near = difflib.get_close_matches(str(name), available, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return cls(f"no {what} named {name!r}{hint} (available: {', '.join(available)})")


class NotConvergedError(RuntimeError):
    """An iterative solver stopped before the asked tolerance.

    Parameters
    ----------
    message : str
        What was asked, what was reached, and what to try next.
    residuals : tuple of float
        Residual norms of the pairs that were computed, smallest eigenvalue first.
    """

    def __init__(self, message: str, residuals: tuple[float, ...] = ()) -> None:
        super().__init__(message)
        self.residuals = residuals


def one_line(error: BaseException, typed: bool = False) -> str:
    r"""Write what an error says on one line, after its type where that is asked for, or where it says nothing.

    >>> one_line(KeyError("no such\n layer")), one_line(OSError("full"), typed=True), one_line(MemoryError())
    ('no such layer', 'OSError: full', 'MemoryError')
    """
    # A KeyError shows its message in quotes.
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    name, text = type(error).__name__, " ".join(str(said).split())
    return f"{name}: {text}" if typed and text else text or name


def users_level() -> int:
    """Count the frames from the caller up to the first outside of paramgraph, the `stacklevel` of its warning.

    For what is reached by ways of many depths, as filters and banks of them reach their expansions.
    """
    frame: FrameType = sys._getframe(1)
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("paramgraph."):
        frame, level = frame.f_back, level + 1
    return level
