"""Checks of option values that several builders share."""

import numbers
from typing import Any


def check_count(builder: str, option: str, value: Any) -> None:
    """Check an option that counts something.

    Parameters
    ----------
    builder, option : str
        Names for the error message.
    value : object
        What came.

    Raises
    ------
    TypeError
        If the value is not an integer.
    ValueError
        If it is below 1.

    Examples
    --------
    >>> check_count("cosine_knn", "k", 10)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{builder}: {option} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{builder}: {option} must be at least 1, got {value}")


def check_seed(builder: str, value: Any) -> None:
    """Check the seed of a random builder.

    Parameters
    ----------
    builder : str
        Name for the error message.
    value : object
        What came.

    Raises
    ------
    TypeError
        If the value is not an integer: a generator would give another graph at each call.
    ValueError
        If it is negative or does not fit 63 bits.

    Examples
    --------
    >>> check_seed("permuted", 0)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{builder}: seed must be an integer, got {value!r}")
    if not 0 <= int(value) < 2**63:
        raise ValueError(f"{builder}: seed must be from 0 to 2^63 - 1, got {value}")
