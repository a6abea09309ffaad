r"""Responses: what a graph filter does at each graph frequency.

A response is any callable from a tensor of eigenvalues to a tensor of the same shape. The named ones are
frozen values whose `repr` is the call that makes them, so that a record or a report can print what was used.

* smoothing: `heat`, `tikhonov`, `lowpass`
* the rest of the spectrum: `highpass`
* nothing at all: `identity`

Eigenvalues are taken as they come, never rescaled. On a Laplacian a large eigenvalue is a high graph
frequency, so the falling responses smooth. On an adjacency operator a large eigenvalue is a *strong mode*, so
the same falling response shrinks the strong modes and leaves the weak ones: with `tikhonov` that is
`Delta (I + gamma C)^-1`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.errors import UnknownNameError

ResponseFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True, repr=False)
class Response:
    """Name a response, so that it can be compared, printed and stored.

    Parameters
    ----------
    name : str
        Name of the factory that made it.
    options : tuple of (str, float)
        Options of the factory, in its order.
    rule : callable
        Function of the eigenvalues and the options.

    Examples
    --------
    >>> heat(5.0)
    heat(t=5.0)
    >>> heat(5.0) == heat(5)
    True
    """

    name: str
    options: tuple[tuple[str, float], ...]
    rule: Callable[..., Tensor]

    def __call__(self, eigenvalues: Any) -> Tensor:
        """Give the response at each eigenvalue, in the dtype of the eigenvalues."""
        # Under torch.set_default_device, as_tensor would move a tensor there.
        values = eigenvalues if isinstance(eigenvalues, Tensor) else torch.as_tensor(eigenvalues)
        if not values.is_floating_point():
            values = values.to(torch.float64)
        return self.rule(values, **dict(self.options))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.options)})"


def _option(factory: str, name: str, value: Any) -> float:
    """Check one strength or cut-off."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{factory}({name}=...) takes a number, got {value!r}") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{factory}({name}={value!r}): {name} must be a finite number, 0 or larger")
    return number


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


def _lowpass(x: Tensor, cutoff: float) -> Tensor:
    return (x <= cutoff).to(x.dtype)


def _highpass(x: Tensor, cutoff: float) -> Tensor:
    return (x > cutoff).to(x.dtype)


