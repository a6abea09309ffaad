"""Layers and builders as they are written on a command line."""

import ast
from collections.abc import Sequence
from typing import Any

CONSTANTS = {"true": True, "false": False, "none": None}

TARGETS = "layers by the ends of their names, as query value, or one regular expression [all-linear]"
EXCLUDE = "layers to leave out, named likewise"


def read_targets(words: Sequence[str] | None) -> str | list[str]:
    r"""Read the layers that are chosen, as `paramgraph.node_tables` takes them.

    >>> read_targets(["query", "value"]), read_targets(["layer[01]"]), read_targets(None)
    (['query', 'value'], 'layer[01]', 'all-linear')
    """
    return read_excluded(words) or "all-linear"


def read_excluded(words: Sequence[str] | None) -> str | list[str] | None:
    """Read the layers that are left out, likewise; None for none."""
    if not words:
        return None
    from paramgraph.nodes import targets_of_words

    return targets_of_words(words)


def parse_builders(words: Sequence[str]) -> list[str] | dict[str, Any]:
    """Read builders for `compare`: the names where none has options, else each word with its builder.

    Raises ValueError if there is no such builder or option, a word or an option comes twice, or one has no value.

    >>> parse_builders(["cosine_knn:k=20", "ring"])
    {'cosine_knn:k=20': CosineKNN(k=20, signed=False, mutual=False, connect='none', search='exact'), 'ring': Ring()}
    """
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise ValueError(f"the builder {twice[0]!r} is given twice")
    made = {word: _make(word) for word in words}
    return made if any(":" in word for word in words) else list(words)


def _make(word: str) -> Any:
    from paramgraph.graphs import builder_options, get_builder

    name, _, rest = word.partition(":")
    options = {}
    # Of an option that is a word, "none" is one too.
    texts = [option for option, usual in builder_options(name).items() if isinstance(usual, str)]
    for part in rest.split(",") if rest else ():
        option, equals, value = part.partition("=")
        if not equals or not option.strip() or not value.strip():
            raise ValueError(
                f"{word!r}: {part!r} is no option with its value; write {name}:option=value,other=value"
            )
        if option.strip() in options:
            raise ValueError(f"{word!r} gives {option.strip()} twice")
        is_text = option.strip() in texts
        options[option.strip()] = value.strip() if is_text else _value(value.strip())
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
