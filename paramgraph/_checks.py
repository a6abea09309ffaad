"""Checks of option values that several builders share."""

import math
import numbers
from collections.abc import Sequence
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


def check_choice(builder: str, option: str, value: Any, allowed: Sequence[str]) -> None:
    """Check an option that is one of a few words.

    Parameters
    ----------
    builder, option : str
        Names for the error message.
    value : object
        What came.
    allowed : sequence of str
        What it may be.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> check_choice("cosine_knn", "connect", "mst", ("none", "mst"))
    """
    if value not in allowed:
        raise ValueError(f"{builder}: {option} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_number(builder: str, option: str, value: Any, low: float, high: float = math.inf) -> None:
    """Check an option that is a number above one bound and up to another.

    Parameters
    ----------
    builder, option : str
        Names for the error message.
    value : object
        What came.
    low : float
        What it must exceed.
    high : float, default infinity
        What it may reach, unless infinite.

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is outside, infinite or NaN.

    Examples
    --------
    >>> check_number("gaussian_knn", "sigma", 0.5, low=0.0)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{builder}: {option} must be a number, got {value!r}")
    if not (low < float(value) <= high and math.isfinite(value)):
        end = f" and at most {high:g}" if math.isfinite(high) else " and finite"
        raise ValueError(f"{builder}: {option} must be above {low:g}{end}, got {value!r}")
