"""Numbers for JSON: rounded to what they are worth, with null for NaN and infinity."""

import math
from collections.abc import Mapping
from typing import Any

DIGITS = 6


def plain(value: Any, digits: int | None = DIGITS) -> Any:
    """Turn nested values into what JSON can hold.

    Parameters
    ----------
    value : object
        Numbers, strings, None, and mappings and sequences of them; of NumPy and torch also scalars.
    digits : int or None, default 6
        Significant digits that floats keep; None: all.

    Returns
    -------
    object
        Dicts and lists of numbers, strings, booleans and None.

    Raises
    ------
    TypeError
        If a value is something else.

    Examples
    --------
    >>> plain({"share": 1 / 3, "empty": (math.nan, 2)})
    {'share': 0.333333, 'empty': [None, 2]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(one, digits) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, digits) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), digits)
    if not isinstance(value, float):
        raise TypeError(f"{type(value).__name__} is no number, text, mapping or sequence: {value!r}")
    if not math.isfinite(value):
        return None
    return value if digits is None else float(f"{value:.{digits}g}")
