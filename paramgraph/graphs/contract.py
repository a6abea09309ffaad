"""The graph contract on PyG `Data`: what it is, its check, and how a graph that keeps it is put together.

A graph of this package is undirected with both directions stored, coalesced (sorted by row, then column)
and without self-loops: `edge_index` int64 (2, edges), `edge_weight` float (edges,), finite and symmetric,
non-negative unless `data.signed` is true, with `num_nodes` set. The diagonal of the adjacency matrix, where a
graph has one, is the node attribute `node_weight` (nodes,) and never a loop, so that degrees and PyG layers
see edges only. All other fields of a `Data` (x, layer, head, role, ...) travel along untouched.
"""

import copy
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

# Fields that tell of the edges of one graph and go with them; `connecting_edges` and `rewired_share` are what
# builders say of their own work.
OF_THE_EDGES = ("edge_attr", "adj_t", "node_weight", "connecting_edges", "rewired_share")
# Where PyG and its users keep the weights of edges; the first that is there counts.
WEIGHT_FIELDS = ("edge_weight", "weight", "edge_attr")
_REPAIR = "paramgraph.symmetrize(data) repairs direction, order, loops and missing weights"


def count_nodes(data: object) -> int:
    """Count the nodes that a `Data` declares, without guessing from its edges.

    `num_nodes`, or the rows of `x`. Raises TypeError for what is no `Data`, ValueError where neither is there or they
    disagree: guessed from the edges, isolated nodes at the end would be lost.
    """
    if not isinstance(data, Data):
        raise TypeError(f"expected a torch_geometric.data.Data, got {type(data).__name__}")
    declared: Any = data.num_nodes if "num_nodes" in data else None
    rows: Any = data.x.shape[0] if isinstance(data.x, Tensor) and data.x.dim() else None
    if declared is None and rows is None:
        raise ValueError("num_nodes is not set: set data.num_nodes, or data.x with one row per node")
    if declared is not None and rows is not None and int(declared) != rows:
        raise ValueError(f"num_nodes is {declared} but x has {rows} rows: they must agree")
    return int(declared if declared is not None else rows)


def check_graph(data: object, signed: bool = False) -> Data:
    """Check the graph contract and return the graph itself, unchanged.

    Parameters
    ----------
    data : torch_geometric.data.Data
        The graph.
    signed : bool, default False
        Allow negative weights even where `data.signed` does not.

    Returns
    -------
    torch_geometric.data.Data
        `data`, the same object; O(edges) time and memory.

    Raises
    ------
    TypeError
        If `data` is not a `torch_geometric.data.Data`.
    ValueError
        Naming the first thing that is broken and how to repair it.

    Examples
    --------
    >>> check_graph(Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(1), num_nodes=2))
    Traceback (most recent call last):
    ...
    ValueError: the graph is not undirected: edge (0, 1) has no edge (1, 0); ...
    """
    nodes = count_nodes(data)
    assert isinstance(data, Data)  # count_nodes has refused everything else
    check_fields(data, nodes)
    row, col = data.edge_index.cpu().numpy()
    if (row == col).any():
        node = int(row[row == col][0])
        raise ValueError(
            f"edge_index has a self-loop at node {node}: a diagonal goes into node_weight; {_REPAIR}"
        )
    key = row * nodes + col
    if (key[1:] <= key[:-1]).any():
        raise ValueError(
            f"edge_index is not coalesced (sorted by row, then column, no duplicates); {_REPAIR}"
        )
    weight = data.edge_weight.detach().to("cpu", torch.float64).numpy()
    negative = int((weight < 0).sum())
    if negative and not (signed or is_signed(data)):
        raise ValueError(f"{negative} edge weights are negative: set data.signed = True if they are meant")
    _check_symmetry(row, col, weight, nodes)
    return data


def is_signed(data: Data) -> bool:
    """Say whether a graph declares that its weights may be negative: `signed`, or that of any graph of a batch."""
    return _any_true(data.get("signed"))


def _any_true(declared: object) -> bool:
    if isinstance(declared, list | tuple):
        return any(map(_any_true, declared))
    if isinstance(declared, bool | np.bool_):
        return bool(declared)
    # A tensor is asked by itself: made anew, it would be on the default device.
    return isinstance(declared, np.ndarray | Tensor) and bool(declared.any())


