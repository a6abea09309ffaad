"""The value that every named response is, and what any response must give."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters.response_algebra import Algebra, Combination

ResponseFunction = Callable[[Tensor], Tensor]
# A change that may be a jump, of the largest gain; and how often an interval is halved to tell it from a slope.
STEP = 1e-6
HALVINGS = 40


@dataclass(frozen=True, repr=False)
class Response(Algebra):
    """Name a response, so that it can be compared, printed, stored, added and multiplied.

    `name` is that of the factory that made it, `options` are its options in order, numbers or tuples of them, and
    `rule` is a function of the eigenvalues and the options.

    >>> from paramgraph import heat
    >>> heat(5.0)
    heat(t=5.0)
    >>> heat(5.0) == heat(5)
    True
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    rule: Callable[..., Tensor]

    def __call__(self, eigenvalues: Tensor | npt.ArrayLike) -> Tensor:
        """Give the response at each eigenvalue, in the dtype of the eigenvalues."""
        # Under torch.set_default_device, as_tensor would move a tensor there.
        values = eigenvalues if isinstance(eigenvalues, Tensor) else torch.as_tensor(eigenvalues)
        if not values.is_floating_point():
            values = values.to(torch.float64)
        return self.rule(values, **dict(self.options))

    @property
    def edges(self) -> tuple[float, ...]:
        """Eigenvalues at which it jumps; none for a smooth one."""
        return ()

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.options)})"


class CutOff(Response):
    """A response whose options are the cut-offs at which it jumps."""

    @property
    def edges(self) -> tuple[float, ...]:
        """Eigenvalues at which it jumps."""
        return tuple(value for _, value in self.options)


def strength(factory: str, name: str, value: object, signed: bool = False) -> float:
    """Check one number of a factory: a TypeError, or a ValueError where it is not finite, or negative, not signed."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{factory}({name}=...) takes a number, got {value!r}") from None
    if not math.isfinite(number) or (number < 0 and not signed):
        least = "" if signed else ", 0 or larger"
        raise ValueError(f"{factory}({name}={value!r}): {name} must be a finite number{least}")
    return number


def response_edges(response: ResponseFunction) -> tuple[float, ...]:
    """List the eigenvalues at which a response is known to jump, ascending."""
    if isinstance(response, Combination):
        return tuple(
            sorted({edge for part in response.parts if callable(part) for edge in response_edges(part)})
        )
    return response.edges if isinstance(response, Response) else ()


def own_functions(response: ResponseFunction) -> list[ResponseFunction]:
    """List the callables in a response that do not say where they jump: all but the named ones."""
    if isinstance(response, Combination):
        return [own for part in response.parts if callable(part) for own in own_functions(part)]
    return [] if isinstance(response, Response) else [response]


def evaluate_response(
    response: ResponseFunction,
    eigenvalues: Float[Tensor, " modes"],
    rounding: Float[Tensor, " modes"] | None = None,
) -> Float[Tensor, " modes"]:
    """Call a response and check what it gives back: one real, finite number for each eigenvalue, else a ValueError.

    Of the dtype of the eigenvalues, detached. `rounding` says how far each computed eigenvalue may be from the true
    one: within it, an eigenvalue at the cut-off of a named response is the cut-off. A callable of the caller's own that
    jumps within it is refused, as the side on which such an eigenvalue falls is not known.

    >>> evaluate_response(lambda x: 1 - x / 2, torch.tensor([0.0, 2.0]))
    tensor([1., 0.])
    """
    values = eigenvalues.clone()
    if rounding is not None:
        for own in own_functions(response):
            _refuse_jump(own, values, rounding.to(values))
        # Of two cut-offs that near the lower counts: lowpass, bandpass and highpass go on adding up to 1.
        for edge in reversed(response_edges(response)):
            values = torch.where((eigenvalues - edge).abs() <= rounding.to(values), edge, values)
    gain = torch.as_tensor(response(values), device=eigenvalues.device).detach()
    if gain.is_complex():
        raise ValueError(
            f"the response {response!r} gave complex numbers ({gain.dtype}); it must give real ones"
        )
    gain = gain.to(eigenvalues)
    if gain.shape != eigenvalues.shape:
        raise ValueError(
            f"the response {response!r} gave shape {tuple(gain.shape)} for {tuple(eigenvalues.shape)} "
            "eigenvalues; it must give one number for each"
        )
    bad = ~torch.isfinite(gain)
    if bool(bad.any()):
        where = eigenvalues[bad][0].item()
        raise ValueError(
            f"the response {response!r} is {gain[bad][0].item()} at the eigenvalue {where:.6g}; it must be "
            "finite on the whole spectrum"
        )
    return gain


def _refuse_jump(response: ResponseFunction, values: Tensor, rounding: Tensor) -> None:
    """Refuse a callable that jumps where an eigenvalue is not known better: halving the interval leaves the jump."""
    low, high = values - rounding, values + rounding
    ends = _tried(response, torch.stack([low, high]))
    if ends is None:
        return
    least = STEP * ends.nan_to_num(0.0, 0.0, 0.0).abs().max().clamp(min=1.0) if ends.numel() else 0.0
    suspects = (ends[1] - ends[0]).abs() > least
    if not bool(suspects.any()):
        return
    low, high = low[suspects], high[suspects]
    first = change = (ends[1] - ends[0])[suspects].abs()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        gains = _tried(response, torch.stack([low, middle, high]))
        if gains is None:
            return
        left = (gains[1] - gains[0]).abs()
        right = (gains[2] - gains[1]).abs()
        low, high = torch.where(left > right, low, middle), torch.where(left > right, middle, high)
        change = torch.maximum(left, right)
    jumps = change > first / 2
    if bool(jumps.any()):
        where, known = values[suspects][jumps], rounding[suspects][jumps]
        raise ValueError(
            f"the response {response!r} jumps within rounding ({known[0].item():.1g}) of the eigenvalue "
            f"{where[0].item():.6g}: on which side of the jump it lies, with its copies, is not known. Move the jump "
            "off the eigenvalues, or take lowpass, highpass, bandpass or measured_steps, for which an eigenvalue at "
            "the cut-off is the cut-off"
        )


def _tried(response: ResponseFunction, points: Tensor) -> Tensor | None:
    """Evaluate a callable beside the eigenvalues; None where it is not made for that, which is no fault."""
    try:
        gains = torch.as_tensor(response(points.flatten()), device=points.device).detach()
        return gains.to(points).reshape(points.shape)
    except (ValueError, RuntimeError, ArithmeticError, TypeError):
        return None
