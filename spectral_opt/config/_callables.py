"""Callables in a config: written down as "module:name", and imported from there only where the user allows it."""

import importlib
import sys
from typing import Any

# Any: a builder, a source or a response may be any callable, and these functions only find and name it.

CALLABLES = ("builder", "source", "column_source", "response")
# Their files may move, and their names at the top stay: addresses in configs that were written before are found there.
_OURS = ("paramgraph", "spectral_opt")


def is_address(value: object) -> bool:
    """Whether this is text that names a callable, "module:name"; no registered name has a colon."""
    return isinstance(value, str) and ":" in value


def check_address(name: str, value: str) -> None:
    """Refuse text with a colon that can name nothing."""
    module, _, attribute = value.partition(":")
    if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(
            f"{name} is {value!r}; it must be a registered name, a callable, or one written as 'module:name'"
        )


def refuse_address(name: str, value: object) -> None:
    """Refuse to act where a callable is only written down: importing it runs code, which is for the user to allow."""
    if is_address(value):
        raise ValueError(
            f"{name} {value!r} names code, which is not imported by itself: give the callable, or, if you would run "
            "that code, read the config with SpectralConfig.from_dict(values, trust_callables=True), or from_json"
        )


def import_callable(value: str) -> Any:
    """Import what a "module:name" names, which runs the module; ValueError or TypeError where it is no callable."""
    module, _, name = value.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        top = module.partition(".")[0]
        found = getattr(importlib.import_module(top), name, None) if top in _OURS else None
        if found is None:
            raise ValueError(f"nothing importable at {value!r}: {error}") from error
    if not callable(found):
        raise TypeError(f"{value!r} is a {type(found).__name__}, not a callable")
    return found


def callable_address(name: str, value: Any) -> str | None:
    """Write a callable as "module:name", where it can be imported again from there; hand text and None through."""
    if value is None or isinstance(value, str):
        return value
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    # Its module is there already: writing a config imports nothing either.
    if module and qualname and module != "__main__":
        found = getattr(sys.modules.get(module), qualname, None)
        if found is value:
            return f"{module}:{qualname}"
    raise ValueError(
        f"{name} {value!r} cannot be written down: only a callable that can be imported as 'module:name' can. "
        "Give a registered name and options, or move the function to the top level of a module"
    )


def is_same_address(one: object, other: object) -> bool:
    """Whether two fields of written configs name the same: equal, or of these packages, whose files may move.

    Nothing is imported for it.
    """
    if one == other or not (is_address(one) and is_address(other)):
        return one == other
    (module, name), (elsewhere, same) = (str(value).split(":", 1) for value in (one, other))
    top = module.partition(".")[0]
    return name == same and top in _OURS and top == elsewhere.partition(".")[0]
