r"""From features to edges: unit rows, neighbour graphs and thresholds.

Similarity is the inner product of unit rows: a cosine, or a Pearson correlation where rows are centred first.
"""

import warnings
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from paramgraph.errors import NumericalWarning
from paramgraph.graphs import count_nodes
from paramgraph.graphs.affinity.candidates import CHUNK_ELEMENTS
from paramgraph.graphs.affinity.inner_product import (
    GRID,
    check_neighbours,
    nearest_neighbours,
    pair_similarity,
)


def node_features(data: Any, wanted_by: str) -> Float[Tensor, "nodes width"]:
    """Get the features of the nodes, checked.

    Parameters
    ----------
    data : torch_geometric.data.Data
        The nodes, with `x` of shape (nodes, width).
    wanted_by : str
        The builder that needs them, for the error message.

    Returns
    -------
    Tensor of shape (nodes, width)
        `x` itself if it is float32 or float64, else a float32 copy.

    Raises
    ------
    ValueError
        If `x` is missing (the message names the source that supplies it), not two-dimensional, complex, or
        not finite.

    Examples
    --------
    >>> from torch_geometric.data import Data
    >>> node_features(Data(x=torch.tensor([[1, 2]])), "cosine_knn")
    tensor([[1., 2.]])
    """
    count_nodes(data)
    features = data.get("x")
    if not isinstance(features, Tensor):
        raise ValueError(
            f"{wanted_by} needs node features, but data.x is missing: build the Data with "
            "table.to_data(paramgraph.weights(model, table)), or with another source of features"
        )
    if features.dim() != 2 or features.is_complex():
        raise ValueError(
            f"{wanted_by} needs real features of shape (nodes, width), got {features.dtype} "
            f"{tuple(features.shape)}"
        )
    features = features.detach()
    if features.dtype not in (torch.float32, torch.float64):
        features = features.to(torch.float32)
    broken = int((~torch.isfinite(features)).any(dim=1).sum())
    if broken:
        raise ValueError(
            f"{wanted_by} needs finite features, but {broken} of {features.shape[0]} rows of data.x contain "
            "NaN or infinity: look for a diverged model or an overflow in half precision"
        )
    return features


def unit_rows(
    features: Float[Tensor, "nodes width"], centred: bool = False
) -> Float64[Tensor, "nodes width"]:
    r"""Scale each row to length one, optionally after subtracting its mean.

    A row without direction (all zero, or constant if `centred`) becomes zero, and one NumericalWarning says
    how many there are.

    Parameters
    ----------
    features : Tensor of shape (nodes, width)
        Finite.
    centred : bool, default False
        Subtract from each row its mean, which makes inner products Pearson correlations.

    Returns
    -------
    Tensor of shape (nodes, width), float64
        Rows of length one or zero; O(nodes x width) time and memory.

    Warns
    -----
    NumericalWarning
        If rows have no direction.

    Examples
    --------
    >>> unit_rows(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]], dtype=torch.float64)
    """
    if features.shape[1] == 0:
        rows = torch.zeros_like(features, dtype=torch.float64)
        zero = torch.ones(features.shape[0], dtype=torch.bool, device=features.device)
    else:
        # The largest entry comes out first, so that no square overflows or underflows.
        largest = features.abs().amax(dim=1, keepdim=True).to(torch.float64)
        rows = features.to(torch.float64) / torch.where(largest > 0, largest, 1.0)
        if centred:
            rows = rows - rows.mean(dim=1, keepdim=True)
        length = rows.norm(dim=1, keepdim=True)
        # 1e-12: what the mean of equal numbers misses by rounding, relative to the largest entry.
        zero = (length <= (1e-12 if centred else 0.0)).squeeze(1)
        rows = torch.where(zero[:, None], 0.0, rows / torch.where(length > 0, length, 1.0))
    count = int(zero.sum())
    if count:
        what = "constant" if centred else "zero"
        warnings.warn(
            f"{count} of {features.shape[0]} feature rows are {what}: these nodes get no edges",
            NumericalWarning,
            stacklevel=2,
        )
    return rows


