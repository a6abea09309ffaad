"""The response that was estimated from batches: one gain for each band of eigenvalues, and what it rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paramgraph.filters.response import Response

Numbers = Sequence[float] | Tensor | np.ndarray
_EVIDENCE = ("raw", "low", "high", "modes")


@dataclass(frozen=True, repr=False)
class MeasuredResponse(Response):
    r"""Give each band of eigenvalues one gain; made by `measured` and by `measured_steps`.

    .. math:: h(x) = g_b \text{ for } e_{b-1} < x \le e_b, \qquad e_{-1} = -\infty, \quad e_{last} = \infty

    Two responses of the same edges and gains are equal, whatever they were estimated from.

    Parameters
    ----------
    name, options, rule : object
        As for every response; the options are `edges` and `gains`.
    raw : tuple of float
        Estimates before they were clipped to [0, 1], band by band in ascending order of eigenvalues; NaN in a
        band without any gradient. Empty where the response was not measured but written down, like those below.
    low, high : tuple of float
        Interval of 95 % of `raw` by the jackknife over batches, not clipped.
    modes : tuple of int
        Number of modes that each band was estimated from.
    clipped : int
        Number of bands whose gain is not its raw estimate.
    covered : tuple of (float, float)
        Smallest and largest eigenvalue that was measured; beyond them the nearest band goes on.
    batches_averaged : float
        Number of batches over which the gradient to be filtered is thought to be averaged.

    Examples
    --------
    >>> h = measured_steps(edges=[0.5, 1.0], gains=[0.9, 0.5, 0.1])
    >>> h
    measured(edges=(0.5, 1.0), gains=(0.9, 0.5, 0.1))
    >>> h(torch.tensor([0.0, 0.5, 0.6, 7.0]))
    tensor([0.9000, 0.9000, 0.5000, 0.1000])
    """

    raw: tuple[float, ...] = field(default=(), compare=False)
    low: tuple[float, ...] = field(default=(), compare=False)
    high: tuple[float, ...] = field(default=(), compare=False)
    modes: tuple[int, ...] = field(default=(), compare=False)
    clipped: int = field(default=0, compare=False)
    covered: tuple[float, float] = field(default=(-math.inf, math.inf), compare=False)
    batches_averaged: float = field(default=1.0, compare=False)

    @property
    def edges(self) -> tuple[float, ...]:
        """Eigenvalues between the bands, ascending; they lie in gaps of the measured spectrum."""
        return tuple(dict(self.options)["edges"])

    @property
    def gains(self) -> tuple[float, ...]:
        """Gain of each band, one more than edges."""
        return tuple(dict(self.options)["gains"])

    def to_dict(self) -> dict[str, Any]:
        """Write the response and its evidence as plain numbers, ready for JSON, with None for NaN and infinity.

        >>> measured_steps([0.5], [1.0, 0.25]).to_dict()["gains"]
        [1.0, 0.25]
        """
        values = {"edges": self.edges, "gains": self.gains, "covered": self.covered}
        values |= {name: getattr(self, name) for name in _EVIDENCE}
        plain: dict[str, Any] = {
            name: [number if math.isfinite(number) else None for number in numbers]
            for name, numbers in values.items()
        }
        return {
            "name": self.name,
            **plain,
            "clipped": self.clipped,
            "batches_averaged": self.batches_averaged,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MeasuredResponse":
        """Read what `to_dict` wrote; at least `edges` and `gains` are needed.

        A ValueError is raised where the two do not fit together.
        """
        steps = measured_steps(values["edges"], values["gains"])
        evidence: dict[str, Any] = {
            name: tuple(math.nan if number is None else number for number in values.get(name, ()))
            for name in _EVIDENCE
        }
        low, high = values.get("covered", (None, None))
        covered = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
        evidence |= {name: values[name] for name in ("clipped", "batches_averaged") if name in values}
        return cls(steps.name, steps.options, steps.rule, covered=covered, **evidence)


def measured_steps(edges: Numbers, gains: Numbers) -> MeasuredResponse:
    """Write a piecewise constant response down, such as one that was measured before.

    Parameters
    ----------
    edges : sequence of float
        Eigenvalues between bands, rising; an eigenvalue on an edge belongs to the band below it.
    gains : sequence of float
        One for each band, from 0 to 1; one more than edges.

    Returns
    -------
    MeasuredResponse
        Without evidence. It has jumps, so that a Chebyshev polynomial follows it slowly: on graphs of more than
        4,096 nodes take `rank`.

    Raises
    ------
    ValueError
        If the edges do not rise, a gain is outside [0, 1], or their numbers do not fit.
    TypeError
        If one of the two is no sequence of numbers.
    """
    edges, gains = _numbers("edges", edges), _numbers("gains", gains)
    if len(gains) != len(edges) + 1:
        raise ValueError(f"measured takes one gain more than edges, got {len(gains)} and {len(edges)}")
    if not all(low < high for low, high in pairwise(edges)):
        raise ValueError(f"measured: edges must rise, got {edges}")
    if not all(0 <= gain <= 1 for gain in gains):
        raise ValueError(f"measured: gains lie from 0 to 1, got {gains}")
    return MeasuredResponse("measured", (("edges", edges), ("gains", gains)), _steps)


def _numbers(name: str, values: Numbers) -> tuple[float, ...]:
    try:
        if not isinstance(values, Sequence | Tensor) and not hasattr(values, "__array__"):
            raise TypeError
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"measured: {name} is a sequence of numbers, got {values!r}") from None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"measured: {name} must be finite, got {numbers}")
    return numbers


def _steps(x: Tensor, edges: tuple[float, ...], gains: tuple[float, ...]) -> Tensor:
    # In float64: an eigenvalue in float32 must not cross an edge that was rounded the other way.
    bounds = torch.tensor(edges, dtype=torch.float64, device=x.device)
    values = torch.tensor(gains, dtype=torch.float64, device=x.device)
    return values[torch.bucketize(x.detach().double().contiguous(), bounds)].to(x.dtype)
