"""The value that every named response is, and what any response must give."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters.response_algebra import Algebra

ResponseFunction = Callable[[Tensor], Tensor]


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

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.options)})"


def strength(factory: str, name: str, value: object) -> float:
    """Check one strength or cut-off of a factory: a TypeError, or a ValueError where it is negative or not finite."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{factory}({name}=...) takes a number, got {value!r}") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{factory}({name}={value!r}): {name} must be a finite number, 0 or larger")
    return number


def evaluate_response(
    response: ResponseFunction, eigenvalues: Float[Tensor, " modes"]
) -> Float[Tensor, " modes"]:
    """Call a response and check what it gives back: one real, finite number for each eigenvalue, else a ValueError.

    Of the dtype of the eigenvalues, detached.

    >>> evaluate_response(lambda x: 1 - x / 2, torch.tensor([0.0, 2.0]))
    tensor([1., 0.])
    """
    gain = torch.as_tensor(response(eigenvalues.clone()), device=eigenvalues.device).detach()
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
