"""Checks of scalar arguments, for both packages; a message says what came and what is allowed.

Integers and numbers are those of Python and of NumPy. A bool is neither, though Python counts with it.
"""

import difflib
import inspect
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat, TypeGuard

from paramgraph.errors import UnknownNameError

# Values for options that must be given, as a message writes them.
EXAMPLES: dict[str, Any] = {
    "t": 1.0,
    "gamma": 1.0,
    "cutoff": 1.0,
    "p": 1.0,
    "builder": "cosine_knn",
    "low": 0.5,
    "high": 1.5,
    "edges": [0.5, 1.0],
    "gains": [0.9, 0.5, 0.1],
}


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is an integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a real number, infinities and NaN among them."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_finite(value: SupportsFloat) -> bool:
    """Tell whether a number is one of float's, which a very long integer is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def whole_number(name: str, value: object, smallest: int, largest: int | None = None) -> int:
    """Check a count or a seed, and make it an int of Python; anything else is a ValueError."""
    if not is_whole(value) or value < smallest or (largest is not None and value > largest):
        allowed = f">= {smallest}" if largest is None else f"from {smallest} to {largest}"
        raise ValueError(f"{name} is {value!r}; it must be an int {allowed}")
    return int(value)


def seed_number(value: object) -> int:
    """Check a seed of torch's generators, and make it an int of Python; anything else is a ValueError."""
    if not is_whole(value) or not 0 <= value < 2**63:
        raise ValueError(f"seed is {value!r}; it must be an int from 0 to 2^63 - 1")
    return int(value)


def non_negative(name: str, value: object) -> float:
    """Check a factor, and make it a float: a TypeError where no number, a ValueError where negative or not finite."""
    if not is_number(value):
        raise TypeError(f"{name} is {value!r}; it must be a number >= 0")
    if not is_finite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}; it must be finite and >= 0")
    return float(value)


def known_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Check a value that has a fixed list, of words or others; an UnknownNameError has the nearest word."""
    # True == 1 and False == 0, but neither is meant where 0 and 1 are choices.
    if not isinstance(value, bool) and any(value == choice for choice in allowed):
        return
    near = difflib.get_close_matches(str(value), [str(choice) for choice in allowed], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownNameError(f"{name} is {value!r}{hint} (allowed: {', '.join(map(repr, allowed))})")


def option_defaults(known: Sequence[inspect.Parameter]) -> dict[str, Any]:
    """Map each option that has a name of its own to its default, `inspect.Parameter.empty` where it must be given."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {option.name: option.default for option in known if option.kind not in variable}


def missing_options(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """List the options that must be given and are not, each with a value as an example, as it is written."""
    return {
        name: repr(EXAMPLES[name]) if name in EXAMPLES else "..."
        for name, default in defaults.items()
        if default is inspect.Parameter.empty and name not in given
    }


def check_options(kind: str, name: str, known: Sequence[inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Say what is unknown and what is missing before Python does, with all options named: a TypeError.

    `kind` is "builder" or "response", whose options `get_builder` and `get_response` take.
    """
    shown = ", ".join(
        option.name + ("" if option.default is option.empty else f"={option.default!r}") for option in known
    )
    defaults = option_defaults(known)
    unknown = [option for option in given if option not in defaults]
    if unknown and not any(option.kind is option.VAR_KEYWORD for option in known):
        raise TypeError(
            f"{kind} {name!r} has no option {', '.join(map(repr, unknown))} (options: {shown or 'none'})"
        )
    if missing := missing_options(defaults, given):
        example = ", ".join(f"{option}={value}" for option, value in missing.items())
        raise TypeError(
            f"{kind} {name!r} needs {', '.join(map(repr, missing))} (options: {shown}), "
            f"for example get_{kind}({name!r}, {example})"
        )


def check_count(builder: str, option: str, value: object) -> None:
    """Check an option of a builder that counts something: a TypeError or, below 1, a ValueError."""
    if not is_whole(value):
        raise TypeError(f"{builder}: {option} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{builder}: {option} must be at least 1, got {value}")


def check_seed(builder: str, value: object) -> None:
    """Check the seed of a random builder; a generator is refused, as it would give another graph at each call."""
    if not is_whole(value):
        raise TypeError(f"{builder}: seed must be an integer, got {value!r}")
    if not 0 <= int(value) < 2**63:
        raise ValueError(f"{builder}: seed must be from 0 to 2^63 - 1, got {value}")


def check_flag(builder: str, option: str, value: object) -> None:
    """Check an option of a builder that is switched on or off: a TypeError for anything but a bool."""
    import numpy as np  # here, as the help of commands does without

    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{builder}: {option} must be True or False, got {value!r}")


def check_choice(builder: str, option: str, value: object, allowed: Sequence[str]) -> None:
    """Check an option of a builder that is one of a few words."""
    if value not in allowed:
        raise ValueError(f"{builder}: {option} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_number(builder: str, option: str, value: object, low: float, high: float = math.inf) -> None:
    """Check an option of a builder that is a finite number above `low` and up to `high`."""
    if not is_number(value):
        raise TypeError(f"{builder}: {option} must be a number, got {value!r}")
    if not (is_finite(value) and low < float(value) <= high):
        end = f" and at most {high:g}" if math.isfinite(high) else " and finite"
        raise ValueError(f"{builder}: {option} must be above {low:g}{end}, got {value!r}")
