"""Exact nearest neighbours by inner product.

The candidates for the neighbours of a node come from a float32 product, with all whose product its rounding error
leaves in doubt, and from a float64 product where they are too many. The similarities of candidates alone are then
computed again, each pair once, in float64, and compared on a grid of 2^-36: what differs by less is a tie, and a tie
goes to the lower index. So the result does not depend on the chunk size or on how a BLAS library orders its sums.
Memory is O(chunk x nodes + nodes x width): beyond 4,096 nodes no matrix of all pairs exists.
"""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from paramgraph.graphs.affinity._candidates import CHUNK_ELEMENTS, CandidateSearch, Search

SPARE = 8  # candidates beyond k: float32 then separates the k-th from the rest on nearly all real features
GRID = 2.0**36  # 1.5e-11: far above the rounding of a float64 inner product, far below any real difference
CACHE_ELEMENTS = 2**18  # 2 MB of float64, which stay in the cache
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
    (nodes, k). O(nodes^2 x width) time, 64 MB at a time; `search`, who proposes candidates, does not change the result.
    Raises ValueError if k is not from 1 to nodes - 1, and as `CandidateSearch` does.

    >>> nearest_neighbours(torch.eye(3, dtype=torch.float64), k=2)[0].tolist()  # ties
    [[1, 2], [0, 2], [0, 1]]
    """
    pairs, values, chosen = neighbour_pairs(unit, k, signed=signed, search=search)
    own = torch.arange(unit.shape[0], device=unit.device)[:, None]
    return pairs[0, chosen] + pairs[1, chosen] - own, values[chosen]


def neighbour_pairs(
    unit: Float64[Tensor, "nodes width"],
    k: int,
    *,
    signed: bool = False,
    search: Search = "exact",
) -> tuple[Int64[Tensor, "2 pairs"], Float64[Tensor, " pairs"], Int64[Tensor, "nodes k"]]:
    """Find the neighbours of `nearest_neighbours` as places in a list of pairs, each once with its similarity.

    The pairs, lower node first and sorted, hold some more than those of neighbours. Else, and in what is raised, as
    `nearest_neighbours`.

    >>> neighbour_pairs(torch.eye(3, dtype=torch.float64), k=1)[2].tolist()
    [[0], [0], [1]]
    """
    nodes = unit.shape[0]
    check_neighbours(k, nodes)
    near, is_near = _candidates(unit, k, signed, search)
    own = torch.arange(nodes, device=unit.device)[:, None].expand_as(near)[is_near]
    other = near[is_near]
    key, place = torch.unique(
        torch.minimum(own, other) * nodes + torch.maximum(own, other), return_inverse=True
    )
    pairs = torch.stack([key // nodes, key % nodes])
    values = pair_similarity(unit, pairs)
    # One integer says it all: no candidate is last, then the similarity on the grid, then the lower index.
    rank = torch.full_like(near, torch.iinfo(torch.int64).min)
    rank[is_near] = _rank(values[place], other, signed)
    places = torch.zeros_like(near)
    places[is_near] = place
    return pairs, values, places.gather(1, rank.topk(k, dim=1).indices)


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

    The order of a pair changes no bit, as every pair is summed in the same order; rounded to float32, neither does the
    order of its sum. O(pairs x width) time, O(pairs + nodes) memory.
    """
    # A sparse matrix has no more entries than places, which pairs that come again can be.
    is_sampled = 0 < pairs.shape[1] <= len(unit) ** 2
    if unit.device.type != "cpu" or not unit.numel() or not is_sampled:
        return _summed(unit, pairs)
    values = _sampled(unit, pairs)
    # Of both sums, of products whose absolute values add up to one.
    error = (unit.shape[1] + 2) * 2.0**-52
    doubtful = ((values - error).float() != (values + error).float()).nonzero().squeeze(1)
    values[doubtful] = _summed(unit, pairs[:, doubtful])
    return values.clamp_(-1.0, 1.0)


