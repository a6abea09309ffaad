r"""Links that join the components of a graph: Borůvka's maximum spanning tree over the components.

In each round every component but the largest looks for its best link to the outside, in chunks; no matrix of all
pairs, of nodes or of components, exists. The links chosen are those of a maximum spanning tree of the components
under the largest similarity between them (single linkage), so no cheaper set of links joins them.
"""

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from paramgraph.errors import NumericalWarning
from paramgraph.graphs import component_labels, narrow_indices
from paramgraph.graphs.affinity._candidates import CHUNK_ELEMENTS
from paramgraph.graphs.affinity.inner_product import GRID, pair_similarity

Connect = Literal["none", "mst"]  # what a builder may do with components: leave them, or join them

# Some nodes and the component of every node, to the best similarity of each outside its own component (-inf
# where there is none) and who has it.
Outside = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def joining_pairs(pairs: Int64[Tensor, "2 pairs"], nodes: int, outside: Outside) -> Int64[Tensor, "2 added"]:
    """Find the links of largest similarity that join the components of a graph, one less than can be joined.

    `pairs` are its edges, each once; `outside` compares. Links come once, lower node first, sorted. It takes
    O(log(components)) calls of `outside` for the nodes that are not in the largest component.

    >>> unit = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    >>> joining_pairs(torch.tensor([[0], [1]]), 3, cosine_outside(unit))
    tensor([[1],
            [2]])
    """
    added = pairs[:, :0]
    labels = _components(pairs, nodes)
    searching = np.ones(nodes, dtype=bool)
    while nodes and labels.max() > 0:
        largest = np.argmax(np.bincount(labels))
        rows = np.flatnonzero(searching & (labels != largest))
        score, other = (
            found.cpu().numpy() for found in outside(*(_on(pairs, array) for array in (rows, labels)))
        )
        found = score > -np.inf
        searching[rows[~found]] = False  # components only grow: what finds nothing now never will
        if not found.any():
            break
        chosen = _best_links(rows[found], other[found], score[found], labels)
        added = torch.cat([added, _on(pairs, chosen)], dim=1)
        labels = _components(torch.cat([pairs, added], dim=1), nodes)
    return added[:, torch.argsort(added[0] * nodes + added[1])]


def cosine_outside(unit: Float64[Tensor, "nodes width"], signed: bool = False) -> Outside:
    """Compare unit rows by their inner product, or its absolute value; what is not positive cannot be linked.

    O(rows x nodes x width) time, O(nodes x width) memory and 64 MB.
    """

    def compare(rows: Tensor) -> Tensor:
        score = unit[rows] @ unit.T
        score = (score.abs_() if signed else score).mul_(GRID).round_()
        return score.masked_fill_(score < 1.0, -torch.inf)

    return _chunked(compare, len(unit))


def distance_outside(rows: Float64[Tensor, "nodes width"]) -> Outside:
    """Compare rows, with entries of at most 1, by their distance, the smaller the better.

    Distances that differ by less than 1e-8 of the largest are not told apart. Cost as of `cosine_outside`.
    """
    centred = rows - rows.mean(dim=0)
    square = centred.square().sum(dim=1)

    def compare(part: Tensor) -> Tensor:
        return (centred[part] @ centred.T).mul_(2.0).sub_(square).sub_(square[part][:, None])

    return _chunked(compare, len(rows))


def join_by_cosine(
    unit: Float64[Tensor, "nodes width"], pairs: Int64[Tensor, "2 pairs"], *, signed: bool = False
) -> tuple[Int64[Tensor, "2 added"], Float64[Tensor, " added"]]:
    """Find the links of largest cosine that join the components of a graph, with their cosines.

    As `joining_pairs`; at most log2(components) rounds. A NumericalWarning says how many components stay apart because
    no cosine between them is positive (differs from zero, if `signed`). Zero rows are not counted.
    """
    nodes = len(unit)
    added = joining_pairs(pairs, nodes, cosine_outside(unit, signed))
    dead = int((unit == 0).all(dim=1).sum())
    apart = int(_components(torch.cat([pairs, added], dim=1), nodes).max(initial=-1)) + 1 - dead
    if apart > 1:
        what = "differs from zero" if signed else "is positive"
        warnings.warn(
            f"connect='mst' leaves {apart} components apart: no cosine between them {what}",
            NumericalWarning,
            stacklevel=2,
        )
    return added, pair_similarity(unit, added)


def _chunked(compare: Callable[[Tensor], Tensor], nodes: int) -> Outside:
    def outside(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        best, other = [], []
        for part in torch.split(rows, max(1, CHUNK_ELEMENTS // (2 * nodes))):
            score = compare(part)
            score.masked_fill_(labels[part][:, None] == labels, -torch.inf)
            found = score.max(dim=1)  # of equals, the first
            best.append(found.values)
            other.append(found.indices)
        return torch.cat(best), torch.cat(other)

    return outside


def _best_links(rows: np.ndarray, other: np.ndarray, score: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Take the best link of each component, without closing a ring where several are as good."""
    low, high = np.minimum(rows, other), np.maximum(rows, other)
    order = np.lexsort((high, low, -score))
    low, high = low[order], high[order]
    _, first = np.unique(labels[rows[order]], return_index=True)
    first.sort()
    ends = labels[low[first]], labels[high[first]]
    rank = np.arange(1.0, len(first) + 1)  # SciPy reads zeros as no edge, and rounding makes no ties of ranks
    lower, upper = np.minimum(*ends), np.maximum(*ends)
    _, once = np.unique(lower * (labels.max() + 1) + upper, return_index=True)
    size = int(labels.max()) + 1
    links = sp.coo_array((rank[once], (lower[once], upper[once])), shape=(size, size))
    kept = first[sp.csgraph.minimum_spanning_tree(narrow_indices(links.tocsr())).data.astype(np.int64) - 1]
    return np.stack([low[kept], high[kept]])


def _components(pairs: Tensor, nodes: int) -> np.ndarray:
    row, col = pairs.cpu().numpy()
    return component_labels(sp.coo_array((np.ones(len(row)), (row, col)), shape=(nodes, nodes)))


def _on(like: Tensor, array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).to(like.device)
