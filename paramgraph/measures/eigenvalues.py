"""Measures of whole graphs that are read off their eigenvalues: connectivity, distance of spectra."""

import numpy as np
import scipy  # its parts are loaded where they are used: stats takes a second
import scipy.linalg
import torch
from jaxtyping import Float

from paramgraph.graphs import GraphLike
from paramgraph.spectra import ShiftOperator, Spectrum, laplacian, second_eigenvalue

# All eigenvalues of 8,192 nodes take 0.5 GB and minutes.
LARGEST_DENSE = 8192


def algebraic_connectivity(graph: GraphLike | ShiftOperator) -> float:
    r"""Measure how hard it is to cut a graph in two: the second smallest eigenvalue of L = D - W.

    .. math:: a(G) = \min_{x \perp 1} \frac{x^T L x}{x^T x}

    0 exactly where the graph is disconnected; at most n / (n - 1) times the smallest degree. What it cannot tell:
    anything of a disconnected graph's parts (`spectral_gap` can); it grows with the weights, so compare graphs
    of one scale only; and one loose node makes it small however tight the rest is.

    Parameters
    ----------
    graph : Data, SciPy sparse array, ndarray, Tensor, networkx.Graph or ShiftOperator
        Undirected graph of weights that are not negative, or `laplacian(graph, None)` of one.

    Returns
    -------
    float
        In the units of the weights. At most the cost of `eigenpairs` for two modes.

    Raises
    ------
    ValueError
        If there are fewer than two nodes, a weight is negative, or the operator is no combinatorial Laplacian.

    References
    ----------
    .. [1] M. Fiedler, "Algebraic connectivity of graphs", Czechoslovak Mathematical Journal 23(2), 1973.

    Examples
    --------
    >>> import networkx as nx
    >>> round(algebraic_connectivity(nx.complete_graph(5)), 6)
    5.0
    >>> algebraic_connectivity(nx.empty_graph(3))
    0.0
    """
    operator = graph if isinstance(graph, ShiftOperator) else laplacian(graph, None)
    if operator.kind != "laplacian" or operator.normalization is not None or operator.signs is not None:
        raise ValueError(
            f"algebraic connectivity is that of laplacian(graph, normalization=None) without negative weights, got "
            f"{operator!r}; give the graph itself"
        )
    if operator.nodes < 2:
        raise ValueError(f"a graph of {operator.nodes} nodes has no second eigenvalue")
    if operator.components > 1:
        return 0.0
    return second_eigenvalue(operator)


def spectral_distance(
    first: GraphLike | ShiftOperator | Spectrum, second: GraphLike | ShiftOperator | Spectrum
) -> float:
    r"""Measure how far the eigenvalues of two graphs lie apart.

    .. math:: W_1 = \int_0^1 |\lambda_1(q) - \lambda_2(q)| \, dq

    with :math:`\lambda(q)` the quantiles of the eigenvalues, by default of the symmetric normalized Laplacian: the
    mean distance that an eigenvalue must be moved, at most 2. It needs no matching of nodes and is the same
    whatever the nodes are called, so graphs of different sizes can be compared. What it cannot tell: whether two
    graphs have one edge in common, and cospectral graphs from each other (the star of five nodes and a ring of
    four with a loner, for the adjacency); of 0 it does not follow that graphs are equal.

    Parameters
    ----------
    first, second : graph, ShiftOperator or Spectrum
        A graph as `laplacian` takes it; for signed graphs or another normalization, operators of one kind, as
        `adjacency(graph)`; or complete spectra.

    Returns
    -------
    float
        In the units of the eigenvalues. O(nodes^3) time and O(nodes^2) memory.

    Raises
    ------
    ValueError
        If the two are not of one kind, a spectrum is not complete, or a graph has no nodes or more than 8,192.

    References
    ----------
    .. [1] J. Gu, B. Hua, S. Liu, "Spectral distances on graphs", Discrete Applied Mathematics 190, 2015.

    Examples
    --------
    >>> import networkx as nx
    >>> ring = nx.cycle_graph(6)
    >>> spectral_distance(ring, nx.relabel_nodes(ring, {0: 3, 3: 0}))
    0.0
    >>> round(spectral_distance(nx.complete_graph(2), nx.empty_graph(2)), 6)
    1.0
    """
    values, kinds = zip(*(_all_eigenvalues(graph) for graph in (first, second)), strict=True)
    if kinds[0][0] != kinds[1][0] or (None not in kinds[0] + kinds[1] and kinds[0] != kinds[1]):
        raise ValueError(f"eigenvalues of one kind of operator are compared, got {kinds[0]} and {kinds[1]}")
    # Rounding of equal spectra is no distance: a solver leaves some 1e-15 of the largest eigenvalue per value.
    distance = float(scipy.stats.wasserstein_distance(*values))
    largest = max(np.abs(part).max() for part in values)
    return 0.0 if distance <= 1e-12 * largest else distance


def _all_eigenvalues(
    graph: GraphLike | ShiftOperator | Spectrum,
) -> tuple[Float[np.ndarray, " nodes"], tuple[str, str | None]]:
    """Eigenvalues, and of which operator; a spectrum does not know its normalization."""
    if isinstance(graph, Spectrum):
        if not graph.complete:
            raise ValueError(
                f"a distance of spectra needs all {graph.nodes} modes, this one holds {graph.modes}; give the graph"
            )
        values = graph.eigenvalues.detach().to("cpu", torch.float64).numpy()
        kind: tuple[str, str | None] = (graph.kind, None)
    else:
        operator = graph if isinstance(graph, ShiftOperator) else laplacian(graph)
        if operator.nodes > LARGEST_DENSE:
            raise ValueError(
                f"all eigenvalues of {operator.nodes} nodes are too many for a dense solver (at most "
                f"{LARGEST_DENSE}); compare parts of the graphs"
            )
        symmetric = operator.symmetrized()[0]
        values = scipy.linalg.eigvalsh(symmetric.to_dense()) if operator.nodes else np.zeros(0)
        kind = (operator.kind, str(operator.normalization))
    if not len(values):
        raise ValueError("a graph without nodes has no eigenvalues to compare")
    return values, kind
