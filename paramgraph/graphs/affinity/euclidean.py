r"""Exact nearest neighbours by Euclidean distance, in chunks.

Candidates come from a float32 product of augmented rows, :math:`\langle (a, 1), (b, -|b|^2 / 2) \rangle`, whose
order is that of the distances from a. Their distances are computed again from the differences, in float64, so
that close points far from the origin keep all digits. Where float32 cannot prove that no neighbour is hidden,
the row's distances to all nodes are computed from the differences.
"""

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from paramgraph.graphs.affinity._candidates import CHUNK_ELEMENTS, CandidateSearch, Search
from paramgraph.graphs.affinity.inner_product import SPARE, check_neighbours, row_values

_SIGNIFICANT = 2.0**40  # distances that agree to 12 digits are a tie


def scaled_rows(features: Tensor) -> tuple[Float64[Tensor, "nodes width"], int]:
    """Divide features by a power of two, exactly, so that entries are at most 1 and no square overflows.

    The exponent comes too, as the power itself can exceed float64; it is 0 where all features are zero.
    """
    largest = float(features.abs().max()) if features.numel() else 0.0
    exponent = math.frexp(largest)[1] if largest else 0
    if largest and math.frexp(largest)[0] == 0.5:
        exponent -= 1  # a power of two itself
    # In two steps: 2^1024 is no float64, and neither is the inverse of the smallest one.
    half = exponent // 2
    rows = features.to(torch.float64) * 2.0**-half * 2.0 ** (half - exponent)
    return rows, exponent


def nearest_by_distance(
    rows: Float64[Tensor, "nodes width"], k: int, *, search: Search = "exact"
) -> tuple[Int64[Tensor, "nodes k"], Float64[Tensor, "nodes k"]]:
    """Find for each node the k others of smallest distance, exactly.

    `rows` are those of `scaled_rows`; differences below 1e-150 count as zero. Indices, nearest first (a tie, within 12
    digits, goes to the lower index), and squared distances, the same to the last bit in both directions; both
    (nodes, k). O(nodes^2 x width) time; O(nodes x (width + k)) memory and 64 MB. Raises as `nearest_neighbours` does.

    >>> line = torch.tensor([[0.0], [0.25], [1.0]], dtype=torch.float64)
    >>> nearest_by_distance(line, k=1)
    (tensor([[1], [0], [1]]), tensor([[0.0625], [0.0625], [0.5625]], dtype=torch.float64))
    """
    nodes = rows.shape[0]
    check_neighbours(k, nodes)
    centred = rows - rows.mean(dim=0)
    radius = float(centred.norm(dim=1).max())
    centred = centred / (radius or 1.0)
    square = centred.square().sum(dim=1)
    augmented = torch.cat([centred, -0.5 * square[:, None]], dim=1).to(torch.float32)
    proposals = CandidateSearch(augmented, search)
    chunks = [
        _neighbours_of(part, rows, proposals, square, radius, k)
        for part in torch.split(torch.arange(nodes, device=rows.device), max(1, CHUNK_ELEMENTS // nodes))
    ]
    return torch.cat([indices for indices, _ in chunks]), torch.cat([values for _, values in chunks])


def pair_distance(
    rows: Float64[Tensor, "nodes width"], pairs: Int64[Tensor, "2 pairs"]
) -> Float64[Tensor, " pairs"]:
    """Compute squared distances of given pairs of rows from their differences; the order of a pair changes no bit."""
    return row_values(rows, pairs[0], pairs[1][:, None], _squared_difference).squeeze(1)


def _squared_difference(one: Tensor, other: Tensor) -> Tensor:
    return one.sub_(other).square_()


def _neighbours_of(
    part: Tensor, rows: Tensor, proposals: CandidateSearch, square: Tensor, radius: float, k: int
) -> tuple[Tensor, Tensor]:
    spared = min(k + SPARE, rows.shape[0] - 1)
    asking = proposals.rows[part].clone()
    asking[:, -1] = 1.0
    best, candidates = proposals.best(asking, part, spared)
    indices, values = _rank(part, candidates, rows, k)
    if spared == rows.shape[0] - 1:
        return indices, values
    # Forward error of a float32 inner product of rows of length up to 1.5, and of rounding them; twice, as a
    # squared distance holds it twice. A reduced-precision product proves nothing.
    error = 4.0 * (rows.shape[1] + 6) * 2.0**-24 if proposals.is_full_precision else 8.0
    hidden = (square[part] - 2.0 * best[:, -1].double() - error) * radius**2
    open_rows = (values[:, -1] * (1.0 + 4.0 / _SIGNIFICANT) >= hidden).nonzero().squeeze(1)
    for some in torch.split(open_rows, max(1, len(part) // 4)):
        # All pairs by their differences: matrix products lose the digits of close points.
        distance = torch.cdist(rows[part[some]], rows, compute_mode="donot_use_mm_for_euclid_dist")
        distance[torch.arange(len(some), device=some.device), part[some]] = torch.inf
        candidates = _tied(distance).sort(dim=1, stable=True).indices[:, :spared]
        indices[some], values[some] = _rank(part[some], candidates, rows, k)
    return indices, values


def _rank(part: Tensor, candidates: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Order candidates by distance and then by index; return the first k."""
    candidates = candidates.sort(dim=1).values  # the lower index first, which a stable sort keeps
    values = row_values(rows, part, candidates, _squared_difference)
    order = _tied(values).sort(dim=1, stable=True).indices[:, :k]
    return candidates.gather(1, order), values.gather(1, order)


def _tied(values: Tensor) -> Tensor:
    """Round to 40 significant bits: what differs by less is rounding."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * _SIGNIFICANT).round() / _SIGNIFICANT, exponent)
