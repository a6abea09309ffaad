r"""Filters on the entries of one matrix: h of the Kronecker sum of a row operator and a column operator.

.. math:: h(L) X = X + U \left( (h(\lambda_i + \mu_j) - 1)_{ij} \circ U^T X V \right) V^T

Four methods: `separable` (heat is a product of two filters), `exact` (both complete bases), `lowrank` (the modes
of the k lowest sums) and `chebyshev` (a polynomial of the sum, no eigenvectors).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import is_whole
from paramgraph.filters._chebyshev_recurrence import symmetric_polynomial
from paramgraph.filters.design import EXACT_NODES
from paramgraph.filters.filters import GraphFilter, prepare_filter
from paramgraph.filters.polynomial_design import design_polynomial
from paramgraph.filters.responses import ResponseFunction, evaluate_response, get_response
from paramgraph.spectra import KroneckerSum, check_signal, keep_tensor, product_modes, working_dtype

METHODS = ("auto", "separable", "exact", "lowrank", "chebyshev")


@dataclass(frozen=True, eq=False, repr=False)
class ProductFilter:
    """Apply one response on a Kronecker sum to any number of matrices; made by `ProductGraph.prepare_filter`.

    Parameters
    ----------
    operator : KroneckerSum
        L, on matrices.
    response : callable
        h.
    method, reason : str
        What runs, and why, with what it does to modes that are not computed.
    bases : tuple of (Tensor, Tensor), optional
        Modes of the rows (rows, a) and of the columns (columns, b).
    gain : Tensor of shape (a, b), optional
        What is added at each pair of modes.
    rest : float, default 0.0
        What is added at all others.
    coefficients : ndarray of shape (order + 1,), optional
        Of the polynomial of h - 1.
    factors : tuple of (GraphFilter, GraphFilter), optional
        Of a separable response.
    error : float, default 0.0
        Bound of the largest error of the response; see `PolynomialDesign`.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import tikhonov
    >>> from paramgraph import laplacian
    >>> edge = laplacian(nx.path_graph(2), None)
    >>> smooth = prepare_product_filter(KroneckerSum(edge, edge), tikhonov(1.0))
    >>> smooth(torch.tensor([[15.0, 0.0], [0.0, 0.0]])).round(decimals=4)
    tensor([[7., 3.],
            [3., 2.]])
    """

    operator: KroneckerSum
    response: ResponseFunction
    method: str
    reason: str
    bases: tuple[Float[Tensor, "rows a"], Float[Tensor, "columns b"]] | None = None
    gain: Float[Tensor, "a b"] | None = None
    rest: float = 0.0
    coefficients: Float[np.ndarray, "orders"] | None = None
    factors: tuple[GraphFilter, GraphFilter] | None = None
    error: float = 0.0
    _copies: dict[Any, tuple[Tensor, ...]] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        return f"ProductFilter({self.response!r}, {self.method}, shape={self.operator.shape}: {self.reason})"

    @property
    def order(self) -> int | None:
        """Order of the polynomial; None for the other methods."""
        return None if self.coefficients is None else len(self.coefficients) - 1

    @cached_property
    def is_identity(self) -> bool:
        """Whether nothing is added, so that each bit of a matrix is handed back."""
        if self.factors is not None:
            return all(factor.is_identity for factor in self.factors)
        modes = self.gain is not None and bool(self.gain.any())
        return not (modes or self.rest or (self.coefficients is not None and self.coefficients.any()))

    def correction(self, X: Any, check: bool = True) -> Float[Tensor, "rows columns"]:
        """Compute what the filter adds, (h(L) - I) X.

        Parameters
        ----------
        X : Tensor of shape (rows, columns)
            Matrix of any floating dtype on any device; not changed.
        check : bool, default True
            Look for NaN and infinity first; on an accelerator this waits for the device.

        Returns
        -------
        Tensor of shape (rows, columns)
            Of the dtype and device of X, differentiable in X; bf16 and fp16 are summed in float32. Operations:
            exact 4 rows columns (rows + columns); separable half of it from the second matrix on; lowrank
            4 rows columns a + 4 columns a b for the smaller number a of modes; chebyshev 2 order (row edges x columns
            + column edges x rows).

        Raises
        ------
        ValueError
            If X has another shape, or is not finite.
        TypeError
            If X is no floating tensor.
        """
        check_signal(X, *self.operator.shape, check)
        delta: Tensor = torch.zeros_like(X) if self._idle(X) else self._delta(X.to(working_dtype(X)))
        return delta.to(X.dtype)

    def __call__(self, X: Any, check: bool = True) -> Float[Tensor, "rows columns"]:
        """Filter a matrix; cost and errors are those of `correction`. The identity gives back every bit."""
        check_signal(X, *self.operator.shape, check)
        if self._idle(X):
            return torch.clone(X)
        signal: Tensor = X.to(working_dtype(X))
        return (signal + self._delta(signal)).to(X.dtype)

    def _idle(self, X: Tensor) -> bool:
        return self.is_identity or not X.numel()

    def _delta(self, X: Tensor) -> Tensor:
        # A caller's autocast would round the products to half precision.
        with torch.autocast(X.device.type, enabled=False):
            if self.factors is not None:
                first = self.factors[0].correction(X, check=False)
                return first + self.factors[1].correction((X + first).T, check=False).T
            if self.coefficients is not None:
                operator = self.operator
                return symmetric_polynomial(operator.times, X, self.coefficients, operator.interval)
            U, V, gain = self._modes(X)
            delta = U @ (gain * (U.T @ X @ V)) @ V.T
            return delta + self.rest * X if self.rest else delta

    def _modes(self, X: Tensor) -> tuple[Tensor, ...]:
        """Copy bases and gains to a device, once for each dtype."""
        key = (X.device, X.dtype)
        if key not in self._copies:
            parts = (*self.bases, self.gain)  # type: ignore[misc]
            self._copies[key] = tuple(keep_tensor(part, *key) for part in parts)
        return self._copies[key]


def prepare_product_filter(
    operator: KroneckerSum,
    response: Any,
    method: str = "auto",
    order: Any = 30,
    rank: Any = None,
    tail: Any = "edge",
) -> ProductFilter:
    """Choose a method and compute its numbers once; see `ProductGraph.prepare_filter`.

    Parameters
    ----------
    operator : KroneckerSum
        L.
    response : callable or str
        h.
    method : {"auto", "separable", "exact", "lowrank", "chebyshev"}
        How.
    order, rank : int, optional
        Lowest order of the polynomial; number of modes.
    tail : {"edge", 0, 1}
        What `lowrank` does to all other modes.

    Returns
    -------
    ProductFilter
        Ready for many matrices.

    Raises
    ------
    ValueError
        If an option is not allowed, a response that is no heat is asked to be separable, or "auto" finds no
        order that is enough.

    Warns
    -----
    NumericalWarning
        If "chebyshev" was asked for, and its error is above 0.01.
    """
    response = get_response(response)
    _check(method, order, rank, tail)
    asked, (method, reason) = method, _choose(operator, response, method, rank)
    shared: dict[str, Any] = {}
    if method == "separable":
        # exp(-t (x + y)) = exp(-t x) exp(-t y)
        factors = prepare_filter(operator.rows, response), prepare_filter(operator.columns, response)
        reason += f"; rows: {factors[0].method}, columns: {factors[1].method}"
        shared = {"factors": factors, "error": factors[0].error + factors[1].error}
    elif method == "chebyshev":
        found = design_polynomial(response, operator.interval, order, automatic=asked == "auto")
        shared = {"coefficients": found.coefficients, "error": found.error}
        reason += found.remark
    else:
        everything = operator.nodes
        wanted = everything if method == "exact" else min(32 if rank is None else int(rank), everything)
        shared, remark = _gains(operator, response, wanted, tail)
        reason += remark
    return ProductFilter(operator, response, method, reason, **shared)


def _check(method: Any, order: Any, rank: Any, tail: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"no filter method {method!r}; allowed: {', '.join(map(repr, METHODS))}")
    if tail not in ("edge", 0, 1):
        raise ValueError(f"no tail {tail!r}; allowed: 'edge', 0, 1")
    for name, value in (("order", order), ("rank", 1 if rank is None else rank)):
        if not is_whole(value) or value < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {value!r}")


def _choose(operator: KroneckerSum, response: Any, method: str, rank: Any) -> tuple[str, str]:
    is_heat = getattr(response, "name", None) == "heat"
    if method == "separable" and not is_heat:
        raise ValueError(
            f"the response {response!r} of a sum is no product of responses, heat alone is; use method='exact', "
            "'lowrank' or 'chebyshev'"
        )
    if method != "auto":
        return method, "asked for"
    if rank is not None:
        return "lowrank", "rank given"
    if is_heat:
        return "separable", "heat of a sum is the product of two heats"
    if max(operator.shape) <= EXACT_NODES:
        return "exact", f"no more than {EXACT_NODES} rows or columns"
    return "chebyshev", f"more than {EXACT_NODES} rows or columns"


def _gains(
    operator: KroneckerSum, response: ResponseFunction, wanted: int, tail: Any
) -> tuple[dict[str, Any], str]:
    """Lay h - rest of the wanted modes out on the grid of both factors' modes; 0 elsewhere."""
    modes = product_modes(operator, wanted)
    values = evaluate_response(response, torch.from_numpy(modes.eigenvalues))
    others = operator.nodes - wanted
    level, remark = 1.0, ""
    if others:
        level = values[-1].item() if tail == "edge" else float(tail)
        where = "the last computed mode" if tail == "edge" else "asked for"
        remark = f"; the other {others} modes are multiplied by h = {level:.4g} ({where})"
    a, b = int(modes.row.max(initial=-1)) + 1, int(modes.column.max(initial=-1)) + 1
    gain = torch.zeros(a, b, dtype=torch.float64, device="cpu")
    gain[torch.from_numpy(modes.row), torch.from_numpy(modes.column)] = values - level
    bases = modes.row_spectrum.eigenvectors[:, :a], modes.column_spectrum.eigenvectors[:, :b]
    return {"bases": bases, "gain": gain, "rest": level - 1.0}, remark
