"""The part of a large graph that is looked at: a node and what is tied to it most."""

import heapq
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int64

from paramgraph.graphs._weight_matrix import edge_part, weight_matrix


def strongest_neighbourhood(graph: Any, nodes: int, around: Any = None) -> Int64[np.ndarray, " chosen"]:
    """Choose the nodes that grow from one along the heaviest edges.

    Whichever outside node has the heaviest edge into the part comes next (Prim's order); of equal weights, the one
    fewer steps from the start, then the lower node. Where a component ends, the strongest node left is the next
    start. The sign of a weight does not matter.

    Parameters
    ----------
    graph : Data, SciPy sparse array, ndarray, Tensor or networkx.Graph
        Undirected weighted graph.
    nodes : int
        How many to choose; all where the graph has no more.
    around : int, optional
        Where to begin; by default at the node with the largest sum of absolute weights.

    Returns
    -------
    ndarray of shape (chosen,)
        Nodes, ascending. O(edges log edges) time.

    Raises
    ------
    ValueError
        If `nodes` is less than 1 or `around` is no node.

    Examples
    --------
    >>> import networkx as nx
    >>> strongest_neighbourhood(nx.path_graph(9), 3, around=4)
    array([3, 4, 5])
    """
    W: sp.csr_array = abs(edge_part(weight_matrix(graph)))
    count = W.shape[0]
    if nodes < 1:
        raise ValueError(f"a neighbourhood has at least one node, got {nodes}")
    if around is not None and not 0 <= around < count:
        raise ValueError(f"around must be a node, 0 to {count - 1}, got {around}")
    # Stable, so that of equally strong nodes the lower one comes first.
    starts = np.argsort(-np.asarray(W.sum(axis=1)).reshape(-1), kind="stable").tolist()
    if around is not None:
        starts.insert(0, int(around))
    chosen: set[int] = set()
    heap: list[tuple[float, int, int]] = []
    while len(chosen) < min(nodes, count):
        _, steps, node = heapq.heappop(heap) if heap else (0.0, 0, starts.pop(0))
        if node in chosen:
            continue
        chosen.add(node)
        edges = slice(W.indptr[node], W.indptr[node + 1])
        for other, weight in zip(W.indices[edges].tolist(), W.data[edges].tolist(), strict=True):
            if other not in chosen:
                heapq.heappush(heap, (-weight, steps + 1, other))
    return np.array(sorted(chosen), dtype=np.int64)