def _identity(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def heat(t: Any) -> Response:
    r"""Let heat diffuse over the graph for a time.

    .. math:: h(x) = e^{-t x}

    Parameters
    ----------
    t : float
        Time, in units of one over the eigenvalue; 0 changes nothing.

    Raises
    ------
    ValueError
        If `t` is negative or not finite.

    References
    ----------
    .. [1] D. I. Shuman et al., "The emerging field of signal processing on graphs", IEEE Signal Processing
       Magazine 30(3), 2013.

    Examples
    --------
    >>> heat(1.0)(torch.tensor([0.0, 2.0]))
    tensor([1.0000, 0.1353])
    """
    return Response("heat", (("t", _option("heat", "t", t)),), _heat)


def tikhonov(gamma: Any) -> Response:
    r"""Solve one quadratically regularised fit to the signal.

    .. math:: h(x) = \frac{1}{1 + \gamma x}

    is the minimiser of :math:`\|Y - X\|^2 + \gamma \operatorname{tr}(Y^T L Y)` over Y. On the combinatorial
    ring of all entries of a tensor it is Laplacian smoothing gradient descent [1]_.

    Parameters
    ----------
    gamma : float
        Strength, in units of one over the eigenvalue; 0 changes nothing.

    Returns
    -------
    Response
        Callable on a tensor of eigenvalues. It raises ValueError where an eigenvalue lies at or below the
        pole -1 / gamma (possible only on an adjacency that is not positive semidefinite).

    Raises
    ------
    ValueError
        If `gamma` is negative or not finite.

    References
    ----------
    .. [1] S. Osher et al., "Laplacian smoothing gradient descent", arXiv 1806.06317.

    Examples
    --------
    >>> tikhonov(1.0)(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 0.5000])
    """
    return Response("tikhonov", (("gamma", _option("tikhonov", "gamma", gamma)),), _tikhonov)


def lowpass(cutoff: Any) -> Response:
    r"""Keep the eigenvalues up to a cut-off.

    .. math:: h(x) = 1 \text{ if } x \le c, \text{ else } 0

    Parameters
    ----------
    cutoff : float
        Largest eigenvalue that passes, in the units of the eigenvalues.

    Returns
    -------
    Response
        Callable on a tensor of eigenvalues; with `highpass` of the same cut-off it adds up to exactly 1.

    Raises
    ------
    ValueError
        If `cutoff` is negative or not finite.

    Examples
    --------
    >>> lowpass(1.0)(torch.tensor([0.0, 1.0, 1.5]))
    tensor([1., 1., 0.])
    """
    return Response("lowpass", (("cutoff", _option("lowpass", "cutoff", cutoff)),), _lowpass)


def highpass(cutoff: Any) -> Response:
    r"""Keep the eigenvalues above a cut-off.

    .. math:: h(x) = 1 \text{ if } x > c, \text{ else } 0

    Parameters
    ----------
    cutoff : float
        Largest eigenvalue that is removed, in the units of the eigenvalues.

    Raises
    ------
    ValueError
        If `cutoff` is negative or not finite.
    """
    return Response("highpass", (("cutoff", _option("highpass", "cutoff", cutoff)),), _highpass)


def identity() -> Response:
    r"""Change nothing.

    .. math:: h(x) = 1

    Examples
    --------
    >>> identity()(torch.tensor([0.0, 2.0]))
    tensor([1., 1.])
    """
    return Response("identity", (), _identity)


RESPONSES: dict[str, Callable[..., Response]] = {
    factory.__name__: factory for factory in (heat, highpass, identity, lowpass, tikhonov)
}


def list_responses() -> list[str]:
    """Name the responses that `get_response` makes.

    Returns
    -------
    list of str
        Sorted names.

    Examples
    --------
    >>> list_responses()
    ['heat', 'highpass', 'identity', 'lowpass', 'tikhonov']
    """
    return sorted(RESPONSES)


def get_response(response: Any, **options: Any) -> ResponseFunction:
    """Make a response from its name, or take a callable as it is.

    Parameters
    ----------
    response : str or callable
        One of `list_responses()`, or any callable on a tensor of eigenvalues.
    **options : float
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
    """
    if isinstance(response, str):
        if response not in RESPONSES:
            raise UnknownNameError.among("response", response, RESPONSES)
        try:
            return RESPONSES[response](**options)
        except TypeError as error:
            raise TypeError(f"response {response!r} with options {options}: {error}") from error
    if not callable(response):
        raise TypeError(
            f"a response is a name ({', '.join(list_responses())}) or a callable, got {response!r}"
        )
    return partial(response, **options) if options else response


def evaluate_response(
    response: ResponseFunction, eigenvalues: Float[Tensor, "modes"]
) -> Float[Tensor, "modes"]:
    """Call a response and check what it gives back.

    Parameters
    ----------
    response : callable
        From a tensor of eigenvalues to a tensor of the same shape.
    eigenvalues : Tensor of shape (modes,)
        Eigenvalues, float64.

    Returns
    -------
    Tensor of shape (modes,)
        The response at each eigenvalue, of the dtype of `eigenvalues`, detached.

    Raises
    ------
    ValueError
        If the result has another shape or is not finite.

    Examples
    --------
    >>> evaluate_response(lambda x: 1 - x / 2, torch.tensor([0.0, 2.0]))
    tensor([1., 0.])
    """
    gain = torch.as_tensor(response(eigenvalues.clone()), device=eigenvalues.device).detach().to(eigenvalues)
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
