"""What else a graph comes as: SciPy matrices and networkx graphs, both ways, and the weight matrix of anything."""

from typing import Any, TypeAlias

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, from_scipy_sparse_matrix, to_networkx

from paramgraph._checks import is_finite, is_number, is_whole
from paramgraph.graphs.contract import check_graph, count_nodes, is_signed, roles_of, with_edges
from paramgraph.graphs.repair import readable_edges
from paramgraph.nodes import ParameterGraph

Matrix: TypeAlias = sp.csr_array | np.ndarray
# Whatever can be read as a symmetric matrix of weights.
GraphLike: TypeAlias = Data | sp.sparray | sp.spmatrix | np.ndarray | Tensor | nx.Graph

# Rounding of a float32 product summed in another order; more than this is an asymmetry that was meant.
SYMMETRY_TOLERANCE = 1e-6
# What a node table says of its nodes.
NODE_FIELDS = ("layer", "head", "role")
# A dense product beats a sparse one from about a quarter of the entries on (one thread, 1,536 nodes).
DENSE_FROM = 0.25


def graph_to_scipy(data: Data) -> sp.csr_array:
    """Convert a graph to its adjacency matrix.

    Parameters
    ----------
    data : torch_geometric.data.Data
        A graph that fulfils the contract, but for the order of its edges; weights are read as by `symmetrize`.

    Returns
    -------
    csr_array of shape (nodes, nodes), float64
        Symmetric to the last bit; the diagonal is `node_weight` where the graph has one. Explicit zeros are
        dropped, so that the sparsity pattern is the graph. Indices are int32 where they fit, as scikit-learn and
        older SciPy want them. O(edges) time and memory.

    Raises
    ------
    ValueError
        If the graph breaks the contract.

    Examples
    --------
    >>> from paramgraph.graphs import undirected_graph
    >>> graph = undirected_graph(Data(num_nodes=2), torch.tensor([[0], [1]]), torch.tensor([0.5]))
    >>> graph_to_scipy(graph).toarray()
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    nodes = count_nodes(data)
    data = check_graph(readable_edges(data))
    row, col = data.edge_index.cpu().numpy()
    weight = data.edge_weight.detach().to("cpu", torch.float64).numpy()
    # Coalesced edges are CSR already: no sort.
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=nodes))])
    matrix = sp.csr_array((weight.copy(), col.copy(), start), shape=(nodes, nodes))
    if data.get("node_weight") is not None:
        diagonal = data.node_weight.detach().to("cpu", torch.float64).numpy()
        matrix = (matrix + sp.diags_array(diagonal, shape=(nodes, nodes))).tocsr()
    matrix.eliminate_zeros()
    return narrow_indices(matrix)


def graph_from_scipy(
    matrix: sp.sparray | sp.spmatrix | np.ndarray,
    like: Data | None = None,
    node_weight: Float[Tensor, " nodes"] | None = None,
) -> Data:
    """Convert a symmetric matrix to a graph.

    Stored zeros are no edges. A diagonal that is not zero becomes `node_weight`. A matrix with a negative
    off-diagonal entry gives a graph with `signed = True`.

    Parameters
    ----------
    matrix : sparse array, sparse matrix or ndarray of shape (nodes, nodes)
        Symmetric within rounding (1e-6 of the largest entry); both triangles are averaged.
        float32 stays, any other type becomes float64.
    like : torch_geometric.data.Data, optional
        Nodes whose fields (x, layer, role, ...) the graph carries on; not changed.
    node_weight : Tensor of shape (nodes,), optional
        The diagonal, instead of that of `matrix`.

    Returns
    -------
    torch_geometric.data.Data
        The graph; O(entries) time and memory.

    Raises
    ------
    ValueError
        If the matrix is not square, real, finite and symmetric, or `like` has another number of nodes.

    Examples
    --------
    >>> graph_from_scipy(np.array([[0.0, 2.0], [2.0, 0.0]])).edge_weight
    tensor([2., 2.], dtype=torch.float64)
    """
    square = _real_square(matrix)
    nodes = square.shape[0]
    data = ParameterGraph(num_nodes=nodes) if like is None else like
    if count_nodes(data) != nodes:
        raise ValueError(f"the matrix has {nodes} nodes but `like` has {count_nodes(data)}")
    largest, difference = _largest(square), _largest(square - square.T)
    if difference > SYMMETRY_TOLERANCE * largest:
        raise ValueError(
            f"the matrix is not symmetric: entries differ from their transposes by up to {difference:.3g} "
            f"(largest entry {largest:.3g}); pass (matrix + matrix.T) / 2 if that is meant"
        )
    square = ((square + square.T) * 0.5).tocsr()  # a division would make it float64
    diagonal = square.diagonal()
    if node_weight is None and diagonal.any():
        node_weight = torch.from_numpy(diagonal.copy())
    edges = square.tocoo()
    keep = (edges.row != edges.col) & (edges.data != 0)
    edge_index, weight = from_scipy_sparse_matrix(
        sp.coo_array((edges.data[keep], (edges.row[keep], edges.col[keep])), shape=edges.shape)
    )
    edge_index, weight = coalesce(edge_index, weight, num_nodes=nodes)
    signed = bool((weight < 0).any()) or is_signed(data)
    return check_graph(with_edges(data, edge_index, weight, signed, node_weight))


def graph_from_networkx(graph: nx.Graph, like: Data | None = None) -> Data:
    """Convert a networkx graph, with isolated nodes and weights.

    Nodes are numbered in the order of `graph.nodes`. The edge attribute `weight` is read, 1 where missing;
    parallel edges are summed; a loop, or else the node attribute `node_weight`, which every node has or none,
    becomes `node_weight`. The node attributes `layer` and `head`, where every node has a whole number, and `role`,
    where every node has text, are fields of the graph again, and so is `parameter` of the graph itself; other
    attributes are left behind.

    Parameters
    ----------
    graph : networkx.Graph
        A directed graph must have equal weights in both directions.
    like : torch_geometric.data.Data, optional
        Nodes whose fields the graph carries on, before those of networkx; not changed.

    Returns
    -------
    torch_geometric.data.Data
        The graph, float64 weights; O(nodes + edges) time.

    Raises
    ------
    TypeError
        If it is no networkx graph.
    ValueError
        If a directed graph is not symmetric, weights are not finite numbers (the edge or node is named), some nodes
        alone have a `node_weight`, or it differs from that of a loop.

    Examples
    --------
    >>> graph_from_networkx(nx.path_graph(3)).edge_index.tolist()
    [[0, 1, 1, 2], [1, 0, 2, 1]]
    """
    if not isinstance(graph, nx.Graph):
        raise TypeError(f"expected a networkx.Graph, got {type(graph).__name__}")
    if graph.number_of_nodes() == 0:  # networkx refuses to make a matrix of it
        return graph_from_scipy(sp.csr_array((0, 0)), like)
    for one, other, weight in graph.edges(data="weight", default=1):
        if not (is_number(weight) and is_finite(weight)):
            raise ValueError(
                f"the edge ({one!r}, {other!r}) has the weight {weight!r:.60}, which is no number that is finite: give "
                "every edge one as its attribute `weight`, or leave the attribute out, for 1"
            )
    matrix = nx.to_scipy_sparse_array(graph, dtype=np.float64)
    # One way alone is no rounding, however light beside other edges.
    if graph.is_directed() and (
        any(w and not graph.has_edge(v, u) for u, v, w in graph.edges(data="weight", default=1))
        or _largest(matrix - matrix.T) > SYMMETRY_TOLERANCE * _largest(matrix)
    ):
        raise ValueError(
            "the graph is directed, and not symmetric: its weights differ between the two directions. Say what an "
            "edge is to weigh, as by A = networkx.to_scipy_sparse_array(graph) and (A + A.T) / 2"
        )
    found = graph_from_scipy(matrix, like, _node_weight(graph, matrix.diagonal().tolist()))
    for name in NODE_FIELDS:
        values = [value for _, value in graph.nodes(data=name)]
        if name in found:
            continue
        if name == "role" and all(isinstance(value, str) for value in values):
            found[name] = values
        elif name != "role" and all(is_whole(value) for value in values):
            found[name] = torch.tensor([int(value) for value in values], dtype=torch.int64, device="cpu")
    if "parameter" not in found and isinstance(graph.graph.get("parameter"), str):
        found.parameter = graph.graph["parameter"]
    return found


def _node_weight(graph: nx.Graph, loops: list[float]) -> Tensor | None:
    """Read the node weights of a graph from its loops and the attribute; None where it has no attribute."""
    stated = list(graph.nodes(data="node_weight"))
    if all(weight is None for _, weight in stated):
        return None
    for (node, weight), loop in zip(stated, loops, strict=True):
        if weight is None and loop:
            continue
        if not (is_number(weight) and is_finite(weight)):
            raise ValueError(
                f"the node {node!r} has the node_weight {weight!r:.60}, which is no number that is finite: give every "
                "node one as its attribute `node_weight`, or none"
            )
        if loop and loop != weight:
            raise ValueError(
                f"the node {node!r} has the node_weight {weight!r} and a loop of weight {loop!r}: take the one "
                "away that is not meant"
            )
    values = [loop if weight is None else weight for (_, weight), loop in zip(stated, loops, strict=True)]
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def graph_to_networkx(data: Data) -> nx.Graph:
    """Convert a graph to networkx, with isolated nodes.

    Parameters
    ----------
    data : torch_geometric.data.Data
        A graph that fulfils the contract.

    Returns
    -------
    networkx.Graph
        Nodes 0 to nodes - 1 with the attributes `node_weight`, `layer`, `head` and `role` where the graph has them,
        edges with the attribute `weight`; a Python loop over the edges, for small graphs.

    Raises
    ------
    ValueError
        If the graph breaks the contract.

    Examples
    --------
    >>> from paramgraph.graphs import undirected_graph
    >>> graph = undirected_graph(Data(num_nodes=3), torch.tensor([[0], [1]]), torch.tensor([0.5]))
    >>> graph_to_networkx(graph).edges(data=True)
    EdgeDataView([(0, 1, {'weight': 0.5})])
    """
    graph = check_graph(readable_edges(data))
    plain = Data(edge_index=graph.edge_index, weight=graph.edge_weight, num_nodes=count_nodes(graph))
    attributes = []
    for name in ("node_weight", *NODE_FIELDS):
        values = roles_of(graph) if name == "role" else graph.get(name)
        if isinstance(values, Tensor | list) and len(values) == plain.num_nodes:
            plain[name] = values
            attributes.append(name)
    of_graph = ["parameter"] if isinstance(graph.get("parameter"), str) else []
    for name in of_graph:
        plain[name] = graph[name]
    return to_networkx(plain, attributes, ["weight"], of_graph, to_undirected="upper")


def weight_matrix(graph: GraphLike) -> sp.csr_array:
    """Read a graph as its symmetric weight matrix (nodes, nodes), the diagonal included.

    Float64, symmetric to the last bit, indices sorted, no stored zeros; the graph is not changed. Raises ValueError if
    a weight is not finite, or the matrix is not square or differs from its transpose by more than rounding, TypeError
    if `graph` is no graph, or its weights are not real numbers.
    """
    if isinstance(graph, nx.Graph):
        graph = graph_from_networkx(graph)
    if isinstance(graph, Data):
        return graph_to_scipy(graph)  # is all of that
    entries = _entries(graph)
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1]:
        raise ValueError(f"a weight matrix is square, (nodes, nodes); got shape {entries.shape}")
    if entries.dtype.kind not in "biuf":
        raise TypeError(f"weights are real numbers, got {entries.dtype}")
    # Before duplicates are added up, of which int8 has no room for 128.
    weights = sp.csr_array(entries.astype(np.float64))
    weights.sum_duplicates()
    if not np.isfinite(weights.data).all():
        raise ValueError("the graph has weights that are NaN or infinite; drop those edges")
    gap = abs(weights - weights.T)
    largest = np.abs(weights.data).max(initial=0.0)
    if gap.data.max(initial=0.0) > SYMMETRY_TOLERANCE * largest:
        raise ValueError(
            "the weight matrix is not symmetric; store both directions of every edge, as in (W + W.T) / 2"
        )
    if gap.nnz and gap.data.any():
        weights = sp.csr_array((weights + weights.T) / 2)
    weights.eliminate_zeros()
    weights.sort_indices()
    return narrow_indices(weights)


def edge_part(weights: sp.csr_array) -> sp.csr_array:
    """Take the diagonal out of a weight matrix; indices stay sorted."""
    if not weights.diagonal().any():
        return weights
    entries = weights.tocoo()
    keep = entries.row != entries.col
    edges = sp.csr_array(
        (entries.data[keep], (entries.row[keep], entries.col[keep])), shape=weights.shape, dtype=np.float64
    )
    edges.sort_indices()
    return narrow_indices(edges)


def narrow_indices(matrix: sp.csr_array) -> sp.csr_array:
    """Store indices as int32 where they fit: SciPy before 1.17.1 and scikit-learn refuse others in graph algorithms."""
    if max(matrix.nnz, *matrix.shape) > np.iinfo(np.int32).max:
        return matrix
    indices, start = (part.astype(np.int32, copy=False) for part in (matrix.indices, matrix.indptr))
    return sp.csr_array((matrix.data, indices, start), shape=matrix.shape)


def compact(matrix: sp.csr_array) -> Matrix:
    """Keep a matrix the way it multiplies fastest: dense where more than a quarter of the entries are stored."""
    size = matrix.shape[0] * matrix.shape[1]
    return matrix.toarray() if size and matrix.nnz > DENSE_FROM * size else matrix


def _entries(graph: Any) -> Any:
    """Take the entries of a matrix out of whatever it came as; SciPy or NumPy array."""
    if isinstance(graph, Tensor):
        entries = graph.detach().to("cpu", None if graph.is_complex() else torch.float64)
        if entries.layout == torch.strided:
            return entries.numpy()
        entries = entries.to_sparse(layout=torch.sparse_coo).coalesce()
        row, column = entries.indices().numpy()
        return sp.coo_array((entries.values().numpy(), (row, column)), shape=entries.shape)
    if isinstance(graph, np.ndarray) or sp.issparse(graph):
        return graph
    raise TypeError(
        "a graph is a torch_geometric Data, a SciPy sparse array, a square array or tensor, or a networkx "
        f"Graph; got {type(graph).__name__}"
    )


def _real_square(matrix: Any) -> Any:
    entries: Any = matrix if sp.issparse(matrix) else np.asarray(matrix)
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1]:
        raise ValueError(f"an adjacency matrix must be square, got shape {entries.shape}")
    if entries.dtype.kind not in "fiub":
        raise ValueError(f"an adjacency matrix must be real, got {entries.dtype}")
    # Before SciPy, whose matrices are of no half precision.
    square = sp.csr_array(entries.astype(np.float32 if entries.dtype == np.float32 else np.float64))
    broken = int((~np.isfinite(square.data)).sum())
    if broken:
        raise ValueError(f"the matrix has {broken} entries that are not finite")
    return square


def _largest(matrix: Any) -> float:
    return float(np.abs(matrix.data).max(initial=0.0))
