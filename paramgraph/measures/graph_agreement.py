"""How far two graphs have the same edges, beside what chance would give."""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded where they are used: stats takes a second
import scipy.sparse as sp

from paramgraph.graphs import GraphLike, edge_part, weight_matrix


@dataclass(frozen=True)
class EdgeAgreement:
    """Hold the agreement of two edge sets, each undirected edge counted once.

    Parameters
    ----------
    jaccard : float
        Shared edges over edges of either graph; NaN where neither graph has one.
    expected_jaccard : float
        Its mean over random graphs of the same numbers of edges.
    z_score : float
        Shared edges less their mean by chance, over the standard deviation; NaN where chance has no choice.
    ruzicka : float
        The weighted Jaccard: 1 where also all weights are equal.
    shared : int
        Edges that both graphs have.
    edges : tuple of (int, int)
        Edges of each graph.
    """

    jaccard: float
    expected_jaccard: float
    z_score: float
    ruzicka: float
    shared: int
    edges: tuple[int, int]


def edge_agreement(first: GraphLike, second: GraphLike) -> EdgeAgreement:
    r"""Compare the edges of two graphs on the same nodes.

    .. math::
        J = \frac{|E_1 \cap E_2|}{|E_1 \cup E_2|}, \qquad
        R = \frac{\sum_{ij} \min(w^1_{ij}, w^2_{ij})}{\sum_{ij} \max(w^1_{ij}, w^2_{ij})}

    For signed graphs positive and negative weights are compared apart in R, so an edge of opposite signs agrees
    in nothing; J asks only whether there is an edge. By chance two graphs of m and n of all M pairs share a
    hypergeometric number of edges; its exact mean of J stands beside J. What it cannot tell: whether graphs
    agree beyond what their degrees force (compare with the builder `permuted` for that), whether edges that
    differ join near neighbours all the same, and, of R, anything where weights are in different units.

    Parameters
    ----------
    first, second : Data, SciPy sparse array, ndarray, Tensor or networkx.Graph
        Undirected weighted graphs, whose nodes are the same and in the same order; the diagonal is ignored.

    Returns
    -------
    EdgeAgreement
        Both measures, chance, and counts. O(edges) time and memory.

    Raises
    ------
    ValueError
        If the graphs have different numbers of nodes.

    References
    ----------
    .. [1] P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11(2), 1912.

    Examples
    --------
    >>> import networkx as nx
    >>> found = edge_agreement(nx.path_graph(4), nx.cycle_graph(4))
    >>> found.jaccard, found.shared, found.edges
    (0.75, 3, (3, 4))
    """
    A, B = (sp.triu(edge_part(weight_matrix(graph)), format="csr") for graph in (first, second))
    nodes = A.shape[0]
    if B.shape[0] != nodes:
        raise ValueError(f"graphs on the same nodes are compared, got {nodes} and {B.shape[0]} nodes")
    shared = int((A != 0).multiply(B != 0).nnz)
    either = A.nnz + B.nnz - shared
    pairs = nodes * (nodes - 1) // 2
    expected, z_score = _chance(pairs, A.nnz, B.nnz, shared)
    parts = [(A.maximum(0), B.maximum(0)), ((-A).maximum(0), (-B).maximum(0))]
    smaller, larger = (
        sum(float(getattr(a, what)(b).sum()) for a, b in parts) for what in ("minimum", "maximum")
    )
    return EdgeAgreement(
        jaccard=shared / either if either else math.nan,
        expected_jaccard=expected,
        z_score=z_score,
        ruzicka=smaller / larger if larger else math.nan,
        shared=shared,
        edges=(A.nnz, B.nnz),
    )


def _chance(pairs: int, first: int, second: int, shared: int) -> tuple[float, float]:
    """Mean Jaccard of random edge sets of these sizes, and how far `shared` is from its mean."""
    if not first + second:
        return math.nan, math.nan
    low, high = max(0, first + second - pairs), min(first, second)
    if low == high:
        return low / (first + second - low), math.nan
    law = scipy.stats.hypergeom(pairs, first, second)
    # SciPy's mean() and std() also compute a kurtosis, which divides by pairs - 2.
    mean = first * second / pairs
    spread = math.sqrt(mean * (1 - first / pairs) * (pairs - second) / (pairs - 1))
    # Twelve standard deviations leave out less than 1e-30 of the law, and keep millions of edges cheap.
    count = np.arange(max(low, int(mean - 12 * spread)), min(high, int(mean + 12 * spread) + 1) + 1)
    mass = law.pmf(count)
    return float((mass * count / (first + second - count)).sum() / mass.sum()), (shared - mean) / spread
