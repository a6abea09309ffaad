"""The symmetric weight matrix of a graph, whatever it comes as."""

from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.graphs.repair import SYMMETRY_TOLERANCE, graph_to_scipy

Matrix = sp.csr_array | np.ndarray
# What a graph may come as.
GraphLike = Data | sp.sparray | sp.spmatrix | np.ndarray | Tensor | nx.Graph

# A dense product beats a sparse one from about a quarter of the entries on (one thread, 1,536 nodes).
DENSE_FROM = 0.25


def weight_matrix(graph: Any) -> sp.csr_array:
    """Read a graph as its symmetric weight matrix, the diagonal included.

    Parameters
    ----------
    graph : Data, SciPy sparse array, ndarray, Tensor (dense or sparse) or networkx.Graph
        Undirected weighted graph; not changed.

    Returns
    -------
    csr_array of shape (nodes, nodes)
        Float64, symmetric to the last bit, indices sorted, no stored zeros.

    Raises
    ------
    ValueError
        If a weight is not finite, or the matrix is not square or differs from its transpose by more than
        rounding.
    TypeError
        If `graph` is none of these types, or its weights are not real numbers.

    Examples
    --------
    >>> weight_matrix(nx.path_graph(3)).toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    """
    entries = _entries(graph)
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1]:
        raise ValueError(f"a weight matrix is square, (nodes, nodes); got shape {entries.shape}")
    if entries.dtype.kind not in "biuf":
        raise TypeError(f"weights are real numbers, got {entries.dtype}")
    weights = sp.csr_array(entries, dtype=np.float64, copy=True)
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
    return weights


def edge_part(weights: sp.csr_array) -> sp.csr_array:
    """Take the diagonal out of a weight matrix.

    Parameters
    ----------
    weights : csr_array of shape (nodes, nodes)
        As `weight_matrix` gives it; not changed.

    Returns
    -------
    csr_array of shape (nodes, nodes)
        The entries off the diagonal, indices sorted.

    Examples
    --------
    >>> edge_part(sp.csr_array([[2.0, 1.0], [1.0, 0.0]])).toarray()
    array([[0., 1.],
           [1., 0.]])
    """
    if not weights.diagonal().any():
        return weights
    entries = weights.tocoo()
    keep = entries.row != entries.col
    edges = sp.csr_array(
        (entries.data[keep], (entries.row[keep], entries.col[keep])), shape=weights.shape, dtype=np.float64
    )
    edges.sort_indices()
    return edges


def compact(matrix: sp.csr_array) -> Matrix:
    """Keep a matrix the way it multiplies fastest.

    Parameters
    ----------
    matrix : csr_array of shape (nodes, nodes)
        Any matrix.

    Returns
    -------
    csr_array or ndarray of shape (nodes, nodes)
        A dense array where more than a quarter of the entries are stored, else the matrix itself.

    Examples
    --------
    >>> compact(sp.csr_array([[1.0, 0.0], [0.0, 1.0]]))
    array([[1., 0.],
           [0., 1.]])
    """
    size = matrix.shape[0] * matrix.shape[1]
    return matrix.toarray() if size and matrix.nnz > DENSE_FROM * size else matrix


def _entries(graph: Any) -> Any:
    """Take the entries out of whatever the graph came as; SciPy or NumPy array."""
    if isinstance(graph, Data):
        return graph_to_scipy(graph)
    if isinstance(graph, nx.Graph):
        if graph.is_directed():
            raise ValueError("the graph is directed; take graph.to_undirected()")
        # networkx refuses to give the empty matrix of an empty graph.
        return nx.to_scipy_sparse_array(graph, format="csr") if len(graph) else sp.csr_array((0, 0))
    if isinstance(graph, Tensor):
        entries = graph.detach().to("cpu", torch.float64 if graph.is_floating_point() else None)
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