def roles_of(data: Data) -> list[str] | None:
    """List the role of each node, of all graphs of a batch one after another; None where `data.role` is missing.

    A ValueError where there is not one for each node: a PyG transform that adds nodes does not know of it.
    """
    roles = data.get("role")
    if not isinstance(roles, list | tuple):
        return None
    flat = [name for part in roles for name in (part if isinstance(part, list | tuple) else [part])]
    nodes = count_nodes(data)
    if len(flat) != nodes:
        raise ValueError(
            f"role names {len(flat)} nodes, but there are {nodes}: after a transform that adds nodes or takes some "
            "away, set data.role anew, or delete it"
        )
    return [str(name) for name in flat]


def stated_weights(data: Data) -> Tensor | None:
    """Read the weights of a `Data`'s edges from the one field that has them; None where it has none, and all count 1.

    `edge_weight` first, else `weight` (as `from_networkx` names them), else a floating `edge_attr` of one column (GDC,
    Distance). A ValueError names the fields where two disagree, and an `edge_attr` that is there alone and no weight.
    """
    edges = data.edge_index.shape[-1]
    found: dict[str, Tensor] = {}
    for name in WEIGHT_FIELDS:
        values = data.get(name)
        # `weight` may be anything of a caller's own; what has a row for each edge is of the edges.
        if values is None or (name == "weight" and not _has_rows(values, edges)):
            continue
        tensor = isinstance(values, Tensor)
        one = tensor and values.shape in ((edges,), (edges, 1))
        if one and (values.is_floating_point() or name != "edge_attr"):
            whole = name != "edge_weight" and not (values.is_floating_point() or values.is_complex())
            found[name] = (values.double() if whole else values).reshape(edges)
        elif name == "edge_weight" and isinstance(values, Tensor):
            return values  # what is wrong with it is for `check_fields` to say
        elif not found and edges:
            got = (
                f"shape {tuple(values.shape)} and dtype {values.dtype}"
                if tensor
                else f"type {type(values).__name__}"
            )
            raise ValueError(
                f"{name} has the {got}, which is not one weight for each of the {edges} edges: set data.edge_weight "
                "to a tensor of the weights that are meant (torch.ones for none)"
            )
    names = list(found)
    for name in names[1:]:
        if not torch.equal(found[name].double(), found[names[0]].double()):
            raise ValueError(
                f"{names[0]} and {name} hold different weights of the edges: delete the one that is not meant, as in "
                f"`del data.{name}`"
            )
    return found[names[0]] if found else None


def _has_rows(values: object, rows: int) -> bool:
    if isinstance(values, Tensor | np.ndarray):
        return values.shape[:1] == (rows,)
    return isinstance(values, list | tuple) and len(values) == rows


def undirected_graph(
    data: Data,
    pairs: Int[Tensor, "2 pairs"],
    weight: Float[Tensor, " pairs"],
    *,
    signed: bool = False,
    node_weight: Float[Tensor, " nodes"] | None = None,
) -> Data:
    """Give a `Data` the edges of an undirected graph, each named once.

    The result is a shallow copy that keeps the graph contract; `node_weight` is the diagonal of the adjacency matrix.
    `pairs` of shape (2, pairs) hold each edge once, in either direction, without loops and duplicates. Edges,
    `node_weight` and `edge_attr` of an earlier graph go, everything else stays. O(pairs log pairs) time.

    >>> graph = undirected_graph(Data(num_nodes=3), torch.tensor([[2], [0]]), torch.tensor([0.5]))
    >>> graph.edge_index.tolist(), graph.edge_weight.tolist()
    ([[0, 2], [2, 0]], [0.5, 0.5])
    """
    nodes = count_nodes(data)
    edge_index = torch.cat([pairs, pairs.flip(0)], dim=1).to(torch.int64)
    order = torch.argsort(edge_index[0] * nodes + edge_index[1])
    return with_edges(data, edge_index[:, order], torch.cat([weight, weight])[order], signed, node_weight)


def unit_weights(data: Data, count: int) -> Float[Tensor, " count"]:
    """Make weights of one for edges that do not depend on features: float64 where `x` is, else float32.

    They are on the device of `x`, or on the CPU.
    """
    features = data.get("x")
    has_features = isinstance(features, Tensor)
    double = has_features and features.dtype == torch.float64
    return torch.ones(
        count,
        dtype=torch.float64 if double else torch.float32,
        device=features.device if has_features else "cpu",
    )


