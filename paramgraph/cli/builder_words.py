"""Builders as they are written on a command line: a name, or a name with options."""

import ast
from collections.abc import Sequence
from typing import Any

from paramgraph.graphs import get_builder

CONSTANTS = {"true": True, "false": False, "none": None}


def parse_builders(words: Sequence[str]) -> list[str] | dict[str, Any]:
    """Read builders with their options.

    Parameters
    ----------
    words : sequence of str
        Each a name, or a name, a colon, and options with commas between them, as "cosine_knn:k=20,mutual=true".

    Returns
    -------
    list of str or dict
        For `paramgraph.compare`: the names where none has options, else each word with its builder.

    Raises
    ------
    ValueError
        If there is no such builder or option, a word is given twice, or an option has no value.

    Examples
    --------
    >>> parse_builders(["cosine_knn:k=20", "ring"])
    {'cosine_knn:k=20': CosineKNN(k=20, signed=False, mutual=False, connect='none', search='exact'), 'ring': Ring()}
    """
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise ValueError(f"the builder {twice[0]!r} is given twice")
    made = {word: _make(word) for word in words}
    return made if any(":" in word for word in words) else list(words)


def _make(word: str) -> Any:
    name, _, rest = word.partition(":")
    options = {}
    for part in rest.split(",") if rest else ():
        option, equals, value = part.partition("=")
        if not equals or not option.strip() or not value.strip():
            raise ValueError(
                f"{word!r}: {part!r} is no option with its value; write {name}:option=value,other=value"
            )
        options[option.strip()] = _value(value.strip())
    try:
        return get_builder(name, **options)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _value(text: str) -> Any:
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a word, as in connect=mst
