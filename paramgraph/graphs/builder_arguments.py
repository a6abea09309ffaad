"""The options of a builder: what its class or function takes, and what a caller gives."""

import inspect
from collections.abc import Callable
from typing import Any


def arguments_of(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    """List the options of a builder.

    Parameters
    ----------
    factory : callable
        A class, all of whose arguments are options, or a function ``(data, **options)``.

    Returns
    -------
    list of inspect.Parameter
        In their order.

    Examples
    --------
    >>> [argument.name for argument in arguments_of(lambda data, k=3: data)]
    ['k']
    """
    parameters = list(inspect.signature(factory).parameters.values())
    # The first argument of a plain function is the Data.
    return parameters if inspect.isclass(factory) else parameters[1:]


def check_arguments(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    """Say what is unknown and what is missing before Python does, with all options named.

    Parameters
    ----------
    name : str
        Of the builder, for messages.
    factory : callable
        As in `arguments_of`.
    options : dict
        What came.

    Raises
    ------
    TypeError
        If an option is unknown or missing.

    Examples
    --------
    >>> check_arguments("mine", lambda data, k=3: data, {"n": 3})
    Traceback (most recent call last):
    ...
    TypeError: builder 'mine' has no option 'n' (options: k=3)
    """
    known = arguments_of(factory)
    shown = ", ".join(str(option).split(":")[0].split("=")[0].strip() + _default(option) for option in known)
    named = {
        option.name for option in known if option.kind not in (option.VAR_KEYWORD, option.VAR_POSITIONAL)
    }
    unknown = [option for option in options if option not in named]
    if unknown and not any(option.kind is option.VAR_KEYWORD for option in known):
        raise TypeError(
            f"builder {name!r} has no option {', '.join(map(repr, unknown))} (options: {shown or 'none'})"
        )
    missing = [
        option.name
        for option in known
        if option.name in named and option.default is option.empty and option.name not in options
    ]
    if missing:
        example = ", ".join(
            f"{option}={'cosine_knn'!r}" if option == "builder" else f"{option}=..." for option in missing
        )
        raise TypeError(
            f"builder {name!r} needs {', '.join(map(repr, missing))} (options: {shown}), "
            f"for example get_builder({name!r}, {example})"
        )


def _default(option: inspect.Parameter) -> str:
    return "" if option.default is option.empty else f"={option.default!r}"