def _sampled(unit: Tensor, pairs: Tensor) -> Tensor:
    """Multiply pairs of rows where they lie: a third of the time of gathering them."""
    nodes, order = unit.shape[0], None
    if bool((pairs[0, 1:] < pairs[0, :-1]).any()):
        order = pairs[0].argsort()
        pairs = pairs[:, order]
    start = torch.nn.functional.pad(pairs[0].bincount(minlength=nodes).cumsum(0), (1, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        entries = torch.sparse_csr_tensor(
            start,
            pairs[1],
            unit.new_zeros(pairs.shape[1]),
            (nodes, nodes),
            device=unit.device,
            check_invariants=False,
        )
    values = torch.sparse.sampled_addmm(entries, unit, unit.T, beta=0.0).values()
    return values if order is None else torch.empty_like(values).index_copy_(0, order, values)


def _summed(unit: Tensor, pairs: Tensor) -> Tensor:
    """Gather pairs of rows, multiply and sum them, on any device."""
    width, count = unit.shape[1], pairs.shape[1]
    size = min(count, max(1, CACHE_ELEMENTS // (2 * max(1, width))))
    # The same memory for every part: fresh pages for each took up to ten times as long as the sums.
    low, high, values = unit.new_empty(size, width), unit.new_empty(size, width), unit.new_empty(count)
    for start in range(0, count, size or 1):
        part = pairs[:, start : start + size]
        one, other = low[: part.shape[1]], high[: part.shape[1]]
        torch.index_select(unit, 0, part[0], out=one)
        torch.index_select(unit, 0, part[1], out=other)
        torch.sum(one.mul_(other), dim=1, out=values[start : start + size])
    return values.clamp_(-1.0, 1.0)


def row_values(
    features: Tensor, rows: Tensor, others: Tensor, combine: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Sum, for rows (chunk,) and others (chunk, count) of each, what `combine` makes of their entries, in its first.

    Each sum has the same order of its terms; O(chunk x count x width) time, 2 MB at a time.
    """
    count, width = others.shape[1], features.shape[1]
    size = max(1, CACHE_ELEMENTS // max(1, count * width))
    parts = [
        combine(features.index_select(0, some.reshape(-1)).view(len(some), count, width), mine).sum(dim=2)
        for some, mine in zip(
            torch.split(others, size), torch.split(features[rows][:, None], size), strict=True
        )
    ]
    return torch.cat(parts)


def _candidates(unit: Tensor, k: int, signed: bool, search: Search) -> tuple[Tensor, Tensor]:
    """Propose (nodes, k and some more) nodes for each, and say which of them can be among its k neighbours."""
    nodes, width = unit.shape
    count = min(k + SPARE, nodes - 1)
    proposals = CandidateSearch(unit.to(torch.float32), search)
    best, near = proposals.best_of_all(count, signed=signed)
    # Forward error of a float32 inner product of unit rows, and of rounding the rows; a reduced-precision
    # matrix product (TF32, bf16), which a training script may have switched on, proves nothing.
    error = (width + 4) * 2.0**-24 + 2.0 / GRID if proposals.is_full_precision else 2.0
    # k nodes are at least this similar less one error; another one of them is at most one error more than it looks.
    is_near = best.double() >= best[:, k - 1 : k].double() - 2.0 * error
    if count < nodes - 1:
        open_rows = is_near[:, -1].nonzero().squeeze(1)  # others, left out, may be as near
        is_near[open_rows] = True
        # A quarter of a chunk at a time: the float64 keys take four times the memory.
        for some in torch.split(open_rows, max(1, CHUNK_ELEMENTS // (4 * nodes))):
            near[some] = _double_candidates(some, unit, count, signed)
    return near, is_near


def _double_candidates(rows: Tensor, unit: Tensor, count: int, signed: bool) -> Tensor:
    """Take the best `count` by similarity on the grid, then by index."""
    score = unit[rows] @ unit.T
    score[torch.arange(len(rows), device=rows.device), rows] = 0.0 if signed else -2.0
    key = _rank(score, torch.arange(unit.shape[0], device=rows.device), signed)
    key[torch.arange(len(rows), device=rows.device), rows] = torch.iinfo(torch.int64).min
    return key.topk(count, dim=1).indices


def _rank(similarity: Tensor, index: Tensor, signed: bool) -> Tensor:
    """Make one integer of a similarity on the grid and the lower index: a key without ties, largest first."""
    grid = ((similarity.abs() if signed else similarity) * GRID).round_().to(torch.int64)
    return grid.mul_(2**_INDEX_BITS) - index
