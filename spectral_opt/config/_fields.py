"""Fields of a config: checked, and as plain values and JSON both ways."""

import dataclasses
import difflib
import inspect
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from paramgraph._checks import is_whole, known_choice
from paramgraph.nodes import SCHEMES
from paramgraph.sources import SOURCES
from spectral_opt.config._callables import CALLABLES, callable_address, import_callable, is_address

# Drift is measured this often and on this many batches: at most 4 forward and backward passes in 50 steps.
DRIFT_EVERY = 50
DRIFT_BATCHES = 4
# Fields that are arguments of what another field names.
OPTIONS = ("builder_options", "source_options", "column_source_options", "response_options")
# A number to everyone but YAML 1.1, which asks for a dot in it and a sign in its exponent.
_EXPONENT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+")

Config = TypeVar("Config", bound="JsonFields")


class JsonFields:
    """Give a dataclass of config fields `to_dict`, `from_dict`, `to_json` and `from_json`, and presets by name."""

    # Names of classmethods that make a config from a few arguments and fields; a hint would make it a field to tools.
    PRESETS = cast(tuple[str, ...], ())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, in order and fit for JSON; a callable becomes "module:name".

        Raises
        ------
        ValueError
            If a callable cannot be found again under its module and name (a lambda, a closure, an instance).
        """
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(cast(Any, self))}
        for name in CALLABLES:
            values[name] = callable_address(name, values[name])
        for name in ("targets", "exclude"):
            values[name] = list(values[name]) if isinstance(values[name], tuple) else values[name]
        for name in OPTIONS:
            values[name] = dict(values[name])
        return values

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any], trust_callables: bool = False) -> Config:
        """Make a config from plain values, as `to_dict` gives them; missing fields take their default.

        With the key "preset" the values are arguments and fields of :meth:`preset`. A callable that is written as
        "module:name" stays text, and the config refuses to act; with `trust_callables` it is imported, which runs its
        module.

        Raises
        ------
        TypeError
            If `values` is no mapping or a field is unknown; the message names the nearest one.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"a config is a mapping of fields to values; this is a {type(values).__name__}")
        read = dict(values)
        make: Callable[..., Config] = cls
        if "preset" in read:
            make = partial(cast(Any, cls).preset, read.pop("preset"))
            _check_known(f"{cls.__name__} has no field", "fields", set(read) & {"name"}, _names_of(cls))
        else:
            _check_known(f"{cls.__name__} has no field", "fields", read, _names_of(cls))
        if trust_callables:
            read |= {name: import_callable(read[name]) for name in CALLABLES if is_address(read.get(name))}
        try:
            return make(**read)
        except RecursionError:
            raise ValueError("a value of this config is nested too deep") from None

    @classmethod
    def preset(cls: type[Config], name: str, **arguments: Any) -> Config:
        """Make a config of a preset by its name, as files and command lines have it, with its arguments and fields.

        Raises
        ------
        ValueError
            If there is no such preset; the message lists them.
        TypeError
            If it takes no such argument, or needs another; the message names the nearest one.
        """
        known_choice("preset", name, cls.PRESETS)
        make: Callable[..., Config] = getattr(cls, name)
        own = {
            key: value
            for key, value in inspect.signature(make).parameters.items()
            if value.kind is not inspect.Parameter.VAR_KEYWORD
        }
        _check_known(f"the preset {name!r} has no argument", "arguments", arguments, [*own, *_names_of(cls)])
        missing = [
            key
            for key, value in own.items()
            if value.default is inspect.Parameter.empty and key not in arguments
        ]
        if missing:
            raise TypeError(f"the preset {name!r} needs {', '.join(map(repr, missing))}")
        return make(**{key: plain_value(value) for key, value in arguments.items()})

    def to_json(self) -> str:
        """Return the config as one JSON object, readable by `from_json`.

        Raises
        ------
        ValueError
            If an option is no JSON value or a callable has no address.
        """
        try:
            return json.dumps(self.to_dict(), allow_nan=False)
        except TypeError as error:
            raise ValueError(f"an option of this config cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls: type[Config], text: str, trust_callables: bool = False) -> Config:
        """Make a config from the text that `to_json` wrote; callables as in `from_dict`.

        Raises
        ------
        ValueError
            If the text is not a JSON object, or a value is not allowed.
        """
        try:
            values = strict_json(text)
        except ValueError as error:
            raise ValueError(f"this text is not JSON, so no config: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"a config is a JSON object of fields; this is a {type(values).__name__}")
        return cls.from_dict(values, trust_callables)


def _names_of(config: type) -> list[str]:
    return [item.name for item in dataclasses.fields(cast(Any, config))]


def _check_known(what: str, kind: str, given: Collection[str], known: Sequence[str]) -> None:
    """Refuse a name that is not known, with the nearest one."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{what} {name!r}{hint} ({kind}: {', '.join(known)})")


def strict_json(text: str) -> object:
    """Read JSON in which no name stands twice and every number is one; ValueError for all that it is not."""
    try:
        found: object = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members; json would keep the last one of a name that stands twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(name for name in names if names.count(name) > 1)!r} stands twice in an object"
        )
    return values


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON value")


class RefreshSchedule(NamedTuple):
    """When graphs are built anew: every so many steps, or at so much drift; 0 means not by this."""

    every: int = 0
    drift: float = 0.0


def refresh_schedule(refresh: int | str) -> RefreshSchedule:
    """Read the field `refresh` of a config; what is none raises a ValueError.

    Examples
    --------
    >>> refresh_schedule("drift:0.1")
    RefreshSchedule(every=0, drift=0.1)
    """
    if refresh == "never":
        return RefreshSchedule()
    if is_whole(refresh) and refresh >= 1:
        return RefreshSchedule(every=int(refresh))
    if isinstance(refresh, str) and refresh.startswith("drift:"):
        try:
            share = float(refresh.removeprefix("drift:"))
        except ValueError:
            share = math.nan
        if 0.0 < share < math.inf:
            return RefreshSchedule(drift=share)
    raise ValueError(
        f"refresh is {refresh!r}; allowed: 'never', an int >= 1 (steps), or 'drift:0.1' with any share > 0"
    )


def check_refresh(refresh: int | str) -> int | str:
    """Check the field `refresh`; an integer of NumPy becomes one of Python, fit for JSON."""
    return refresh_schedule(refresh).every or refresh


@cache
def _literals(config: type) -> dict[str, tuple[Any, ...]]:
    # Of the signature: the hints of the class are those of a file, which has no Literal.
    hints = get_type_hints(cast(Any, config).__init__)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def choices_of(config: type) -> dict[str, tuple[Any, ...]]:
    """List the allowed values of each field that has a list of them.

    Fields with a Literal have those of their type. Schemes and sources are those of paramgraph: one that is added
    there is a choice here.
    """
    sources = tuple(name for name, source in SOURCES.items() if not source.needs_tuned)
    return {
        "scheme": (*SCHEMES, "entries"),
        "source": sources,
        "column_source": (None, *sources),
        **_literals(config),
    }


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Check a field that has a fixed list of values; a source may be a callable too."""
    is_source = name in ("source", "column_source")
    if is_source and (callable(value) or is_address(value)):
        return
    if is_source and isinstance(value, str) and value in SOURCES and SOURCES[value].needs_tuned:
        raise ValueError(
            f"{name} {value!r} cannot be used here: it needs a tuned model, which training does not have: give a "
            f"callable (model, table, batches) -> Tensor that calls paramgraph.{value}(base, tuned, table) (allowed: "
            f"{', '.join(map(repr, allowed))})"
        )
    known_choice(name, value, allowed)


def check_options(name: str, options: Any) -> dict[str, Any]:
    """Copy the options of a builder or a response, so that a config does not change with its argument."""
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"{name} is {options!r}; it must be a mapping from argument names to values")
    try:
        return {key: plain_value(value) for key, value in (options or {}).items()}
    except RecursionError:
        raise ValueError(f"{name} is nested too deep") from None


def plain_value(value: Any) -> Any:
    """Bring containers of OmegaConf, numbers of NumPy and 1e-3, which YAML leaves as text, into plain values."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {key: plain_value(item) for key, item in value.items()}
    if type(value) is tuple:
        return tuple(plain_value(item) for item in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | tuple):
        return [plain_value(item) for item in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def check_names(name: str, names: Any) -> str | tuple[str, ...] | None:
    """Check targets or exclude: a string, a sequence, a set (put in order), or None to exclude nothing."""
    if isinstance(names, str) or (names is None and name == "exclude"):
        return names
    if isinstance(names, set | frozenset):
        names = sorted(names)
    if not isinstance(names, Sequence) or not all(isinstance(item, str) for item in names):
        raise TypeError(f"{name} is {names!r}; it must be a string or a sequence of strings")
    return tuple(names)
