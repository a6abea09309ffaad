r"""Sums and products of responses, which are responses again.

.. math:: (a + b)(x) = a(x) + b(x), \qquad (a b)(x) = a(x) b(x)

A product of responses is one filter after the other; `1 - h` is what h removes. Numbers and plain callables take
part. Numbers are gathered in front, and nested sums or products are one, so that `repr` can be evaluated again.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from operator import add, mul
from typing import Any, TypeAlias

import torch
from torch import Tensor

from paramgraph._checks import is_finite

# What takes part, a number or a callable on eigenvalues, is seen at run time: other types answer NotImplemented.
Part: TypeAlias = Any

_RULES: dict[str, tuple[Callable[[Any, Any], Any], float]] = {"sum": (add, 0.0), "product": (mul, 1.0)}


class Algebra:
    """Give a callable on eigenvalues the signs +, - and *, with numbers and with any other callable."""

    # A NumPy number on the left would otherwise try to make an array of us.
    __array_ufunc__ = None

    def __add__(self, other: Part) -> Any:
        return _combine("sum", self, other)

    def __radd__(self, other: Part) -> Any:
        return _combine("sum", other, self)

    def __mul__(self, other: Part) -> Any:
        return _combine("product", self, other)

    def __rmul__(self, other: Part) -> Any:
        return _combine("product", other, self)

    def __neg__(self) -> Any:
        return _combine("product", -1.0, self)

    def __sub__(self, other: Part) -> Any:
        negative = _combine("product", -1.0, other) if callable(other) else _negated(other)
        return negative if negative is NotImplemented else _combine("sum", self, negative)

    def __rsub__(self, other: Part) -> Any:
        return _combine("sum", other, _combine("product", -1.0, self))


@dataclass(frozen=True, repr=False)
class Combination(Algebra):
    """Hold a sum or a product of responses; made by +, - and * and by `get_response`.

    The parts are responses or any callables on eigenvalues, and at most one number, which is the first.

    >>> from paramgraph import heat, tikhonov
    >>> 1 - 0.5 * heat(1.0) * tikhonov(2.0)
    1.0 - 0.5 * heat(t=1.0) * tikhonov(gamma=2.0)
    """

    name: str
    parts: tuple[Part, ...]

    def __call__(self, eigenvalues: Any) -> Tensor:
        """Give the response at each eigenvalue, in the dtype of the eigenvalues."""
        values = eigenvalues if isinstance(eigenvalues, Tensor) else torch.as_tensor(eigenvalues)
        if not values.is_floating_point():
            values = values.to(torch.float64)
        # A part that writes into its argument must not change what the next one reads.
        gains = (
            torch.as_tensor(part(values.clone()), device=values.device) if callable(part) else part
            for part in self.parts
        )
        whole: Tensor = reduce(_RULES[self.name][0], gains)
        return whole.to(values.dtype)

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """Options that make it again, `get_response(h.name, **dict(h.options))`: plain where its parts are named.

        Each part is a number, or a list of a name and its options; a callable without a name stays as it is.
        """
        return (("parts", [_plain(part) for part in self.parts]),)

    def __repr__(self) -> str:
        if self.name == "product":
            return " * ".join(_factor(part) for part in self.parts)
        text = repr(self.parts[0])
        for part in self.parts[1:]:
            factor = part.parts[0] if isinstance(part, Combination) else None
            if isinstance(factor, float) and factor < 0:
                text += f" - {_factor(_combine('product', -factor, *part.parts[1:]))}"
            else:
                text += f" + {part!r}"
        return text


def combine(name: str, parts: Iterable[Part], make: Callable[..., Any]) -> Any:
    """Add or multiply numbers, callables, and pairs of a name and its options, for which `make` makes a response.

    Gives a `Combination`, or the one part that is left. A ValueError is raised where there is no response among them
    or a number is not finite, a TypeError for other parts.
    """
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise TypeError(f"a {name} of responses takes parts=[...], got {parts!r}")
    made = []
    for part in parts:
        if isinstance(part, (list, tuple)) and len(part) == 2 and isinstance(part[0], str):
            part = make(part[0], **dict(part[1]))
        made.append(part)
    whole = _combine(name, *made)
    if whole is NotImplemented:
        raise TypeError(
            f"the parts of a {name} of responses are numbers, callables or [name, options]; got {parts!r}"
        )
    if not callable(whole):
        raise ValueError(f"a {name} of responses needs at least one response, got {parts!r}")
    return whole


def _combine(name: str, *parts: Part) -> Any:
    step, neutral = _RULES[name]
    number, responses = neutral, []
    for part in parts:
        inner = part.parts if isinstance(part, Combination) and part.name == name else (part,)
        for item in inner:
            if isinstance(item, Real):
                if not is_finite(item):
                    raise ValueError(f"a {name} of responses takes finite numbers, got {item}")
                number = step(number, float(item))
            elif callable(item) and not isinstance(item, type):
                responses.append(item)
            else:
                return NotImplemented
    if not math.isfinite(number):  # finite ones may add up to what is not
        raise ValueError(f"a {name} of responses takes finite numbers, got {number}")
    leading = [] if number == neutral and responses else [number]
    # The one response that is left keeps its own name, unless it has no algebra of its own.
    if not leading and len(responses) == 1 and isinstance(responses[0], Algebra):
        return responses[0]
    return Combination(name, (*leading, *responses)) if responses else number


def _negated(number: Part) -> Any:
    return -float(number) if isinstance(number, Real) else NotImplemented


def _factor(part: Part) -> str:
    return f"({part!r})" if isinstance(part, Combination) and part.name == "sum" else repr(part)


def _plain(part: Part) -> Any:
    """Write a part as its name and options, where it has them."""
    return [part.name, dict(part.options)] if hasattr(part, "name") and hasattr(part, "options") else part
