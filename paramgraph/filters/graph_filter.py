r"""Graph filters: h(L) applied to signals on the nodes.

.. math:: h(L) X = X + U (h(\Lambda) - I) U^T X

Four methods behind one name: `exact` (complete eigenbasis), `lowrank` (some modes, one value for all others),
`chebyshev` (a polynomial of the operator, no eigenvectors) and `solve` (one linear system, for Tikhonov). All are
corrections of the signal, so that the identity response changes no bit.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._chebyshev import Damping
from paramgraph.filters._chebyshev_recurrence import chebyshev_product
from paramgraph.filters._choice import Method, Tail
from paramgraph.filters.design import FilterDesign, design_filter
from paramgraph.filters.ready_filter import ReadyFilter, ThinFactors
from paramgraph.filters.response import ResponseFunction
from paramgraph.spectra import (
    Seed,
    ShiftOperator,
    Spectrum,
    check_operator,
    check_signal,
    keep_tensor,
    linear_product,
)


@dataclass(frozen=True, eq=False, repr=False)
class GraphFilter(ReadyFilter):
    r"""Apply one response on one operator to any number of signals.

    Made by `prepare_filter`. Eigenvectors are copied to each device and dtype once. Operations for a width d: exact
    2 nodes^2 d, lowrank 4 nodes rank d, chebyshev 4 order edges d, solve 4 entries of the factor x d. "solve" runs in
    float64 on the CPU, wherever X is.

    Parameters
    ----------
    operator : ShiftOperator
        L.
    response : callable
        Response h on the eigenvalues.
    design : FilterDesign
        What stands for h(L) - I.
    precompute : bool
        Form :math:`U (h - I) U^T` as one matrix of nodes x nodes where that saves time from the second
        signal on.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian, prepare_filter, tikhonov
    >>> smooth = prepare_filter(laplacian(nx.complete_graph(3), None), tikhonov(1.0))
    >>> smooth(torch.tensor([1.0, 2.0, 6.0]))  # the mean, 3, and a quarter of the rest
    tensor([2.5000, 2.7500, 3.7500])
    """

    operator: ShiftOperator
    response: ResponseFunction
    design: FilterDesign
    precompute: bool = True

    def __repr__(self) -> str:
        return f"GraphFilter({self.response!r}, {self.method}, nodes={self.nodes}: {self.reason})"

    @property
    def method(self) -> str:
        """What runs: "exact", "lowrank", "chebyshev" or "solve"."""
        return self.design.method

    @property
    def reason(self) -> str:
        """Why this method runs, with its tail or its error."""
        return self.design.reason

    @property
    def rank(self) -> int | None:
        """Number of modes that are used; None for "chebyshev" and "solve"."""
        return self.design.rank

    @property
    def order(self) -> int | None:
        """Order of the polynomial; None for the others."""
        return self.design.order

    @property
    def error(self) -> float:
        r"""Bound of the error: :math:`\|Y - h(L) X\| \le error \cdot \|X\|`, but for rounding.

        Of the polynomial for "chebyshev", an estimate where `reason` says so; of the stopped iteration for "solve"
        by conjugate gradients; 0 for the others. For "rw" the norm is weighted by the degrees.
        """
        return self.design.error

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.operator.nodes

    @cached_property
    def is_identity(self) -> bool:
        """Whether the correction is exactly zero, so that it can be skipped."""
        return self.design.is_zero or not self.nodes

    @property
    def modes(self) -> tuple[Float[Tensor, "nodes active"], Float[Tensor, " active"]] | None:
        """Eigenvectors and gains of the modes that are changed; None for "chebyshev" and "solve"."""
        design = self.design
        return None if design.basis is None or design.gain is None else (design.basis, design.gain)

    def thin_factors(self, device: torch.device, dtype: torch.dtype) -> ThinFactors | None:
        """Give the modes, copied once, with columns of zeros up to a multiple of 16; see `ReadyFilter`.

        None where the filter is no such product of orthonormal modes, or where one matrix of nodes x nodes costs less.
        """
        factors = self._factors(device, dtype)
        gain = self.design.gain
        if gain is None or "basis" not in factors or "scale" in factors:
            return None
        if "surplus" not in factors:
            kept = 1.0 + self.design.rest
            surplus = _padded((gain + kept).square() - kept**2)
            factors["surplus"] = keep_tensor(surplus, torch.device(device), dtype)
        return ThinFactors(factors["basis"], factors["gain"], factors["surplus"], float(self.design.rest))

    def _columns(self, X: Tensor) -> Tensor:
        return X.reshape(self.nodes, -1)

    def _delta(self, signal: Tensor) -> Tensor:
        design = self.design
        factors = self._factors(signal.device, signal.dtype)
        scale = factors.get("scale")
        # A caller's autocast would round the products to half precision.
        with torch.autocast(signal.device.type, enabled=False):
            if scale is not None:
                signal = scale * signal
            if design.coefficients is not None:
                interval = design.operator.interval
                delta = chebyshev_product(design.operator, signal, design.coefficients, interval)
            elif design.gamma is not None:
                delta = linear_product(signal, self._solve)
            elif "matrix" in factors:
                delta = factors["matrix"] @ signal
            else:
                delta = factors["basis"] @ (factors["gain"][:, None] * (factors["basis"].T @ signal))
            if design.rest:
                delta = delta + design.rest * signal
            return delta if scale is None else delta / scale

    def _solve(self, signal: Tensor) -> Tensor:
        right = signal.to("cpu", torch.float64).numpy()
        return torch.from_numpy(self.design.solver(right) - right).to(signal)

    def _parts(self) -> dict[str, Tensor]:
        design, parts = self.design, {}
        if design.basis is not None and design.gain is not None:
            # One product of nodes x nodes is cheaper than two with more than half as many modes.
            if self.precompute and 2 * design.basis.shape[1] >= self.nodes:
                parts = {"matrix": (design.basis * design.gain) @ design.basis.T}
            else:
                parts = {"basis": _padded(design.basis), "gain": _padded(design.gain)}
        if design.scale is not None:
            parts["scale"] = design.scale[:, None]
        return parts


def _padded(factor: Tensor) -> Tensor:
    # 31 columns take a third longer than 32: rows that begin between two vector registers. Zeros change no product.
    missing = -factor.shape[-1] % 16 if factor.shape[-1] >= 16 else 0
    return torch.nn.functional.pad(factor, (0, missing)) if missing else factor


def prepare_filter(
    operator: ShiftOperator,
    response: ResponseFunction | str,
    method: Method = "auto",
    order: int = 30,
    rank: int | None = None,
    tail: Tail = "edge",
    spectrum: Spectrum | None = None,
    seed: Seed = 0,
    damping: Damping = "none",
) -> GraphFilter:
    """Prepare h(L) once, to filter many signals.

    Exact takes O(nodes^3) once; lowrank the eigensolver once; chebyshev nothing but 12,000 values of h, or a million of
    a function that may hide a band between them; solve one factorization, or nothing for conjugate gradients.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`; "rw" goes through its symmetric similar matrix.
    response : callable or str
        Response h on tensors of eigenvalues, such as `heat(5.0)`, or the name of one without options.
    method : {"auto", "exact", "lowrank", "chebyshev", "solve"}
        "auto": lowrank with a `rank` or an incomplete `spectrum`, exact up to 4,096 nodes, else solve for Tikhonov
        where a sparse factorization is cheap, else chebyshev of the order that brings the error of the response
        below 1e-6, or solve where no order up to 500 does. What runs, and why, is in `.method` and `.reason`.
    order : int, default 30
        Order of the polynomial; the lowest that "auto" takes.
    rank : int, optional
        Number of modes of `lowrank`, lowest graph frequencies first; 32 by default, at most all.
    tail : {"edge", 0, 1}
        What `lowrank` does to all other modes: h at the last computed eigenvalue, remove, or leave. With 0 or 1 copies
        of an eigenvalue stay together: a level that `rank` would part belongs to the others, and `reason` says so.
    spectrum : Spectrum, optional
        Of this operator, if it is there already.
    seed : int or numpy.random.Generator, default 0
        Of the eigensolver.
    damping : {"none", "jackson"}, default "none"
        Of the polynomial's coefficients, against over- and undershooting at a jump; "auto" then takes chebyshev
        of the given order. Its smoothing is in `.error`, and no warning is given.

    Returns
    -------
    GraphFilter
        Callable on tensors (nodes,) or (nodes, width).

    Raises
    ------
    ValueError
        If an option is not allowed, the spectrum is of other nodes, the response is not finite on the spectrum or
        no Tikhonov for "solve", or "auto" finds no order up to 500 that is enough (a jump on a large graph).

    Warns
    -----
    NumericalWarning
        If "chebyshev" was asked for and undamped, and its error is above 0.01.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import heat, laplacian
    >>> prepare_filter(laplacian(nx.cycle_graph(8)), heat(1.0), rank=3).reason
    'rank given; the other 5 modes are multiplied by h = 0.7461 (the last computed mode)'
    """
    design, response = design_filter(operator, response, method, order, rank, tail, spectrum, seed, damping)
    return GraphFilter(operator, response, design)


def apply_filter(
    operator: ShiftOperator,
    X: Tensor,
    response: ResponseFunction | str,
    method: Method = "auto",
    order: int = 30,
    rank: int | None = None,
    tail: Tail = "edge",
    spectrum: Spectrum | None = None,
    damping: Damping = "none",
) -> Float[Tensor, " nodes *width"]:
    """Filter one signal once; `prepare_filter` is for many, and explains the options.

    "auto" is as there, but takes solve for Tikhonov from 1,001 nodes on: one linear system costs less than all
    eigenpairs. What ran is logged.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`.
    X : Tensor of shape (nodes,) or (nodes, width)
        Signal of any floating dtype on any device; not changed.
    response : callable or str
        As for `prepare_filter`, like all that follows.

    Returns
    -------
    Tensor of the shape of `X`
        Signal h(L) X, of its dtype and device, differentiable in X.

    Raises
    ------
    ValueError
        If X has other rows or is not finite, or an option is not allowed.
    NotConvergedError
        If conjugate gradients of "solve" do not converge.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian, lowpass
    >>> apply_filter(laplacian(nx.complete_graph(2), None), torch.tensor([1.0, 3.5]), lowpass(1.0))
    tensor([2.2500, 2.2500])
    """
    check_operator(operator, "a filter")
    check_signal(X, operator.nodes)  # before a decomposition is spent
    design, response = design_filter(
        operator, response, method, order, rank, tail, spectrum, seed=0, damping=damping, once=True
    )
    return GraphFilter(operator, response, design, precompute=False)(X, check=False)
