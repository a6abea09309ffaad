r"""Responses: what a graph filter does at each graph frequency.

A response is any callable from a tensor of eigenvalues to a tensor of the same shape. The named ones are
frozen values whose `repr` is the call that makes them, so that a record or a report can print what was used.

* smoothing: `heat`, `tikhonov`, `lowpass`
* favouring weak modes, or strong ones: `power`
* the rest of the spectrum: `highpass`; a part of it: `bandpass`, and the wavelets of `wavelets`
* nothing at all: `identity`
* sums and products of them: `1 - 0.5 * heat(1.0) * tikhonov(2.0)`

Eigenvalues are taken as they come, never rescaled. On a Laplacian a large eigenvalue is a high graph
frequency, so the falling responses smooth. On an adjacency operator a large eigenvalue is a *strong mode*, so
the same falling response shrinks the strong modes and leaves the weak ones: with `tikhonov` that is
`Delta (I + gamma C)^-1`.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from paramgraph._checks import check_options, option_defaults
from paramgraph.errors import UnknownNameError
from paramgraph.filters._wavelets import itersine, mexican_hat, meyer
from paramgraph.filters.measured_response import measured_steps
from paramgraph.filters.response import CutOff, Response, ResponseFunction, strength
from paramgraph.filters.response_algebra import combine

# Of the largest eigenvalue: what a Gram matrix in float32 may have below 0.
ROUNDING = 1e-5


def _heat(x: Tensor, t: float) -> Tensor:
    return torch.exp(-t * x)


def _tikhonov(x: Tensor, gamma: float) -> Tensor:
    denominator = 1 + gamma * x
    if bool((denominator <= 0).any()):
        raise ValueError(
            f"tikhonov(gamma={gamma}) has its pole at {-1 / gamma:.3g}, above the smallest eigenvalue "
            f"{x.min().item():.3g}; take gamma < {-1 / x.min().item():.3g}, or an operator without negative "
            "eigenvalues"
        )
    return 1 / denominator


def _power(x: Tensor, p: float, damping: float) -> Tensor:
    if not p or not x.numel():
        return torch.ones_like(x)
    lowest = x.min().item()
    if lowest < -ROUNDING * x.abs().max().item():
        raise ValueError(
            f"power(p={p}) has no value at the negative eigenvalue {lowest:.3g}: take a Laplacian, or the adjacency of "
            "a Gram graph (builder 'gram'), whose eigenvalues are not negative"
        )
    damped = x.clamp(min=0) + damping
    if p > 0 and not bool(damped.all()):
        raise ValueError(
            f"power(p={p}, damping={damping}) is infinite at the eigenvalue 0; take damping > 0, such as 1e-6 of "
            "the mean eigenvalue"
        )
    return damped**-p


def _lowpass(x: Tensor, cutoff: float) -> Tensor:
    return (x <= cutoff).to(x.dtype)


def _highpass(x: Tensor, cutoff: float) -> Tensor:
    return (x > cutoff).to(x.dtype)


def _bandpass(x: Tensor, low: float, high: float) -> Tensor:
    return ((x > low) & (x <= high)).to(x.dtype)


def _identity(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def heat(t: float) -> Response:
    r"""Let heat diffuse over the graph for a time [1]_.

    .. math:: h(x) = e^{-t x}

    Parameters
    ----------
    t : float
        Time, in units of one over the eigenvalue; 0 changes nothing. Negative or not finite is a ValueError.

    References
    ----------
    .. [1] D. I. Shuman et al., "The emerging field of signal processing on graphs", IEEE Signal Processing
       Magazine 30(3), 2013.

    Examples
    --------
    >>> heat(1.0)(torch.tensor([0.0, 2.0]))
    tensor([1.0000, 0.1353])
    """
    return Response("heat", (("t", strength("heat", "t", t)),), _heat)


def tikhonov(gamma: float) -> Response:
    r"""Solve one quadratically regularised fit to the signal.

    .. math:: h(x) = \frac{1}{1 + \gamma x}

    is the minimiser of :math:`\|Y - X\|^2 + \gamma \operatorname{tr}(Y^T L Y)` over Y. On the combinatorial
    ring of all entries of a tensor it is Laplacian smoothing gradient descent [1]_.

    Parameters
    ----------
    gamma : float
        Strength, in units of one over the eigenvalue; 0 changes nothing.

    Raises
    ------
    ValueError
        If `gamma` is negative or not finite. The response itself raises one where an eigenvalue lies at or below the
        pole -1 / gamma, possible only on an adjacency that is not positive semidefinite.

    References
    ----------
    .. [1] S. Osher et al., "Laplacian smoothing gradient descent", arXiv 1806.06317.

    Examples
    --------
    >>> tikhonov(1.0)(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 0.5000])
    """
    return Response("tikhonov", (("gamma", strength("tikhonov", "gamma", gamma)),), _tikhonov)


def power(p: float, damping: float = 1e-6) -> Response:
    r"""Raise the eigenvalues to a power.

    .. math:: h(x) = (x + \epsilon)^{-p}

    p = 0 changes nothing, p > 0 favours modes of small eigenvalues, p < 0 those of large ones. On the Gram matrices of
    gradients, rows and columns, p = 1/4 on each side is Shampoo [1]_. The size of a signal changes, and to keep it is
    up to the caller. Eigenvalues between 0 and -1e-5 times the largest are the rounding of a Gram matrix, and count as
    0.

    Parameters
    ----------
    p : float
        Exponent, of any sign.
    damping : float, default 1e-6
        What is added to each eigenvalue, so that modes of eigenvalue 0 are amplified by no more than
        :math:`\epsilon^{-p}`; in units of the eigenvalue, of which a Gram graph has 1 in the mean.

    Raises
    ------
    ValueError
        If `p` is not finite, or `damping` negative or not finite. The response itself raises one at a negative
        eigenvalue, and at 0 where p > 0 and there is no damping.

    References
    ----------
    .. [1] V. Gupta, T. Koren, Y. Singer, "Shampoo: preconditioned stochastic tensor optimization", arXiv:1802.09568.

    Examples
    --------
    >>> power(0.5, damping=0.0)(torch.tensor([0.25, 1.0, 4.0]))
    tensor([2.0000, 1.0000, 0.5000])
    """
    options = (
        ("p", strength("power", "p", p, signed=True)),
        ("damping", strength("power", "damping", damping)),
    )
    return Response("power", options, _power)


def lowpass(cutoff: float) -> Response:
    r"""Keep the eigenvalues up to a cut-off; with `highpass` of the same one it adds up to exactly 1.

    .. math:: h(x) = 1 \text{ if } x \le c, \text{ else } 0

    In a filter an eigenvalue that equals the cut-off within rounding is the cut-off, so that all of its copies pass. It
    is so for every response with cut-offs. Rounding is the residual of the eigenpair, and 10 nodes times the rounding
    of float64 of the operator's bound.

    Parameters
    ----------
    cutoff : float
        Largest eigenvalue that passes. Negative or not finite is a ValueError.

    Examples
    --------
    >>> lowpass(1.0)(torch.tensor([0.0, 1.0, 1.5]))
    tensor([1., 1., 0.])
    """
    return CutOff("lowpass", (("cutoff", strength("lowpass", "cutoff", cutoff)),), _lowpass)


def highpass(cutoff: float) -> Response:
    r"""Keep the eigenvalues above a cut-off.

    .. math:: h(x) = 1 \text{ if } x > c, \text{ else } 0

    Parameters
    ----------
    cutoff : float
        Largest eigenvalue that is removed. Negative or not finite is a ValueError.
    """
    return CutOff("highpass", (("cutoff", strength("highpass", "cutoff", cutoff)),), _highpass)


def bandpass(low: float, high: float) -> Response:
    r"""Keep the eigenvalues of a band; with `lowpass(low)` and `highpass(high)` it adds up to exactly 1.

    .. math:: h(x) = 1 \text{ if } a < x \le b, \text{ else } 0

    Parameters
    ----------
    low, high : float
        Ends of the band; only the upper one belongs to it.

    Raises
    ------
    ValueError
        If an end is negative or not finite, or `low` is above `high`.

    Examples
    --------
    >>> bandpass(0.5, 1.0)(torch.tensor([0.5, 0.75, 1.0, 1.5]))
    tensor([0., 1., 1., 0.])
    """
    ends = (("low", strength("bandpass", "low", low)), ("high", strength("bandpass", "high", high)))
    if ends[0][1] > ends[1][1]:
        raise ValueError(f"bandpass(low={low!r}, high={high!r}): low must not be above high")
    return CutOff("bandpass", ends, _bandpass)


def identity() -> Response:
    r"""Change nothing.

    .. math:: h(x) = 1

    Examples
    --------
    >>> identity()(torch.tensor([0.0, 2.0]))
    tensor([1., 1.])
    """
    return Response("identity", (), _identity)


# Options are checked by the factory that takes them.
RESPONSES: dict[str, Callable[..., Response]] = {
    factory.__name__: factory
    for factory in (
        bandpass,
        heat,
        highpass,
        identity,
        itersine,
        lowpass,
        mexican_hat,
        meyer,
        power,
        tikhonov,
    )
} | {"measured": measured_steps}  # `measured` itself estimates one from gradients, far above this file


def list_responses() -> list[str]:
    """Name the responses that `get_response` makes, sorted.

    Examples
    --------
    >>> list_responses()[:6]
    ['bandpass', 'heat', 'highpass', 'identity', 'itersine', 'lowpass']
    """
    return sorted(RESPONSES)


def response_options(name: str) -> dict[str, Any]:
    """Map each option of a named response to its default, `inspect.Parameter.empty` where it must be given.

    Empty for "sum" and "product", and for a name that is none.

    >>> response_options("mexican_hat")
    {'index': 0, 'scales': 4, 'bound': 2.0}
    """
    return option_defaults(_options_of(RESPONSES[name])) if name in RESPONSES else {}


def _options_of(make: Callable[..., Response]) -> list[inspect.Parameter]:
    return list(inspect.signature(make).parameters.values())


def get_response(response: ResponseFunction | str, **options: Any) -> ResponseFunction:
    """Make a response from its name, or take a callable as it is.

    Parameters
    ----------
    response : str or callable
        One of `list_responses()`, or any callable on a tensor of eigenvalues. "sum" and "product" combine
        `parts`: numbers, callables, and pairs of a name and its options.
    **options : object
        Options of the named response; for a callable, keywords that are bound to it.

    Returns
    -------
    callable
        From a tensor of eigenvalues to a tensor of the same shape.

    Raises
    ------
    UnknownNameError
        If there is no response of that name; near names are listed.
    TypeError
        If `response` is neither, or an option is missing or unknown.

    Examples
    --------
    >>> get_response("tikhonov", gamma=0.5)
    tikhonov(gamma=0.5)
    >>> get_response("sum", parts=[1.0, ["product", {"parts": [-0.5, ["heat", {"t": 2.0}]]}]])
    1.0 - 0.5 * heat(t=2.0)
    """
    if isinstance(response, str):
        if response in ("sum", "product") and set(options) == {"parts"}:
            combined: ResponseFunction = combine(response, options["parts"], get_response)
            return combined
        if response not in RESPONSES:
            raise UnknownNameError.among("response", response, RESPONSES)
        make = RESPONSES[response]
        check_options("response", response, _options_of(make), options)
        return make(**options)
    if not callable(response):
        raise TypeError(
            f"a response is a name ({', '.join(list_responses())}) or a callable, got {response!r}"
        )
    return partial(response, **options) if options else response
