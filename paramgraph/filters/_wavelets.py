r"""Banks of responses that cover the spectrum scale by scale: spectral graph wavelets.

* "meyer": bands that halve towards 0, and a low-pass below them; a tight frame [1]_.
* "itersine": bands of equal width; a tight frame [2]_.
* "mexican_hat": :math:`s x e^{-s x}` at logarithmic scales, and a low-pass; no tight frame [3]_.

In a tight frame :math:`\sum_i h_i(x)^2 = 1` on the spectrum, so that the energies of the filtered signals add up
to that of the signal, and filtering each once more and adding gives the signal back.

References
----------
.. [1] N. Leonardi, D. Van De Ville, "Tight wavelet frames on multislice graphs", IEEE Transactions on Signal
   Processing 61(13), 2013.
.. [2] N. Perraudin, J. Paratte, D. Shuman et al., "GSPBOX: a toolbox for signal processing on graphs", arXiv
   1408.5781.
.. [3] D. K. Hammond, P. Vandergheynst, R. Gribonval, "Wavelets on graphs via spectral graph theory", Applied and
   Computational Harmonic Analysis 30(2), 2011.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from paramgraph._checks import is_whole
from paramgraph.errors import UnknownNameError
from paramgraph.filters.response import Response, strength
from paramgraph.spectra import ShiftOperator

# Ratio of the largest to the smallest eigenvalue that the scales of the Mexican hat cover, as in PyGSP.
_HAT_RANGE = 20.0


def wavelets(
    operator_or_bound: ShiftOperator | float,
    scales: int = 4,
    kind: Literal["meyer", "itersine", "mexican_hat"] = "meyer",
) -> list[Response]:
    r"""Make a bank of responses that covers the spectrum of a Laplacian.

    Parameters
    ----------
    operator_or_bound : ShiftOperator or float
        A Laplacian, for the upper end of its `interval`; or a number that no eigenvalue exceeds.
    scales : int, default 4
        Number of responses, at least 2, lowest frequencies first. The first is the low-pass.
    kind : {"meyer", "itersine", "mexican_hat"}, default "meyer"
        Which bank. Meyer and itersine are tight frames, :math:`\sum_i h_i^2 = 1` up to the bound.

    Returns
    -------
    list of Response
        For `apply_filter_bank`, or one by one. The order of polynomial that they need grows with the number of
        scales: the lowest of Meyer's bands is bound / 2^scales wide.

    Raises
    ------
    ValueError
        If `scales` is below 2, the bound is negative or not finite, or there is no such kind.
    TypeError
        If the operator is an adjacency, whose eigenvalues may be negative, or no operator and no number.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian
    >>> bank = wavelets(laplacian(nx.path_graph(5)), scales=3)
    >>> sum(h * h for h in bank)(torch.tensor([0.0, 0.4, 1.3, 2.0]))
    tensor([1., 1., 1., 1.])
    """
    factories = {"itersine": itersine, "mexican_hat": mexican_hat, "meyer": meyer}
    if kind not in factories:
        raise UnknownNameError.among("bank of wavelets", kind, factories)
    bound = operator_or_bound
    if isinstance(bound, ShiftOperator):
        if bound.kind != "laplacian":
            raise TypeError("wavelets need a Laplacian, whose eigenvalues are not negative; got an adjacency")
        bound = bound.interval[1]
    _check("wavelets", 0, scales, bound)
    return [factories[kind](index, scales, bound) for index in range(scales)]


def meyer(index: int = 0, scales: int = 4, bound: float = 2.0) -> Response:
    """Take one response of Meyer's bank, a tight frame of bands that halve towards 0; index 0 is the low-pass.

    Three times continuously differentiable, in [0, 1].

    >>> meyer(0)(torch.tensor([0.0, 2.0])), meyer(3)(torch.tensor([0.0, 2.0]))
    (tensor([1., 0.]), tensor([0., 1.]))
    """
    return Response("meyer", _check("meyer", index, scales, bound), _meyer)


def itersine(index: int = 0, scales: int = 4, bound: float = 2.0) -> Response:
    """Take one response of the itersine bank, a tight frame of bands of equal width that overlap with their neighbours.

    Index 0 is centred on the eigenvalue 0, the last on the bound; in [0, 1].

    >>> itersine(1, scales=3)(torch.tensor([1.0, 1.5]))
    tensor([1.0000, 0.7071])
    """
    return Response("itersine", _check("itersine", index, scales, bound), _itersine)


def mexican_hat(index: int = 0, scales: int = 4, bound: float = 2.0) -> Response:
    """Take one response of the bank of Mexican hats: band-passes at logarithmic scales, and at index 0 a low-pass.

    They cover the spectrum from a twentieth of the bound on, in [0, 1/2); no tight frame.

    >>> mexican_hat(1, scales=2)(torch.tensor([0.0, 0.1]))
    tensor([0.0000, 0.2707])
    """
    return Response("mexican_hat", _check("mexican_hat", index, scales, bound), _mexican_hat)


def _check(name: str, index: int, scales: int, bound: float) -> tuple[tuple[str, float], ...]:
    for option, value, lowest in (("scales", scales, 2), ("index", index, 0)):
        if not is_whole(value) or value < lowest:
            raise ValueError(f"{name}({option}={value!r}): {option} must be an int of at least {lowest}")
    if index >= scales:
        raise ValueError(f"{name}(index={index}): a bank of {scales} has the indices 0 to {scales - 1}")
    return (("index", int(index)), ("scales", int(scales)), ("bound", strength(name, "bound", bound)))


def _meyer(x: Tensor, index: int, scales: int, bound: float) -> Tensor:
    # Position of the band: between 2/3 and 4/3 the response rises, between 4/3 and 8/3 it falls.
    y = x * (4 / 3 / (bound or 1.0)) * 2.0 ** (scales - 1 - max(index, 1))
    down = _fall(y / (2 / 3) - 1)
    if index == 0:
        return down
    rising = torch.sin(math.pi / 2 * _ramp(y / (2 / 3) - 1))
    return torch.where(y < 4 / 3, rising, _fall(y / (4 / 3) - 1))


def _fall(x: Tensor) -> Tensor:
    # The cosine of pi / 2 rounds to -4e-8 in float32.
    return torch.cos(math.pi / 2 * _ramp(x)).clamp(min=0)


def _ramp(x: Tensor) -> Tensor:
    """Rise from 0 to 1 on [0, 1], with three vanishing derivatives at both ends; ramp(x) + ramp(1 - x) = 1."""
    x = x.clamp(0, 1)
    return x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)


def _itersine(x: Tensor, index: int, scales: int, bound: float) -> Tensor:
    # Distance to the centre of the band, in widths of the band.
    y = x * ((scales - 1) / (2 * (bound or 1.0))) - index / 2
    return torch.where(y.abs() <= 0.5, torch.sin(math.pi / 2 * torch.cos(math.pi * y) ** 2), 0.0)


def _mexican_hat(x: Tensor, index: int, scales: int, bound: float) -> Tensor:
    bound = bound or 1.0
    low = bound / _HAT_RANGE
    if index == 0:
        smooth: Tensor = 1.2 / math.e * torch.exp(-((x / (0.4 * low)) ** 4))
        return smooth
    # From 2 over the lower end to 1 over the bound, evenly in the logarithm.
    share = (index - 1) / max(scales - 2, 1)
    s = (2 / low) ** (1 - share) * (1 / bound) ** share
    band: Tensor = s * x * torch.exp(-s * x)
    return band
