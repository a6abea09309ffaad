"""Graphs as PyG `Data`: repair, and split into components.

What a graph must fulfil stands in `paramgraph.graphs.contract`, SciPy and networkx in
`paramgraph.graphs.conversion`; their names are here too.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Int64
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from paramgraph.graphs.contract import (
    check_fields,
    check_graph as check_graph,
    count_nodes as count_nodes,
    undirected_graph as undirected_graph,
    with_edges,
)
from paramgraph.graphs.conversion import (
    SYMMETRY_TOLERANCE as SYMMETRY_TOLERANCE,
    graph_from_networkx as graph_from_networkx,
    graph_from_scipy as graph_from_scipy,
    graph_to_networkx as graph_to_networkx,
    graph_to_scipy as graph_to_scipy,
    readable_edges,
)


def symmetrize(data: Any, rule: str = "union") -> Data:
    r"""Make any weighted edge list fulfil the graph contract.

    Duplicates of one direction are summed, self-loops dropped, missing weights read as 1. A pair stored in
    both directions gets the mean of both weights; a pair stored in one direction keeps its weight under
    "union" and is dropped under "mutual". Weights other than float64 become float32. So
    `Compose([KNNGraph(k=3), symmetrize])` is a builder.

    Parameters
    ----------
    data : torch_geometric.data.Data
        Edges in any order and direction; not changed.
    rule : {"union", "mutual"}, default "union"
        What happens to a pair that is stored in one direction only.

    Returns
    -------
    torch_geometric.data.Data
        A shallow copy with the repaired edges; O(edges log edges) time, O(edges) memory.

    Raises
    ------
    ValueError
        If `rule` is unknown, or no graph can have these indices and weights.

    Examples
    --------
    >>> directed = Data(edge_index=torch.tensor([[1, 1, 2], [0, 1, 2]]), num_nodes=3)
    >>> symmetrize(directed).edge_index.tolist()
    [[0, 1], [1, 0]]
    """
    if rule not in ("union", "mutual"):
        raise ValueError(f"rule must be 'union' or 'mutual', got {rule!r}")
    nodes = count_nodes(data)
    data = readable_edges(data)
    weight = data.edge_weight
    if isinstance(data.edge_index, Tensor) and isinstance(weight, Tensor) and not weight.is_complex():
        data.edge_weight = weight if weight.dtype == torch.float64 else weight.to(torch.float32)
    check_fields(data, nodes)
    directed, weight = remove_self_loops(data.edge_index, data.edge_weight)
    directed, weight = coalesce(directed, weight, num_nodes=nodes, reduce="sum")
    edge_index, (total, times) = to_undirected(
        directed, [weight, torch.ones_like(weight)], nodes, reduce="sum"
    )
    keep = times == 2 if rule == "mutual" else times > 0
    return with_edges(
        data, edge_index[:, keep], (total / times)[keep], data.get("signed") is True, data.get("node_weight")
    )


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
    >>> connected_components(undirected_graph(Data(num_nodes=4), torch.tensor([[0], [2]]), torch.ones(1)))
    tensor([0, 1, 0, 2])
    """
    matrix = graph_to_scipy(data)
    if matrix.shape[0] == 0:
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    _, labels = sp.csgraph.connected_components(matrix, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[inverse].astype(np.int64))