def dense_graph(data: Data, matrix: Float[Tensor, "nodes nodes"]) -> Data:
    """Give a `Data` the signed graph of a symmetric matrix, its diagonal as `node_weight`.

    The matrix (nodes, nodes) is symmetric to the last bit; entries that are exactly zero are no edges. O(nodes^2).

    >>> graph = dense_graph(Data(num_nodes=2), torch.tensor([[1.0, -2.0], [-2.0, 3.0]]))
    >>> graph.edge_weight.tolist(), graph.node_weight.tolist()
    ([-2.0, -2.0], [1.0, 3.0])
    """
    nodes, diagonal = len(matrix), matrix.diagonal().clone()
    if nodes > 1 and int(matrix.count_nonzero() - diagonal.count_nonzero()) == nodes * (nodes - 1):
        # All nodes are linked, as nearly always: written down in a third of the time of looking for edges.
        own = torch.arange(nodes, device=matrix.device)
        edge_index = own.new_empty(2, nodes * (nodes - 1))
        edge_index[0].view(nodes, nodes - 1).copy_(own[:, None])
        # Behind its first entry each nodes entries are followed by one of the diagonal, of rows of columns too.
        edge_index[1].view(nodes - 1, nodes).copy_(own.repeat(2).unfold(0, nodes, 1)[1:nodes])
        weight = matrix.flatten()[1:].view(nodes - 1, nodes + 1)[:, :-1].clone().flatten()
        return with_edges(data, edge_index, weight, True, diagonal)
    edges = matrix != 0
    edges.fill_diagonal_(False)
    return with_edges(data, edges.nonzero().T.contiguous(), matrix[edges], True, diagonal)


def with_edges(
    data: Data, edge_index: Tensor, weight: Tensor, signed: bool, node_weight: Tensor | None
) -> Data:
    """Copy `data` with these coalesced edges in place of those of an earlier graph."""
    graph = copy.copy(data)
    graph.num_nodes = count_nodes(data)
    graph.edge_index, graph.edge_weight = edge_index, weight
    graph.signed = signed
    edges = data.edge_index.shape[-1] if isinstance(data.get("edge_index"), Tensor) else None
    earlier = isinstance(data.get("weight"), Tensor) and data.weight.shape[:1] == (edges,)
    for name in (*OF_THE_EDGES, *(("weight",) if earlier else ())):
        if name in graph:
            del graph[name]
    if node_weight is not None:
        graph.node_weight = node_weight
    return graph


def check_fields(data: Any, nodes: int) -> None:
    """Check what the fields are; the edges they name come later."""
    for name in ("edge_index", "edge_weight"):
        if not isinstance(data.get(name), Tensor):
            raise ValueError(f"{name} is missing, or no tensor; {_REPAIR}")
    stated_weights(data)
    edge_index, weight = data.edge_index, data.edge_weight
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(
            f"edge_index must be int64 of shape (2, edges), got {edge_index.dtype} {tuple(edge_index.shape)}"
        )
    _check_values("edge_weight", weight, edge_index.shape[1], "edges")
    if data.get("node_weight") is not None:
        _check_values("node_weight", data.node_weight, nodes, "nodes")
    if edge_index.numel():
        low, high = int(edge_index.min()), int(edge_index.max())
        if low < 0 or high >= nodes:
            bad = low if low < 0 else high
            raise ValueError(f"edge_index names node {bad}, but the {nodes} nodes are 0 to {nodes - 1}")


def _check_values(name: str, values: Tensor, count: int, what: str) -> None:
    if not values.is_floating_point() or values.shape != (count,):
        raise ValueError(
            f"{name} must be float of shape ({what},) = ({count},), got {values.dtype} {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} has {int((~torch.isfinite(values)).sum())} values that are not finite")


def _check_symmetry(row: np.ndarray, col: np.ndarray, weight: np.ndarray, nodes: int) -> None:
    """Compare the matrix with its transpose: CSR to CSC is a counting sort, cheaper than sorting keys."""
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=nodes))])
    matrix = sp.csr_array((weight, col, start), shape=(nodes, nodes))
    transposed = matrix.T.tocsr()
    if not (
        np.array_equal(matrix.indptr, transposed.indptr)
        and np.array_equal(matrix.indices, transposed.indices)
    ):
        stored = set(zip(row.tolist(), col.tolist(), strict=True))
        i, j = next((i, j) for i, j in zip(row.tolist(), col.tolist(), strict=True) if (j, i) not in stored)
        raise ValueError(f"the graph is not undirected: edge ({i}, {j}) has no edge ({j}, {i}); {_REPAIR}")
    if not np.array_equal(matrix.data, transposed.data):
        at = int(np.argmax(matrix.data != transposed.data))
        raise ValueError(
            f"edge_weight is not symmetric: {matrix.data[at]} for edge ({row[at]}, {col[at]}) but "
            f"{transposed.data[at]} for its reverse; {_REPAIR}"
        )
