"""Exact nearest neighbours by inner product, in chunks.

Memory is O(chunk x nodes + nodes x width): no matrix of all pairs exists. The candidates for the neighbours
of a node come from a float32 product where its rounding error provably cannot hide a neighbour, and from a
float64 product otherwise. Their similarities are then computed again, pair by pair, in float64 and compared
on a grid of 2^-36: what differs by less is a tie, and a tie goes to the lower index. So the result does not
depend on the chunk size or on how a BLAS library orders its sums.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from paramgraph.graphs.affinity._candidates import CHUNK_ELEMENTS, CandidateSearch, Search

SPARE = 8  # candidates beyond k: float32 then separates the k-th from the rest on nearly all real features
GRID = 2.0**36  # 1.5e-11: far above the rounding of a float64 inner product, far below any real difference
_CACHE_ELEMENTS = 2**19  # 4 MB of float64: twice as fast as gathering all pairs of a chunk first
_INDEX_BITS = 26  # 36 bits of similarity, its sign and 26 bits of index share one int64 key


def nearest_neighbours(
    unit: Float64[Tensor, "nodes width"],
    k: int,
    *,
    signed: bool = False,
    search: Search = "exact",
) -> tuple[Int64[Tensor, "nodes k"], Float64[Tensor, "nodes k"]]:
    """Find for each node the k others of largest similarity, exactly.

    `unit` has rows of length one, or zero; `signed` ranks by the absolute value. Out come indices, nearest first (a tie
    goes to the lower index), and similarities, the same to the last bit in both directions, clipped to [-1, 1]; both
    (nodes, k). O(nodes^2 x width) time, 32 MB at a time; `search`, who proposes candidates, does not change the result.
    Raises ValueError if k is not from 1 to nodes - 1, and as `CandidateSearch` does.

    >>> nearest_neighbours(torch.eye(3, dtype=torch.float64), k=2)[0].tolist()  # ties
    [[1, 2], [0, 2], [0, 1]]
    """
    nodes = unit.shape[0]
    check_neighbours(k, nodes)
    proposals = CandidateSearch(unit.to(torch.float32), search)
    chunks = [
        _neighbours_of(rows, unit, proposals, k, signed)
        for rows in torch.split(torch.arange(nodes, device=unit.device), max(1, CHUNK_ELEMENTS // nodes))
    ]
    return torch.cat([indices for indices, _ in chunks]), torch.cat([values for _, values in chunks])


def check_neighbours(k: int, nodes: int) -> None:
    """Raise ValueError if each of some nodes cannot have k neighbours."""
    if not 1 <= k < nodes:
        allowed = f"1 to {nodes - 1}" if nodes > 1 else "none, as there is no second node"
        raise ValueError(
            f"k={k} neighbours asked of a graph of {nodes} nodes; allowed: {allowed}. "
            "Lower k, or leave so small a table out with `exclude`"
        )


def pair_similarity(
    unit: Float64[Tensor, "nodes width"], pairs: Int64[Tensor, "2 pairs"]
) -> Float64[Tensor, " pairs"]:
    """Compute inner products of given pairs of unit rows, clipped to [-1, 1].

    The order of a pair changes no bit, as every pair is summed in the same order. O(pairs x width) time, 32 MB at once.
    """
    size = max(1, CHUNK_ELEMENTS // (2 * max(1, unit.shape[1])))
    parts = [(unit[part[0]] * unit[part[1]]).sum(dim=1) for part in torch.split(pairs, size, dim=1)]
    return torch.cat(parts).clamp(-1.0, 1.0) if parts else unit.new_zeros(0)


def row_values(
    features: Tensor, rows: Tensor, others: Tensor, combine: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Sum, for rows (chunk,) and others (chunk, count) of each, what `combine` makes of their entries, in its first.

    Each sum has the same order of its terms; O(chunk x count x width) time, 4 MB at a time.
    """
    count, width = others.shape[1], features.shape[1]
    size = max(1, _CACHE_ELEMENTS // max(1, count * width))
    parts = [
        combine(features.index_select(0, some.reshape(-1)).view(len(some), count, width), mine).sum(dim=2)
        for some, mine in zip(
            torch.split(others, size), torch.split(features[rows][:, None], size), strict=True
        )
    ]
    return torch.cat(parts)


def _neighbours_of(
    rows: Tensor, unit: Tensor, proposals: CandidateSearch, k: int, signed: bool
) -> tuple[Tensor, Tensor]:
    """Rank the candidates of some rows, and decide anew, in float64, where float32 proves nothing."""
    spared = min(k + SPARE, unit.shape[0] - 1)
    best, candidates = proposals.best(proposals.rows[rows], rows, spared, signed=signed)
    indices, values = _rank(rows, candidates, unit, k, signed)
    # Forward error of a float32 inner product of unit rows, and of rounding the rows; a reduced-precision
    # matrix product (TF32, bf16), which a training script may have switched on, proves nothing.
    error = (unit.shape[1] + 4) * 2.0**-24 + 2.0 / GRID if proposals.is_full_precision else 2.0
    last = values[:, -1].abs() if signed else values[:, -1]
    open_rows = (last <= best[:, -1].double() + error).nonzero().squeeze(1)
    if spared < unit.shape[0] - 1 and len(open_rows):
        # At most a quarter of the chunk at a time: the float64 keys take four times the memory.
        for part in torch.split(open_rows, max(1, len(rows) // 4)):
            candidates = _double_candidates(rows[part], unit, spared, signed)
            indices[part], values[part] = _rank(rows[part], candidates, unit, k, signed)
    return indices, values


def _double_candidates(rows: Tensor, unit: Tensor, count: int, signed: bool) -> Tensor:
    """Take the best `count` by similarity on the grid, then by index: one integer key has no ties."""
    score = unit[rows] @ unit.T
    score = score.abs_() if signed else score
    score[torch.arange(len(rows), device=rows.device), rows] = -2.0
    last = 2**_INDEX_BITS - 1
    key = (score * GRID).round_().to(torch.int64).mul_(last + 1)
    key += last - torch.arange(unit.shape[0], device=rows.device)
    index: Tensor = last - (key.topk(count, dim=1).values & last)
    return index


def _rank(rows: Tensor, candidates: Tensor, unit: Tensor, k: int, signed: bool) -> tuple[Tensor, Tensor]:
    """Order candidates by similarity on the grid and then by index; return the first k."""
    candidates = candidates.sort(dim=1).values  # the lower index first, which a stable sort keeps
    values = row_values(unit, rows, candidates, Tensor.mul_).clamp_(-1.0, 1.0)
    grid = ((values.abs() if signed else values) * GRID).round()
    order = grid.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return candidates.gather(1, order), values.gather(1, order)
