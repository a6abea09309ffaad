r"""Graph filters: h(L) applied to a signal on the nodes.

.. math:: h(L) X = X + U (h(\Lambda) - I) U^T X

Three methods behind one name: `exact` (complete eigenbasis), `lowrank` (some modes, one value for all others)
and `chebyshev` (a polynomial of the operator, no eigenvectors). All are corrections of the signal, so that the
identity response changes no bit.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.chebyshev import chebyshev_product
from paramgraph.filter_design import FilterDesign, design_filter
from paramgraph.responses import ResponseFunction
from paramgraph.shift_operator import ShiftOperator
from paramgraph.spectrum import Spectrum


@dataclass(frozen=True, eq=False, repr=False)
class GraphFilter:
    r"""Apply one response on one operator to any number of signals.

    Made by `prepare_filter`. Eigenvectors are copied to each device and dtype once.

    Parameters
    ----------
    operator : ShiftOperator
        L.
    response : callable
        h.
    design : FilterDesign
        What stands for h(L) - I.
    precompute : bool
        Form :math:`U (h - I) U^T` as one matrix of nodes x nodes where that saves time from the second
        signal on.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph.responses import tikhonov
    >>> from paramgraph.shifts import laplacian
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
        """What runs: "exact", "lowrank" or "chebyshev"."""
        return self.design.method

    @property
    def reason(self) -> str:
        """Why this method runs, with its tail or its error."""
        return self.design.reason

    @property
    def rank(self) -> int | None:
        """Number of modes that are used; None for "chebyshev"."""
        return self.design.rank

    @property
    def order(self) -> int | None:
        """Order of the polynomial; None for the others."""
        return self.design.order

    @property
    def error(self) -> float:
        """Estimated largest error of the response: that of the polynomial, 0 for the others."""
        return self.design.error

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.operator.nodes

    @cached_property
    def is_identity(self) -> bool:
        """Whether the correction is exactly zero, so that it can be skipped."""
        return self.design.is_zero or not self.nodes

    def correction(
        self, X: Float[Tensor, "nodes *width"], check: bool = True
    ) -> Float[Tensor, "nodes *width"]:
        r"""Compute what the filter adds, :math:`(h(L) - I) X`.

        Parameters
        ----------
        X : Tensor of shape (nodes,) or (nodes, width)
            Signal of any floating dtype on any device; not changed.
        check : bool, default True
            Look for NaN and infinity first; on an accelerator this waits for the device.

        Returns
        -------
        Tensor of the shape of `X`
            Of its dtype and device, differentiable in X; bf16 and fp16 are summed in float32. Exactly zero for
            the identity. Cost in operations for a width d: exact 2 nodes^2 d from the second signal on (4 for
            the first), lowrank 4 nodes rank d, chebyshev 2 order edges d.

        Raises
        ------
        ValueError
            If X has other rows, or is not finite.
        TypeError
            If X is not a floating tensor.
        """
        self._check(X, check)
        if self.is_identity:
            return torch.zeros_like(X)
        return self._delta(self._working(X)).reshape(X.shape).to(X.dtype)

    def __call__(self, X: Tensor, check: bool = True) -> Float[Tensor, "nodes *width"]:
        """Filter a signal; cost and errors are those of `correction`. The identity gives back every bit."""
        self._check(X, check)
        if self.is_identity:
            return X.clone()
        signal = self._working(X)
        return (signal + self._delta(signal)).reshape(X.shape).to(X.dtype)

    def _check(self, X: Any, check: bool) -> None:
        if not isinstance(X, Tensor) or not X.is_floating_point():
            kind = X.dtype if isinstance(X, Tensor) else type(X).__name__
            raise TypeError(f"a signal is a floating torch tensor, got {kind}")
        if not X.ndim or X.ndim > 2 or X.shape[0] != self.nodes:
            raise ValueError(
                f"a signal on {self.nodes} nodes has shape ({self.nodes},) or ({self.nodes}, width), got "
                f"{tuple(X.shape)}"
            )
        if check and not bool(torch.isfinite(X).all()):
            raise ValueError(
                "the signal has NaN or infinite entries; a filter would spread them over all nodes"
            )

    def _working(self, X: Tensor) -> Tensor:
        # Half precision has 8 to 11 bits: sums over thousands of nodes need the 24 of float32.
        dtype = torch.float64 if X.dtype == torch.float64 else torch.float32
        return X.to(dtype).reshape(self.nodes, -1)

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
            elif "matrix" in factors:
                delta = factors["matrix"] @ signal
            else:
                delta = factors["weighted"] @ (factors["basis"].T @ signal)
            if design.rest:
                delta = delta + design.rest * signal
            return delta if scale is None else delta / scale

    @cached_property
    def _copies(self) -> dict[tuple[torch.device, torch.dtype], dict[str, Tensor]]:
        return {}

    def _factors(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Copy what the product needs to a device, once for each dtype."""
        if (device, dtype) not in self._copies:
            design, wanted = self.design, {}
            if design.basis is not None and design.gain is not None:
                weighted = design.basis * design.gain
                # One product of nodes x nodes is cheaper than two with more than half as many modes.
                if self.precompute and 2 * design.basis.shape[1] >= self.nodes:
                    wanted = {"matrix": weighted @ design.basis.T}
                else:
                    wanted = {"basis": design.basis, "weighted": weighted}
            if design.scale is not None:
                wanted["scale"] = design.scale[:, None]
            self._copies[device, dtype] = {name: item.to(device, dtype) for name, item in wanted.items()}
        return self._copies[device, dtype]


def prepare_filter(
    operator: ShiftOperator,
    response: Any,
    method: str = "auto",
    order: Any = 30,
    rank: Any = None,
    tail: Any = "edge",
    spectrum: Spectrum | None = None,
    seed: Any = 0,
) -> GraphFilter:
    """Prepare h(L) once, to filter many signals.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`; "rw" goes through its symmetric similar matrix.
    response : callable or str
        h on tensors of eigenvalues, such as `heat(5.0)`, or the name of one without options.
    method : {"auto", "exact", "lowrank", "chebyshev"}
        "auto": lowrank with a `rank` or an incomplete `spectrum`, exact up to 4,096 nodes, else chebyshev of
        the order that brings the estimated error of the response below 1e-6. What runs, and why, is in
        `.method` and `.reason`.
    order : int, default 30
        Order of the polynomial; the lowest that "auto" takes.
    rank : int, optional
        Number of modes of `lowrank`, lowest graph frequencies first; 32 by default, at most all.
    tail : {"edge", 0, 1}
        What `lowrank` does to all other modes: h at the last computed eigenvalue, remove, or leave.
    spectrum : Spectrum, optional
        Of this operator, if it is there already.
    seed : int or numpy.random.Generator, default 0
        Of the eigensolver.

    Returns
    -------
    GraphFilter
        Exact: O(nodes^3) once. Lowrank: the eigensolver once. Chebyshev: nothing but 4,096 values of h.

    Raises
    ------
    ValueError
        If an option is not allowed, the spectrum is of other nodes, the response is not finite on the spectrum,
        or "auto" finds no order up to 500 that is enough (a response with a jump on a large graph).

    Warns
    -----
    NumericalWarning
        If "chebyshev" was asked for and its estimated error is above 0.01.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph.responses import heat
    >>> from paramgraph.shifts import laplacian
    >>> prepare_filter(laplacian(nx.cycle_graph(8)), heat(1.0), rank=3).reason
    'rank given; the other 5 modes are multiplied by h = 0.7461 (the last computed mode)'
    """
    design, response = design_filter(operator, response, method, order, rank, tail, spectrum, seed)
    return GraphFilter(operator, response, design)


def apply_filter(
    operator: ShiftOperator,
    X: Tensor,
    response: Any,
    method: str = "auto",
    order: Any = 30,
    rank: Any = None,
    tail: Any = "edge",
    spectrum: Spectrum | None = None,
) -> Float[Tensor, "nodes *width"]:
    """Filter one signal once; `prepare_filter` is for many.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`.
    X : Tensor of shape (nodes,) or (nodes, width)
        Signal of any floating dtype on any device; not changed.
    response : callable or str
        As for `prepare_filter`, like all that follows.
    method : {"auto", "exact", "lowrank", "chebyshev"}
        How.
    order, rank : int, optional
        Order of the polynomial; number of modes.
    tail : {"edge", 0, 1}
        What happens to the other modes.
    spectrum : Spectrum, optional
        Of this operator.

    Returns
    -------
    Tensor of the shape of `X`
        h(L) X, of its dtype and device, differentiable in X.

    Raises
    ------
    ValueError
        If X has other rows or is not finite, or an option is not allowed.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph.responses import lowpass
    >>> from paramgraph.shifts import laplacian
    >>> apply_filter(laplacian(nx.complete_graph(2), None), torch.tensor([1.0, 3.5]), lowpass(1.0))
    tensor([2.2500, 2.2500])
    """
    design, response = design_filter(operator, response, method, order, rank, tail, spectrum, seed=0)
    return GraphFilter(operator, response, design, precompute=False)(X)
