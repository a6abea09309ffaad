"""Errors and warnings that a caller may want to catch."""


class NumericalWarning(UserWarning):
    """A result is defined, but the input was on the edge of what has a meaning."""


class PerformanceWarning(UserWarning):
    """The result is right, but a much cheaper way to it exists."""


class UnknownNameError(ValueError):
    """A name that is not registered; the message lists the near and the allowed ones."""


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
