"""What tools that make options, or files, of a dataclass are told of the fields of a config."""

import argparse
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from paramgraph._checks import known_choice
from paramgraph.nodes import targets_of_words
from spectral_opt.config._fields import strict_json

Config = TypeVar("Config", bound=type)
# From the words after an option to the value of its field.
Reader = Callable[[Sequence[str]], object]


def readable_as_text(config: Config) -> Config:
    """Let HfArgumentParser, TrlParser, OmegaConf and Hydra read a dataclass whose fields take more than text can say.

    They ask `typing.get_type_hints`, and no type for a callable, a choice or a text or list is known to all of them. So
    the hints of the class become what a file can say, in types that all know; the signature keeps what Python takes.
    How words on a command line are read goes into the metadata of a field, from where HfArgumentParser hands it to
    argparse.
    """
    given = get_type_hints(cast(Any, config).__init__)
    for item in dataclasses.fields(config):
        hint, reader = _as_text(item.name, given[item.name])
        config.__annotations__[item.name] = hint
        if reader is not None:
            item.metadata = MappingProxyType({"action": partial(_Words, reader)})
    return config


class _Words(argparse.Action):
    """Keep what a reader makes of the words after an option, whatever type and number the parser would give them."""

    # Any: argparse types its own arguments no closer.
    def __init__(self, reader: Reader, **given: Any) -> None:
        super().__init__(**(given | {"type": None, "nargs": "+" if reader is _names else 1}))
        self._reader = reader

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Set the value; what cannot be read is an error of the command line."""
        try:
            setattr(namespace, self.dest, self._reader(values))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from error


def _as_text(name: str, hint: Any) -> tuple[Any, Reader | None]:
    """Give the type of a field in a file, and how its words are read where that type alone does not say it."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = {get_origin(part) or part for part in parts}
    if Mapping in kinds:
        return dict[str, Any] | None, _json_object
    if Collection in kinds:
        return Any, _names  # a text, a list or null: OmegaConf knows no union with a list
    choices = tuple(choice for part in parts if get_origin(part) is Literal for choice in get_args(part))
    members = {str if kind is Callable else kind for kind in kinds - {Literal}} | set(map(type, choices))
    if (members == {str} and not choices) or not members <= {int, str, NoneType}:
        return (str if members == {str} else hint), None
    text: Any = Union[tuple(kind for kind in (int, str, NoneType) if kind in members)]  # noqa: UP007
    return text, partial(_word, name, choices, frozenset(members))


def _names(words: Sequence[str]) -> object:
    return None if [word.lower() for word in words] == ["none"] else targets_of_words(words)


def _word(name: str, choices: Sequence[object], kinds: Collection[type], words: Sequence[str]) -> object:
    """Read one word as None, a whole number, one of the choices, or the text that it is."""
    value: object = words[0]
    if NoneType in kinds and words[0].lower() == "none":
        value = None
    elif int in kinds and words[0].isdecimal():
        value = int(words[0])
    if choices:
        known_choice(name, value, choices)
    return value


def _json_object(words: Sequence[str]) -> object:
    try:
        return strict_json(words[0])
    except ValueError as error:
        raise ValueError(f'{words[0]!r} is no JSON object such as {{"k": 10}}: {error}') from error
