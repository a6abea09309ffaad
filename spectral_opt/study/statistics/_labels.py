"""Names of methods in tables and hypotheses: "adamw", "adamw+product", "adamw,learning_rate=0.0002+product"."""

import re
from collections.abc import Iterable, Mapping, Sequence

from spectral_opt.study import Cell, CellRecord, Value

# What a cell and its record have alike: a method with its options, and a filter after it, or none.
Variant = Cell | CellRecord


def label_of(variant: Variant) -> str:
    """Name a method, and the filter after it: "adamw+product"."""
    return variant.method if variant.after is None else f"{variant.method}+{variant.after}"


def full_label(variant: Variant) -> str:
    """Name a method with all of its options, told as in a cell's key."""
    own = _told(variant.method, variant.options)
    return own if variant.after is None else f"{own}+{_told(variant.after, variant.after_options)}"


def telling_label(variant: Variant, others: Iterable[Variant]) -> str:
    """Name a method with those options alone that tell it from others of its name: "adamw+product,null=permuted"."""
    alike = [other for other in others if label_of(other) == label_of(variant)]

    def telling(own: Mapping[str, Value], given: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
        differ = [name for name in own if any(other.get(name) != own[name] for other in given)]
        return {name: own[name] for name in differ if own[name] is not None}

    own = _told(variant.method, telling(variant.options, [other.options for other in alike]))
    if variant.after is None:
        return own
    after_options = telling(variant.after_options, [other.after_options for other in alike])
    return f"{own}+{_told(variant.after, after_options)}"


def has_label(variant: Variant, label: str) -> bool:
    """Say whether a variant is meant: the same method and filter, each named option alike, and no null unless named.

    So a plan can grow by the null of a method without a hypothesis about the method becoming one about either.
    """
    told = read_label(label)
    if len(told) != (1 if variant.after is None else 2):
        return False
    parts = ((variant.method, variant.options), (variant.after, variant.after_options))
    # An option that is not given is told as None: so a method is told apart from its nulls.
    return all(
        name == own
        and all(_is_same(options.get(key), value) for key, value in {"null": "None", **named}.items())
        for (name, named), (own, options) in zip(told, parts, strict=False)
    )


def read_label(label: str) -> list[tuple[str, dict[str, str]]]:
    """Read the method that a label names and the filter after it, each with the options that are told of it.

    >>> read_label("adamw+product,null=permuted")
    [('adamw', {}), ('product', {'null': 'permuted'})]
    """
    parts = [part.split(",") for part in re.split(r"\+(?=[A-Za-z_])", label)]
    return [
        (name, {key: value for key, _, value in (option.partition("=") for option in options)})
        for name, *options in parts
    ]


def _is_same(value: Value, told: str) -> bool:
    if str(value) == told:
        return True
    try:  # 0.0002 and 2e-4, 1 and 1.0
        return not isinstance(value, bool) and value is not None and float(value) == float(told)
    except ValueError:
        return False


def _told(name: str, options: Mapping[str, Value]) -> str:
    return ",".join([name, *(f"{option}={value}" for option, value in sorted(options.items()))])
