"""Candidates for nearest neighbours: the largest float32 inner products of a few rows with all rows.

One matrix product and one selection per chunk, by torch or by faiss. What comes out is a proposal with a known
bound on its error; `paramgraph.graphs.affinity.inner_product` and `paramgraph.graphs.affinity.euclidean` decide, in
float64.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from paramgraph.graphs.affinity._symmetric_product import symmetric_product

CHUNK_ELEMENTS = 2**23  # 32 MB of float32 products at a time: larger chunks leave the cache and gain nothing
SYMMETRIC_ELEMENTS = 2**24  # 64 MB: of the products of up to 4,096 rows with themselves, half are computed
_WAYS = 8  # columns of a set, of which the largest is looked at first
_FEW = 4  # times as many as are wanted may reach a bound; more are ties, of which `topk` needs no list
Search = Literal["exact", "faiss"]


@dataclass(frozen=True)
class CandidateSearch:
    r"""Search for the largest inner products :math:`\langle l, r_j \rangle` with the rows r of a matrix.

    "exact" is a matrix product of torch, on the device of the rows; "faiss" is `faiss.IndexFlatIP`, just as exact, on
    the CPU, and holds a second copy of the rows. Raises as `check_search` does.
    """

    rows: Float32[Tensor, "nodes width"]
    search: Search = "exact"

    def __post_init__(self) -> None:
        check_search("search", self.search)
        has_index = self.search == "faiss" and self.rows.shape[1] > 0  # faiss knows no vectors of no entries
        index = _faiss_index(self.rows) if has_index else None
        object.__setattr__(self, "_index", index)

    @property
    def is_full_precision(self) -> bool:
        """Whether products have float32's error and not that of TF32 or bf16, which torch may be told to use."""
        return self.search == "faiss" or torch.get_float32_matmul_precision() == "highest"

    def best(
        self,
        left: Float32[Tensor, "chunk width"],
        own: Int64[Tensor, " chunk"],
        count: int,
        *,
        signed: bool = False,
    ) -> tuple[Float32[Tensor, "chunk count"], Int64[Tensor, "chunk count"]]:
        """Find for each row of `left` its `count` largest products, or absolute values, its `own` row left out.

        Scores, largest first, and rows, ties in any order, both (chunk, count); count is 1 to nodes - 1.
        O(chunk x nodes x width) time, O(chunk x nodes) memory.
        """
        if self._index is not None:  # type: ignore[attr-defined]  # set in __post_init__
            return self._by_faiss(left, own, count, signed)
        # A caller's autocast would round the product to bf16, which the bound on its error does not know of.
        with torch.autocast(left.device.type, enabled=False):
            score = left @ self.rows.T  # (chunk, nodes)
        return _largest(score, own, count, signed)

    def best_of_all(
        self, count: int, *, signed: bool = False
    ) -> tuple[Float32[Tensor, "nodes count"], Int64[Tensor, "nodes count"]]:
        """Find as `best` does for every row among all others; on the CPU, up to 4,096, with half of the products."""
        nodes, width = self.rows.shape
        everyone = torch.arange(nodes, device=self.rows.device)
        is_small = width and nodes**2 <= SYMMETRIC_ELEMENTS
        # As in `best`.
        if self._index is None and is_small and self.rows.device.type == "cpu":  # type: ignore[attr-defined]
            return _largest(symmetric_product(self.rows), everyone, count, signed)
        chunks = [
            self.best(self.rows[own], own, count, signed=signed)
            for own in torch.split(everyone, max(1, CHUNK_ELEMENTS // nodes))
        ]
        return torch.cat([scores for scores, _ in chunks]), torch.cat([rows for _, rows in chunks])

    def _by_faiss(self, left: Tensor, own: Tensor, count: int, signed: bool) -> tuple[Tensor, Tensor]:
        score, index = self._query(left, own, count)
        if signed:  # the largest absolute values are among the largest and the smallest products
            opposite_score, opposite = self._query(-left, own, count)
            # A product near zero can be found from both sides; its second showing must not take a place.
            again = (opposite[:, None, :] == index[:, :, None]).any(dim=1)
            opposite_score = torch.where(again, -torch.inf, opposite_score.abs())
            score, at = torch.cat([score.abs(), opposite_score], dim=1).topk(count, dim=1)
            index = torch.cat([index, opposite], dim=1).gather(1, at)
        return score.to(left.device), index.to(left.device)

    def _query(self, left: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Ask for one more, and take out the own row, or the last where many equals have crowded it out."""
        index: Any = self._index  # type: ignore[attr-defined]  # set in __post_init__
        found = index.search(left.detach().cpu().numpy(), count + 1)
        score, rows = torch.from_numpy(found[0]), torch.from_numpy(found[1])
        kept = rows != own.cpu()[:, None]
        kept[kept.all(dim=1), -1] = False
        return score[kept].view(-1, count), rows[kept].view(-1, count)


def _largest(score: Tensor, own: Tensor, count: int, signed: bool) -> tuple[Tensor, Tensor]:
    score = score.abs_() if signed else score
    score[torch.arange(len(own), device=own.device), own] = -torch.inf
    found = _above_a_bound(score, count) if score.device.type == "cpu" else None
    if found is None:
        best = score.topk(count, dim=1)
        return best.values, best.indices
    values, columns = found
    best = values.topk(count, dim=1)
    return best.values, columns.gather(1, best.indices)


def _above_a_bound(score: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    """Take of each row what reaches a lower bound of its `count` largest: few more than these, or None where ties do.

    The largest of each of some sets of columns are so many entries: what is the `count`-th of them is a bound. A
    selection from a row of these, and a comparison of all with the bound, take half the time of `topk`.
    """
    rows, nodes = score.shape
    ways = _WAYS if nodes >= 2 * _WAYS * count else 1
    sets = nodes // ways
    largest = score[:, : ways * sets].view(rows, ways, sets).amax(dim=1).numpy()
    largest.partition(sets - count, axis=1)
    entries = score.numpy()
    # NumPy's search for what is true takes a fifth of torch's time.
    row, column = np.divmod(np.flatnonzero(entries >= largest[:, sets - count, None]), nodes)
    times = np.bincount(row, minlength=rows)
    most = int(times.max(initial=0))
    if most > _FEW * count:
        return None
    place = np.arange(len(row)) - np.repeat(times.cumsum() - times, times)
    values, columns = (
        np.full((rows, most), -np.inf, dtype=entries.dtype),
        np.zeros((rows, most), dtype=np.int64),
    )
    values[row, place], columns[row, place] = entries[row, column], column
    return torch.from_numpy(values), torch.from_numpy(columns)


def check_search(name: str, value: object) -> None:
    """Raise ValueError if an option is no way to search, ImportError if its library is not installed."""
    if value not in get_args(Search):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(Search)))}, got {value!r}")
    if value == "faiss":
        _import_faiss()


def _import_faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ImportError(
            "search='faiss' needs faiss: pip install 'paramgraph[faiss]', or leave search='exact', which finds "
            f"the same neighbours with torch ({error})"
        ) from error


def _faiss_index(rows: Tensor) -> Any:
    index = _import_faiss().IndexFlatIP(rows.shape[1])
    index.add(rows.detach().cpu().contiguous().numpy())
    return index
