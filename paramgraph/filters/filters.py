r"""Graph filters: h(L) applied to a signal on the nodes.

.. math:: h(L) X = X + U (h(\Lambda) - I) U^T X

Four methods behind one name: `exact` (complete eigenbasis), `lowrank` (some modes, one value for all others),
`chebyshev` (a polynomial of the operator, no eigenvectors) and `solve` (one linear system, for Tikhonov). All are
corrections of the signal, so that the identity response changes no bit.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from paramgraph.filters.design import design_filter
from paramgraph.filters.graph_filter import GraphFilter
from paramgraph.spectra import ShiftOperator, Spectrum

__all__ = ["GraphFilter", "apply_filter", "prepare_filter"]


def prepare_filter(
    operator: ShiftOperator,
    response: Any,
    method: str = "auto",
    order: Any = 30,
    rank: Any = None,
    tail: Any = "edge",
    spectrum: Spectrum | None = None,
    seed: Any = 0,
    damping: Any = "none",
) -> GraphFilter:
    """Prepare h(L) once, to filter many signals.

    Parameters
    ----------
    operator : ShiftOperator
        From `laplacian` or `adjacency`; "rw" goes through its symmetric similar matrix.
    response : callable or str
        h on tensors of eigenvalues, such as `heat(5.0)`, or the name of one without options.
    method : {"auto", "exact", "lowrank", "chebyshev", "solve"}
        "auto": lowrank with a `rank` or an incomplete `spectrum`, exact up to 4,096 nodes, else solve for Tikhonov
        where a sparse factorization is cheap, else chebyshev of the order that brings the error of the response
        below 1e-6, or solve where no order up to 500 does. What runs, and why, is in `.method` and `.reason`.
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
    damping : {"none", "jackson"}, default "none"
        Of the polynomial's coefficients, against over- and undershooting at a jump; "auto" then takes chebyshev
        of the given order. Its smoothing is in `.error`, and no warning is given.

    Returns
    -------
    GraphFilter
        Exact: O(nodes^3) once. Lowrank: the eigensolver once. Chebyshev: nothing but 8,193 values of h. Solve: one
        factorization, or nothing for conjugate gradients.

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
    >>> from paramgraph import heat
    >>> from paramgraph import laplacian
    >>> prepare_filter(laplacian(nx.cycle_graph(8)), heat(1.0), rank=3).reason
    'rank given; the other 5 modes are multiplied by h = 0.7461 (the last computed mode)'
    """
    design, response = design_filter(operator, response, method, order, rank, tail, spectrum, seed, damping)
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
    damping: Any = "none",
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
    method : {"auto", "exact", "lowrank", "chebyshev", "solve"}
        How. "auto" is as there, but takes solve for Tikhonov from 1,001 nodes on: one linear system costs less
        than all eigenpairs. What ran is logged; `prepare_filter` has it as `.reason`.
    order, rank : int, optional
        Order of the polynomial; number of modes.
    tail : {"edge", 0, 1}
        What happens to the other modes.
    spectrum : Spectrum, optional
        Of this operator.
    damping : {"none", "jackson"}, default "none"
        Of the polynomial's coefficients.

    Returns
    -------
    Tensor of the shape of `X`
        h(L) X, of its dtype and device, differentiable in X.

    Raises
    ------
    ValueError
        If X has other rows or is not finite, or an option is not allowed.
    NotConvergedError
        If conjugate gradients of "solve" do not converge.

    Examples
    --------
    >>> import networkx as nx, torch
    >>> from paramgraph import lowpass
    >>> from paramgraph import laplacian
    >>> apply_filter(laplacian(nx.complete_graph(2), None), torch.tensor([1.0, 3.5]), lowpass(1.0))
    tensor([2.2500, 2.2500])
    """
    design, response = design_filter(
        operator, response, method, order, rank, tail, spectrum, seed=0, damping=damping, once=True
    )
    return GraphFilter(operator, response, design, precompute=False)(X)
