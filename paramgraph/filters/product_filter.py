r"""Filters on the entries of one matrix: h of the Kronecker sum of a row operator and a column operator.

.. math:: h(L) X = X + U \left( (h(\lambda_i + \mu_j) - 1)_{ij} \circ U^T X V \right) V^T

Four methods: `separable` (heat is a product of two filters), `exact` (both complete bases), `lowrank` (the modes
of the k lowest sums) and `chebyshev` (a polynomial of the sum, no eigenvectors).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._chebyshev import design_polynomial, eigenvalues_of_small
from paramgraph.filters._chebyshev_recurrence import symmetric_polynomial
from paramgraph.filters._choice import (
    DEFAULT_RANK,
    PRODUCT_METHODS,
    Asked,
    ProductMethod,
    Tail,
    choose_method,
    level_of_others,
    pairs_for_rank,
    whole_modes,
)
from paramgraph.filters._rounding import eigenvalue_rounding
from paramgraph.filters.graph_filter import GraphFilter, prepare_filter
from paramgraph.filters.ready_filter import ReadyFilter
from paramgraph.filters.response import ResponseFunction, evaluate_response
from paramgraph.filters.responses import get_response
from paramgraph.spectra import KroneckerSum, product_modes


@dataclass(frozen=True, eq=False, repr=False)
class ProductFilter(ReadyFilter):
    """Apply one response on a Kronecker sum to any number of matrices; made by `ProductGraph.prepare_filter`.

    Operations: exact 4 rows columns (rows + columns); separable half of it from the second matrix on; lowrank
    4 rows columns a + 4 columns a b for the smaller number a of modes; chebyshev 2 order (row edges x columns +
    column edges x rows).

    Parameters
    ----------
    operator : KroneckerSum
        L, on matrices.
    response : callable
        Response h on the eigenvalues.
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
        Bound of the largest error of the response: of the polynomial's, rigorous where a polynomial resolves it.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import ProductGraph, tikhonov
    >>> smooth = ProductGraph(nx.path_graph(2), nx.path_graph(2)).prepare_filter(tikhonov(1.0))
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
    coefficients: Float[np.ndarray, " orders"] | None = None
    factors: tuple[GraphFilter, GraphFilter] | None = None
    error: float = 0.0

    def __repr__(self) -> str:
        return f"ProductFilter({self.response!r}, {self.method}, shape={self.operator.shape}: {self.reason})"

    @property
    def nodes(self) -> int:
        """Number of nodes: of entries of a matrix."""
        return self.operator.nodes

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

    @property
    def _signal_shape(self) -> tuple[int, int | None]:
        return self.operator.shape

    def _delta(self, signal: Tensor) -> Tensor:
        # A caller's autocast would round the products to half precision.
        with torch.autocast(signal.device.type, enabled=False):
            if self.factors is not None:
                first = self.factors[0].correction(signal, check=False)
                return first + self.factors[1].correction((signal + first).T, check=False).T
            if self.coefficients is not None:
                operator = self.operator
                return symmetric_polynomial(operator.times, signal, self.coefficients, operator.interval)
            parts = self._factors(signal.device, signal.dtype)
            U, V = parts["U"], parts["V"]
            delta = U @ (parts["gain"] * (U.T @ signal @ V)) @ V.T
            return delta + self.rest * signal if self.rest else delta

    def _parts(self) -> dict[str, Tensor]:
        if self.bases is None or self.gain is None:
            return {}
        return {"U": self.bases[0], "V": self.bases[1], "gain": self.gain}


def prepare_product_filter(
    operator: KroneckerSum,
    response: ResponseFunction | str,
    method: ProductMethod = "auto",
    order: int = 30,
    rank: int | None = None,
    tail: Tail = "edge",
) -> ProductFilter:
    """Choose a method and compute its numbers once; see `ProductGraph.prepare_filter`."""
    response = get_response(response)
    asked = Asked.checked(PRODUCT_METHODS, method, order, rank, tail)
    chosen, reason = choose_method(operator, response, asked)
    shared: dict[str, Any] = {}
    if chosen == "separable":
        # exp(-t (x + y)) = exp(-t x) exp(-t y)
        factors = prepare_filter(operator.rows, response), prepare_filter(operator.columns, response)
        reason += f"; rows: {factors[0].method}, columns: {factors[1].method}"
        shared = {"factors": factors, "error": factors[0].error + factors[1].error}
    elif chosen == "chebyshev":
        known = eigenvalues_of_small(operator, response)
        found = design_polynomial(response, operator.interval, order, method == "auto", known=known)
        shared = {"coefficients": found.coefficients, "error": found.error}
        reason += found.remark
    else:
        every = operator.nodes
        wanted = every if chosen == "exact" else min(DEFAULT_RANK if rank is None else int(rank), every)
        shared, remark = _gains(operator, response, wanted, tail)
        reason += remark
    return ProductFilter(operator, response, chosen, reason, **shared)


def _gains(
    operator: KroneckerSum, response: ResponseFunction, wanted: int, tail: Tail
) -> tuple[dict[str, Any], str]:
    """Lay h - rest of the wanted modes out on the grid of both factors' modes; 0 elsewhere."""
    modes = product_modes(operator, pairs_for_rank(wanted, operator.nodes, tail))
    row, column = torch.from_numpy(modes.row), torch.from_numpy(modes.column)
    values = torch.from_numpy(modes.eigenvalues)
    rounding = (
        eigenvalue_rounding(modes.row_spectrum, operator.rows.bound)[row]
        + eigenvalue_rounding(modes.column_spectrum, operator.columns.bound)[column]
    )
    found = evaluate_response(response, values[:wanted], rounding[:wanted])
    kept, cut = whole_modes(values, rounding, found, operator.nodes, tail)
    level, remark = level_of_others(found[:kept], operator.nodes, tail)
    row, column = row[:kept], column[:kept]
    a, b = (int(index.max()) + 1 if kept else 0 for index in (row, column))
    gain = torch.zeros(a, b, dtype=torch.float64, device="cpu")
    gain[row, column] = found[:kept] - level
    bases = modes.row_spectrum.eigenvectors[:, :a], modes.column_spectrum.eigenvectors[:, :b]
    return {"bases": bases, "gain": gain, "rest": level - 1.0}, cut + remark