def neighbour_edges(
    unit: Float64[Tensor, "nodes width"],
    k: int,
    *,
    signed: bool = False,
    mutual: bool = False,
    search: str = "exact",
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Link each node with its k nearest neighbours.

    Parameters
    ----------
    unit : Tensor of shape (nodes, width), float64
        Rows of length one, or zero.
    k : int
        Neighbours per node, 1 to nodes - 1.
    signed : bool, default False
        Rank by the absolute value and keep negative similarities; otherwise a negative one is no edge.
    mutual : bool, default False
        Link two nodes only if each is among the neighbours of the other, instead of either.
    search : {"exact", "faiss"}, default "exact"
        Who proposes candidates, torch or faiss; the result does not depend on it.

    Returns
    -------
    pairs : Tensor of shape (2, pairs), int64
        Each edge once, lower node first, sorted.
    similarity : Tensor of shape (pairs,), float64
        Zero (below 1e-11) is no edge. O(nodes^2 x width) time.

    Examples
    --------
    >>> neighbour_edges(unit_rows(torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])), k=1)[0].tolist()
    [[0, 0], [1, 2]]
    """
    indices, values = nearest_neighbours(unit, k, signed=signed, search=search)
    return linked_pairs(indices, values, _is_edge(values, signed), mutual=mutual)


def linked_pairs(
    indices: Int64[Tensor, "nodes k"],
    values: Float64[Tensor, "nodes k"],
    is_link: Bool[Tensor, "nodes k"],
    *,
    mutual: bool = False,
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Unite the neighbours of all nodes to edges.

    Parameters
    ----------
    indices : Tensor of shape (nodes, k), int64
        Neighbours of each node.
    values : Tensor of shape (nodes, k), float64
        Their similarity or distance, the same number from either end.
    is_link : Tensor of shape (nodes, k), bool
        Which of them count.
    mutual : bool, default False
        Link two nodes only if each is among the neighbours of the other, instead of either.

    Returns
    -------
    pairs : Tensor of shape (2, pairs), int64
        Each edge once, lower node first, sorted.
    values : Tensor of shape (pairs,), float64
        Of the edges; O(nodes x k) memory, and time to sort as many.

    Examples
    --------
    >>> near, values = torch.tensor([[1], [2], [1]]), torch.tensor([[0.5], [0.7], [0.7]]).double()
    >>> linked_pairs(near, values, values > 0, mutual=True)[0].tolist()
    [[1], [2]]
    """
    nodes = indices.shape[0]
    first = torch.arange(nodes, device=indices.device)[:, None].expand_as(indices)
    first, second, values = first[is_link], indices[is_link], values[is_link]
    key, inverse, times = torch.unique(
        torch.minimum(first, second) * nodes + torch.maximum(first, second),
        return_inverse=True,
        return_counts=True,
    )
    once = values.new_empty(len(key))
    once[inverse] = values  # the same number from either end
    pairs = torch.stack([key // nodes, key % nodes])
    return (pairs[:, times == 2], once[times == 2]) if mutual else (pairs, once)


def threshold_edges(
    unit: Float64[Tensor, "nodes width"], threshold: float, *, signed: bool = False
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Link all pairs of nodes whose similarity reaches a threshold in absolute value.

    Parameters
    ----------
    unit : Tensor of shape (nodes, width), float64
        Rows of length one, or zero.
    threshold : float
        0 to 1, reached within 1e-11.
    signed : bool, default False
        Keep negative similarities; otherwise they are no edges.

    Returns
    -------
    pairs : Tensor of shape (2, pairs), int64
        Each edge once, lower node first, sorted.
    similarity : Tensor of shape (pairs,), float64
        Zero (below 1e-11) is no edge. O(nodes^2 x width) time, O(chunk x nodes + pairs) memory.

    Examples
    --------
    >>> threshold_edges(unit_rows(torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])), 0.9)[0].tolist()
    [[0], [1]]
    """
    nodes = unit.shape[0]
    found = [torch.zeros((2, 0), dtype=torch.int64, device=unit.device)]
    chunk_size = max(1, CHUNK_ELEMENTS // (2 * max(1, nodes)))
    for start in range(0, nodes, chunk_size):
        score = unit[start : start + chunk_size] @ unit[start:].T
        near = (score.abs() >= threshold - 2.0 / GRID).triu(diagonal=1)
        found.append(near.nonzero().T + start)
    pairs = torch.cat(found, dim=1)
    similarity = pair_similarity(unit, pairs)
    kept = _is_edge(similarity, signed) & (similarity.abs() >= threshold - 1.0 / GRID)
    return pairs[:, kept], similarity[kept]


def matrix_edges(
    matrix: Float64[Tensor, "nodes nodes"],
    *,
    k: int | None = None,
    threshold: float | None = None,
    signed: bool = False,
    mutual: bool = False,
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Link nodes by a given matrix of similarities, by rank or by threshold.

    Parameters
    ----------
    matrix : Tensor of shape (nodes, nodes), float64
        Symmetric, entries from -1 to 1; the diagonal is not read.
    k : int, optional
        Neighbours per node; a tie goes to the lower index.
    threshold : float, optional
        Link all pairs that reach it in absolute value instead.
    signed : bool, default False
        Rank by the absolute value and keep negative similarities; otherwise they are no edges.
    mutual : bool, default False
        Link two nodes by rank only if each is among the neighbours of the other, instead of either.

    Returns
    -------
    pairs : Tensor of shape (2, pairs), int64
        Each edge once, lower node first, sorted.
    similarity : Tensor of shape (pairs,), float64
        Zero (below 1e-11) is no edge. O(nodes^2 log nodes) time, O(nodes^2) memory.

    Examples
    --------
    >>> matrix = torch.tensor([[1.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.0]], dtype=torch.float64)
    >>> matrix_edges(matrix, k=1)[0].tolist()
    [[0, 1], [1, 2]]
    """
    if k is None:
        pairs = torch.triu_indices(len(matrix), len(matrix), offset=1, device=matrix.device)
        values = matrix[pairs[0], pairs[1]]
        kept = _is_edge(values, signed) & (values.abs() >= (threshold or 0.0) - 1.0 / GRID)
        return pairs[:, kept], values[kept]
    check_neighbours(k, len(matrix))
    grid = ((matrix.abs() if signed else matrix) * GRID).round()
    grid.fill_diagonal_(-torch.inf)
    indices = grid.sort(dim=1, descending=True, stable=True).indices[:, :k]
    values = matrix.gather(1, indices)
    return linked_pairs(indices, values, _is_edge(values, signed), mutual=mutual)


def _is_edge(similarity: Tensor, signed: bool) -> Tensor:
    """Tell similarities from the rounding of zero."""
    return (similarity.abs() if signed else similarity) * GRID >= 1.0
