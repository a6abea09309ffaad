"""Checks of the fields of a SpectralConfig, and callables as text."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from paramgraph._checks import known_choice
from paramgraph.filters import METHODS
from paramgraph.nodes import SCHEMES
from paramgraph.sources import SOURCES

# Schemes, sources and filter methods are those of paramgraph: one that is added there is a choice here.
CHOICES: dict[str, tuple[Any, ...]] = {
    "scheme": (*SCHEMES, "entries"),
    "source": tuple(name for name in SOURCES if name != "updates"),
    "shift": ("laplacian", "adjacency"),
    "normalization": (None, "sym", "rw"),
    "batches": ("task", "preserve"),
    "placement": ("gradient", "update", "basis", None),
    "filter_method": METHODS,
    "tail": ("edge", 0, 1),
    "penalty_mode": ("gradient", "loss", "decoupled"),
    "penalty_on": ("delta", "weight"),
}
# Names that exist and cannot be used here, each with what to do instead.
REFUSED: dict[tuple[str, str], str] = {
    ("source", "updates"): "it needs a tuned model, which training does not have: give a callable "
    "(model, table, batches) -> Tensor that calls paramgraph.updates(base, tuned, table)",
}


def check_options(name: str, options: Any) -> dict[str, Any]:
    """Copy the options of a builder or a response.

    Parameters
    ----------
    name : str
        Field, for the message.
    options : object
        A mapping, or None for none.

    Returns
    -------
    dict of str to object
        A copy, so that the config does not change with its argument.

    Raises
    ------
    TypeError
        If it is no mapping.

    Examples
    --------
    >>> check_options("builder_options", None)
    {}
    """
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"{name} is {options!r}; it must be a mapping from argument names to values")
    return dict(options or {})


def check_names(name: str, names: Any) -> str | tuple[str, ...] | None:
    """Check targets or exclude.

    Parameters
    ----------
    name : str
        "targets" or "exclude".
    names : object
        One string, a sequence or set of strings, or None to exclude nothing.

    Returns
    -------
    str, tuple of str or None
        A set in alphabetical order.

    Raises
    ------
    TypeError
        If it is anything else.

    Examples
    --------
    >>> check_names("targets", ["query", "value"])
    ('query', 'value')
    """
    if isinstance(names, str) or (names is None and name == "exclude"):
        return names
    if isinstance(names, set | frozenset):
        names = sorted(names)
    if not isinstance(names, Sequence) or not all(isinstance(item, str) for item in names):
        raise TypeError(f"{name} is {names!r}; it must be a string or a sequence of strings")
    return tuple(names)


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Check a field that has a fixed list of values; a source may be a callable too."""
    if name == "source" and callable(value):
        return
    if isinstance(value, str) and (name, value) in REFUSED:
        listed = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} {value!r} cannot be used here: {REFUSED[name, value]} (allowed: {listed})")
    known_choice(name, value, allowed)


def resolve_callable(value: Any) -> Any:
    """Import what a "module:name" names; hand everything else through.

    Parameters
    ----------
    value : object
        A text with a colon is an address.

    Returns
    -------
    object
        The callable, or `value`.

    Raises
    ------
    ValueError
        If nothing can be imported there.
    TypeError
        If it is no callable.

    Examples
    --------
    >>> resolve_callable("math:sqrt")(4.0)
    2.0
    """
    if not (isinstance(value, str) and ":" in value):
        return value
    module, _, name = value.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"nothing importable at {value!r}: {error}") from error
    if not callable(found):
        raise TypeError(f"{value!r} is a {type(found).__name__}, not a callable")
    return found


def callable_address(name: str, value: Any) -> str | None:
    """Write a callable as "module:name".

    Parameters
    ----------
    name : str
        Field, for the message.
    value : str, callable or None
        Text and None are handed through.

    Returns
    -------
    str or None
        The address.

    Raises
    ------
    ValueError
        If it cannot be imported again under that address.

    Examples
    --------
    >>> import math
    >>> callable_address("response", math.sqrt)
    'math:sqrt'
    """
    if value is None or isinstance(value, str):
        return value
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module and qualname and module != "__main__":
        found = getattr(importlib.import_module(module), qualname, None)
        if found is value:
            return f"{module}:{qualname}"
    raise ValueError(
        f"{name} {value!r} cannot be written down: only a callable that can be imported as 'module:name' can. "
        "Give a registered name and options, or move the function to the top level of a module"
    )
