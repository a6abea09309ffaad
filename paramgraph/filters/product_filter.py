r"""Filters on the entries of one matrix: h of a row operator and a column operator, or of modes that were measured.

.. math:: h(L) X = X + U \left( (h(s_{ij}) - 1)_{ij} \circ U^T X V \right) V^T

with :math:`s_{ij} = \lambda_i + \mu_j` for a Kronecker sum, :math:`\lambda_i \mu_j` for a product, or any numbers.
Four methods: `separable` (heat of a sum, a power of a product), `exact` (both complete bases), `lowrank` (the k modes
of lowest graph frequency) and `chebyshev` (a polynomial of the operator, no eigenvectors).
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
    is_damped,
    level_of_others,
    pairs_for_rank,
    whole_modes,
)
from paramgraph.filters._rounding import eigenvalue_rounding
from paramgraph.filters.graph_filter import GraphFilter, prepare_filter
from paramgraph.filters.ready_filter import ReadyFilter
from paramgraph.filters.response import ResponseFunction, evaluate_response
from paramgraph.filters.responses import get_response
from paramgraph.spectra import (
    KroneckerModes,
    KroneckerOperator,
    KroneckerPair,
    product_modes,
)


@dataclass(frozen=True, eq=False, repr=False)
class ProductFilter(ReadyFilter):
    """Apply one response on an operator of entries to any number of matrices; made by `ProductGraph.prepare_filter`.

    Operations: exact 4 rows columns (rows + columns); separable half of it from the second matrix on; lowrank
    4 rows columns a + 4 columns a b for the smaller number a of modes; chebyshev 2 order (row edges x columns +
    column edges x rows).

    Parameters
    ----------
    operator : KroneckerSum, KroneckerProduct or KroneckerModes
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

    operator: KroneckerOperator
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
    operator: KroneckerOperator,
    response: ResponseFunction | str,
    method: ProductMethod = "auto",
    order: int = 30,
    rank: int | None = None,
    tail: Tail = "edge",
) -> ProductFilter:
    """Choose a method and compute its numbers once; see `ProductGraph.prepare_filter`.

    Modes that are given keep their dtype, and what lies outside them has the eigenvalue 0.
    """
    response = get_response(response)
    asked = Asked.checked(PRODUCT_METHODS, method, order, rank, tail)
    chosen, reason = choose_method(operator, response, asked)
    shared: dict[str, Any]
    if isinstance(operator, KroneckerModes):
        shared, remark = _given(operator, response)
    elif not isinstance(operator, KroneckerPair):
        raise TypeError(f"a filter of entries is of a Kronecker sum, product or modes, got {operator!r}")
    elif chosen == "separable":
        # exp(-t (x + y)) = exp(-t x) exp(-t y), and (x y)^-p = x^-p y^-p
        factors = prepare_filter(operator.rows, response), prepare_filter(operator.columns, response)
        remark = f"; rows: {factors[0].method}, columns: {factors[1].method}"
        if is_damped(response):
            remark += "; damping on each side"
        shared = {"factors": factors, "error": factors[0].error + factors[1].error}
    elif chosen == "chebyshev":
        known = eigenvalues_of_small(operator, response)
        found = design_polynomial(response, operator.interval, order, method == "auto", known=known)
        shared, remark = {"coefficients": found.coefficients, "error": found.error}, found.remark
    elif chosen == "exact":
        shared, remark = _complete(operator, response), ""
    else:
        wanted = min(DEFAULT_RANK if rank is None else int(rank), operator.nodes)
        shared, remark = _lowest(operator, response, wanted, tail)
    return ProductFilter(operator, response, chosen, reason + remark, **shared)


def _complete(operator: KroneckerPair, response: ResponseFunction) -> dict[str, Any]:
    """Evaluate h - 1 at every pair of modes."""
    found = operator.spectra
    first, second = (spectrum.eigenvalues for spectrum in found)
    values = torch.from_numpy(operator.join.outer(first.numpy(), second.numpy()))
    known = [
        eigenvalue_rounding(spectrum, part.bound)
        for spectrum, part in zip(found, operator.parts, strict=True)
    ]
    rounding = operator.rounding((first[:, None], second[None, :]), (known[0][:, None], known[1][None, :]))
    gain = evaluate_response(response, values.reshape(-1), rounding.reshape(-1)).reshape(values.shape) - 1
    return {"bases": tuple(spectrum.eigenvectors for spectrum in found), "gain": gain}


def _given(operator: KroneckerModes, response: ResponseFunction) -> tuple[dict[str, Any], str]:
    """Evaluate h - rest at every mode that was given, in float64; measured numbers have no rounding to look out for."""
    values = operator.eigenvalues.double()
    found = evaluate_response(response, values.reshape(-1)).reshape(values.shape)
    level, remark = 1.0, ""
    if not operator.complete:
        level = evaluate_response(response, values.new_zeros(1)).item()
        remark = f"; the other {operator.nodes - values.numel()} have the eigenvalue 0, h = {level:.4g}"
    bases = operator.row_basis, operator.column_basis
    return {"bases": bases, "gain": (found - level).to(bases[0]), "rest": level - 1.0}, remark


def _lowest(
    operator: KroneckerPair, response: ResponseFunction, wanted: int, tail: Tail
) -> tuple[dict[str, Any], str]:
    """Lay h - rest of the wanted modes out on the grid of both factors' modes; 0 elsewhere."""
    modes = product_modes(operator, pairs_for_rank(wanted, operator.nodes, tail))
    row, column = torch.from_numpy(modes.row), torch.from_numpy(modes.column)
    values = torch.from_numpy(modes.eigenvalues)
    first, second = modes.row_spectrum, modes.column_spectrum
    rounding = operator.rounding(
        (first.eigenvalues[row], second.eigenvalues[column]),
        (
            eigenvalue_rounding(first, operator.rows.bound)[row],
            eigenvalue_rounding(second, operator.columns.bound)[column],
        ),
    )
    found = evaluate_response(response, values[:wanted], rounding[:wanted])
    kept, cut = whole_modes(values, rounding, found, operator.nodes, tail)
    level, remark = level_of_others(found[:kept], operator.nodes, tail)
    row, column = row[:kept], column[:kept]
    a, b = (int(index.max()) + 1 if kept else 0 for index in (row, column))
    gain = torch.zeros(a, b, dtype=torch.float64, device="cpu")
    gain[row, column] = found[:kept] - level
    bases = first.eigenvectors[:, :a], second.eigenvectors[:, :b]
    return {"bases": bases, "gain": gain, "rest": level - 1.0}, cut + remark
