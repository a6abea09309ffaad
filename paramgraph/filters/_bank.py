"""Several filters on one signal: one set of eigenpairs, or one recurrence, for all of them."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._chebyshev import Damping
from paramgraph.filters._chebyshev_recurrence import chebyshev_products
from paramgraph.filters._choice import DEFAULT_RANK, EXACT_NODES, METHODS, Asked, Method, Tail, pairs_for_rank
from paramgraph.filters.design import FilterDesign, design_filter
from paramgraph.filters.graph_filter import GraphFilter
from paramgraph.filters.response import ResponseFunction
from paramgraph.filters.responses import get_response
from paramgraph.spectra import ShiftOperator, Spectrum, check_operator, check_signal, eigenpairs, wide


def apply_filter_bank(
    operator: ShiftOperator,
    X: Tensor,
    responses: Iterable[ResponseFunction | str],
    method: Method = "auto",
    order: int = 30,
    rank: int | None = None,
    tail: Tail = "edge",
    spectrum: Spectrum | None = None,
    damping: Damping = "none",
) -> list[Float[Tensor, " nodes *width"]]:
    """Filter one signal with several responses: one set of eigenpairs, or one recurrence, for all of them.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`.
    X : Tensor of shape (nodes,) or (nodes, width)
        Signal of any floating dtype on any device; not changed.
    responses : sequence of callable or str
        As `wavelets` makes them, or any others.
    method : {"auto", "exact", "lowrank", "chebyshev", "solve"}
        As for `apply_filter`, like all that follows, and for each response.

    Returns
    -------
    list of Tensor
        Signals h(L) X for each response, in their order. Polynomials take `order` products with the operator, however
        many responses there are.

    Raises
    ------
    ValueError
        If X has other rows or is not finite, an option is not allowed, or a response does not fit.
    TypeError
        If `responses` is no sequence.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian, wavelets
    >>> L, X = laplacian(nx.path_graph(4)), torch.tensor([1.0, 0.0, 0.0, 2.0])
    >>> parts = apply_filter_bank(L, X, wavelets(L, scales=3))
    >>> round(sum(float(part.square().sum()) for part in parts), 5)
    5.0
    """
    if isinstance(responses, str) or callable(responses) or not isinstance(responses, Iterable):
        raise TypeError(f"a filter bank takes a list of responses, got {responses!r}")
    responses = [get_response(response) for response in responses]
    check_operator(operator, "a filter bank")
    check_signal(X, operator.nodes)
    Asked.checked(METHODS, method, order, rank, tail, damping)
    plain = spectrum is None and operator.nodes and damping == "none" and responses
    if plain and (method == "lowrank" or (method == "auto" and rank is not None)):
        rank = min(DEFAULT_RANK if rank is None else rank, operator.nodes)
        spectrum = eigenpairs(operator, k=pairs_for_rank(rank, operator.nodes, tail))
    elif plain and (method == "exact" or (method == "auto" and operator.nodes <= EXACT_NODES)):
        spectrum = eigenpairs(operator)
    made = [
        design_filter(operator, response, method, order, rank, tail, spectrum, seed=0, damping=damping)
        for response in responses
    ]
    together = [place for place, (design, _) in enumerate(made) if design.coefficients is not None]
    products = _polynomials(X, [made[place][0] for place in together]) if together and X.numel() else {}
    return [
        products[together.index(place)]
        if place in together and products
        else GraphFilter(operator, response, design, precompute=False)(X, check=False)
        for place, (design, response) in enumerate(made)
    ]


def _polynomials(X: Tensor, designs: list[FilterDesign]) -> dict[int, Tensor]:
    """Apply all polynomials in one recurrence of the highest order."""
    longest = max(len(design.coefficients) for design in designs if design.coefficients is not None)
    table = np.zeros((len(designs), longest))
    for row, design in zip(table, designs, strict=True):
        if design.coefficients is not None:
            row[: len(design.coefficients)] = design.coefficients
    first = designs[0]
    signal = wide(X).reshape(len(X), -1)
    scale = None if first.scale is None else first.scale[:, None].to(signal)
    # A caller's autocast would round the products to half precision.
    with torch.autocast(X.device.type, enabled=False):
        moved = signal if scale is None else scale * signal
        deltas = chebyshev_products(first.operator, moved, table, first.operator.interval)
        deltas = deltas if scale is None else deltas / scale
        whole = (signal + deltas).to(X.dtype)
    return {
        at: X.clone() if design.is_zero else whole[at].reshape(X.shape) for at, design in enumerate(designs)
    }
