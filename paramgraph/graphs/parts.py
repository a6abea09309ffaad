"""Parts of a graph: its components, and a node with what is tied to it most."""

import heapq

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Int64
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.graphs.conversion import GraphLike, edge_part, graph_to_scipy, narrow_indices, weight_matrix


def connected_components(data: Data) -> Int64[Tensor, " nodes"]:
    """Label each node with its connected component.

    Edges of weight zero connect nothing, negative ones do. Labels count up in the order of each component's
    first node, so they are the same on every machine.

    Parameters
    ----------
    data : torch_geometric.data.Data
        A graph that fulfils the contract.

    Returns
    -------
    Tensor of shape (nodes,), int64, on the CPU
        0 to components - 1; O(nodes + edges) time.

    Examples
    --------
    >>> from paramgraph.graphs import undirected_graph
    >>> connected_components(undirected_graph(Data(num_nodes=4), torch.tensor([[0], [2]]), torch.ones(1)))
    tensor([0, 1, 0, 2])
    """
    return torch.from_numpy(component_labels(graph_to_scipy(data)))


def component_labels(matrix: sp.csr_array | sp.coo_array) -> Int64[np.ndarray, " nodes"]:
    """Label each row of a square sparse matrix with its component, counted in the order of their first rows.

    Entries that are not stored connect nothing; the direction of an entry plays no part. O(nodes + entries) time.
    """
    if matrix.shape[0] == 0:  # SciPy refuses the empty graph
        return np.zeros(0, dtype=np.int64)
    links = narrow_indices(sp.csr_array(matrix))
    _, labels = sp.csgraph.connected_components(links, directed=False)
    # SciPy counts in this order today, and does not promise it.
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def strongest_neighbourhood(
    graph: GraphLike, nodes: int, around: int | np.integer | None = None
) -> Int64[np.ndarray, " chosen"]:
    """Choose the nodes that grow from `around`, by default the strongest one, along the heaviest edges.

    Whichever outside node has the heaviest edge into the part comes next (Prim's order); of equal weights, the one
    fewer steps from the start, then the lower node. Where a component ends, the strongest node left is the next
    start. Strength is the sum of absolute weights; the sign of a weight does not matter. The chosen nodes, all where
    the graph has no more, are ascending. O(edges log edges) time. Raises ValueError if `nodes` is less than 1 or
    `around` is no node.

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
