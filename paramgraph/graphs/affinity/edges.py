"""From features to edges: unit rows, neighbour graphs and thresholds.

Similarity is the inner product of unit rows: a cosine, or a Pearson correlation where rows are centred first.
"""

import warnings

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from paramgraph.errors import NumericalWarning
from paramgraph.graphs import Data, count_nodes
from paramgraph.graphs.affinity._candidates import CHUNK_ELEMENTS, Search
from paramgraph.graphs.affinity.inner_product import (
    CACHE_ELEMENTS,
    GRID,
    check_neighbours,
    neighbour_pairs,
    pair_similarity,
)


def node_features(data: Data, wanted_by: str) -> Float[Tensor, "nodes width"]:
    """Get the features `x` (nodes, width) of the nodes, float32 or float64, for the builder `wanted_by`.

    Raises ValueError if `x` is missing (the message names the source that supplies it), not two-dimensional, complex,
    or not finite.
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
    # One number that is finite only if all are, without a mask of all.
    if features.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(features))).all()):
        broken = int((~torch.isfinite(features)).any(dim=1).sum())
        raise ValueError(
            f"{wanted_by} needs finite features, but {broken} of {features.shape[0]} rows of data.x contain "
            "NaN or infinity: look for a diverged model or an overflow in half precision"
        )
    return features


def unit_rows(
    features: Float[Tensor, "nodes width"], centred: bool = False
) -> Float64[Tensor, "nodes width"]:
    """Scale each row to length one, in float64; `centred` subtracts its mean first, so that products are correlations.

    A row without direction (all zero, or constant if `centred`) becomes zero, and one NumericalWarning says how many
    there are.
    """
    nodes, width = features.shape
    rows = features.new_empty(nodes, width, dtype=torch.float64)
    zero = torch.ones(nodes, dtype=torch.bool, device=features.device)
    # So many rows at a time as stay in the cache: each step over all of them would wait for the memory.
    size = max(1, CACHE_ELEMENTS // max(1, width) if features.device.type == "cpu" else nodes)
    for start in range(0, nodes if width else 0, size):
        part, some = features[start : start + size], rows[start : start + size]
        some.copy_(part)
        if centred or features.dtype == torch.float64:
            # The largest entry comes out first, so that no square overflows or underflows.
            largest = torch.maximum(part.amax(dim=1, keepdim=True), -part.amin(dim=1, keepdim=True)).double()
            some.div_(torch.where(largest > 0, largest, 1.0))
        if centred:
            some.sub_(some.mean(dim=1, keepdim=True))
        length = some.norm(dim=1, keepdim=True)
        # 1e-12: what the mean of equal numbers misses by rounding, relative to the largest entry.
        zero[start : start + size] = (length <= (1e-12 if centred else 0.0)).squeeze(1)
        some.mul_(torch.where(length > 0, length, 1.0).reciprocal_())
    if bool(zero.any()):
        rows[zero] = 0.0
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
    search: Search = "exact",
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Link each node with its k nearest neighbours among unit rows.

    `signed` ranks by the absolute value and keeps negative similarities, which else are no edges; `mutual` wants each
    node among the neighbours of the other. Edges (2, pairs) come once, lower node first, sorted, with their
    similarities; zero (below 1e-11) is no edge. O(nodes^2 x width) time.

    >>> neighbour_edges(unit_rows(torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])), k=1)[0].tolist()
    [[0, 0], [1, 2]]
    """
    pairs, values, chosen = neighbour_pairs(unit, k, signed=signed, search=search)
    times = torch.bincount(chosen.flatten(), minlength=len(values))
    kept = (times >= (2 if mutual else 1)) & _is_edge(values, signed)
    return pairs[:, kept], values[kept]


def linked_pairs(
    indices: Int64[Tensor, "nodes k"],
    values: Float64[Tensor, "nodes k"],
    is_link: Bool[Tensor, "nodes k"],
    *,
    mutual: bool = False,
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Unite the neighbours of all nodes to edges, each once, lower node first, sorted.

    `values` are similarities or distances, the same number from either end; `is_link` says which count; `mutual` wants
    each node among the neighbours of the other. O(nodes x k) memory, and time to sort as many.

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


def cosine_pairs(
    features: Float[Tensor, "nodes width"], pairs: Int64[Tensor, "2 pairs"], *, signed: bool = False
) -> tuple[Int64[Tensor, "2 kept"], Float64[Tensor, " kept"]]:
    """Weigh given pairs of nodes by the cosine of their features.

    What is not positive, or zero (below 1e-11) if `signed`, is no edge. O(pairs x width) time.
    """
    unit = unit_rows(features)
    pairs = pairs.to(unit.device)
    cosine = pair_similarity(unit, pairs)
    kept = _is_edge(cosine, signed)
    return pairs[:, kept], cosine[kept]


def threshold_edges(
    unit: Float64[Tensor, "nodes width"], threshold: float, *, signed: bool = False
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"]]:
    """Link all pairs of unit rows whose similarity reaches a threshold, 0 to 1, in absolute value, within 1e-11.

    Else as `neighbour_edges`. O(nodes^2 x width) time, O(chunk x nodes + pairs) memory.
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
    """Link nodes by a symmetric matrix of similarities from -1 to 1, by rank (k) or by threshold.

    The diagonal is not read. Else as `neighbour_edges` and `threshold_edges`. O(nodes^2 log nodes) time, O(nodes^2)
    memory.

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
