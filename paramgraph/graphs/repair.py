"""Any weighted edge list made a graph that keeps the contract."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, remove_self_loops, to_edge_index, to_undirected

from paramgraph.graphs.contract import check_fields, count_nodes, is_signed, stated_weights, with_edges


def symmetrize(data: Data, rule: Literal["union", "mutual"] = "union") -> Data:
    r"""Make any weighted edge list fulfil the graph contract.

    Weights are `edge_weight`, else `weight`, else a floating `edge_attr` of one column, else 1; edges may stand in
    `adj_t`. Duplicates of one direction are summed, self-loops dropped. A pair stored in
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
        If `rule` is unknown, two fields of weights disagree, `edge_attr` alone is there and no weight, or no graph can
        have these indices and weights.

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
    # In float64, as the sum of two weights may be what float32 has no room for, and their mean not.
    directed, weight = coalesce(directed, weight.double(), num_nodes=nodes, reduce="sum")
    edge_index, (total, times) = to_undirected(
        directed, [weight, torch.ones_like(weight)], nodes, reduce="sum"
    )
    keep = times == 2 if rule == "mutual" else times > 0
    mean = (total / times)[keep].to(data.edge_weight.dtype)
    if not bool(torch.isfinite(mean).all()):
        raise ValueError(
            f"edge weights add up to more than {mean.dtype} has room for: divide all by the largest"
        )
    return with_edges(data, edge_index[:, keep], mean, is_signed(data), data.get("node_weight"))


def readable_edges(data: Any) -> Any:
    """Read weights where PyG keeps them, missing ones as 1, and edges in any order, in a shallow copy.

    `stated_weights` says from which field, and what it refuses.
    What is no `Data` with edges is handed back: what else is wrong is for `check_graph` to say.
    """
    if not isinstance(data, Data):
        return data
    if data.edge_index is None and data.get("adj_t") is not None:
        back, weight = to_edge_index(data.adj_t)
        data = with_edges(data, back.flip(0), weight, is_signed(data), data.get("node_weight"))
    if not isinstance(data.edge_index, Tensor):
        return data
    edge_index, weight = data.edge_index, stated_weights(data)
    if weight is None:
        weight = torch.ones(edge_index.shape[-1], dtype=torch.float32, device=edge_index.device)
    if edge_index.shape[:-1] == (2,) and isinstance(weight, Tensor) and weight.shape == edge_index.shape[1:]:
        key = edge_index[0] * count_nodes(data) + edge_index[1]
        if (key[1:] < key[:-1]).any():
            order = key.argsort()
            edge_index, weight = edge_index[:, order], weight[order]
    readable = copy.copy(data)
    readable.edge_index, readable.edge_weight = edge_index, weight
    for name in ("weight", "edge_attr"):  # read, and no longer in the order of the edges
        if isinstance(readable.get(name), Tensor) and readable[name].shape[:1] == edge_index.shape[1:]:
            del readable[name]
    return readable
