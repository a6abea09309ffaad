r"""The factors of a LoRA adapter, filtered; its rank stays.

With :math:`\Delta = s B A` a filter on columns changes A alone, one on rows B alone:

.. math:: \Delta h(C) = s B (A h(C)), \qquad h(L) \Delta = s (h(L) B) A

One on entries changes both, and what their rank cannot hold is left out.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from paramgraph.checkpoints import AdaptedWeights
from paramgraph.errors import one_line
from paramgraph.spectra import wide
from spectral_opt.preparation import NUMERIC_FAILURES
from spectral_opt.refinement._filters import ResponseFilters
from spectral_opt.refinement._left_alone import Failures


def scale_tensors(tensors: Mapping[str, Tensor], names: Collection[str], factor: float) -> dict[str, Tensor]:
    """Multiply some tensors by a factor, as updates s B A are by multiplying B; all others are handed through."""
    chosen = set(names) if factor != 1 else set()
    return {
        name: (wide(value) * factor).to(value.dtype) if name in chosen else value
        for name, value in tensors.items()
    }


class RefinedFactors(NamedTuple):
    """An adapter's tensors, squared norms of its filtered updates before and after, and what a lower rank left out."""

    tensors: dict[str, Tensor]
    before: float
    after: float
    lost: float  # norm of what the rank could not hold over that of the filtered updates
    filtered: frozenset[str]  # weights on which a filter acts, whether there was an update to change or not
    rested: frozenset[str]  # weights of which no filter has changed anything, as each has failed


def refine_factors(
    adapter: AdaptedWeights, groups: Iterable[str], filters: ResponseFilters, failures: Failures
) -> RefinedFactors:
    r"""Filter the factors of an adapter, by weight; what fails is noted, and the weight has its factors.

    Tensors that no filter changes keep every bit. A filter on entries takes the product B A to any rank: kept is its
    best approximation of the rank that there was, :math:`\min_{\text{rank } r} |X - h(B A)|`.
    """
    tensors = {name: adapter.stored[name] for name in adapter.stored}
    before = after = lost = whole = 0.0
    acted, rested = set(), set()
    for weight in groups:
        pair = adapter.factor_names(weight)
        if pair is None:
            continue
        A, B = (wide(tensors[name]) for name in pair)
        scale = adapter.scaling(weight) ** 2
        start = _squared_norm(A, B)
        has_filter = False
        for place, ready in filters.acting([weight]):
            config = filters.owner.configs[place]
            if not math.isfinite(start):
                failures.add(place, ready, f"the factors of {weight} have numbers that are not finite")
                continue
            length = _squared_norm(A, B)
            try:
                graph_filter = filters.make(place, ready)
                if not graph_filter.is_identity:
                    A, B, all_of_it, left_out = _filtered(A, B, config.scheme, graph_filter)
                    whole, lost = whole + scale * all_of_it, lost + scale * left_out
            except NUMERIC_FAILURES as error:
                failures.add(place, ready, one_line(error))
                continue
            has_filter = True
            left = _squared_norm(A, B)
            if config.norm_matching and left > 0:
                A = A * math.sqrt(length / left)
        if not has_filter:
            rested.add(weight)
            continue
        acted.add(weight)
        before, after = before + scale * start, after + scale * _squared_norm(A, B)
        for name, value in zip(pair, (A, B), strict=True):
            old = tensors[name]
            tensors[name] = torch.where(wide(old) == value, old, value.to(old.dtype))
    share_lost = math.sqrt(lost / whole) if whole else 0.0
    return RefinedFactors(tensors, before, after, share_lost, frozenset(acted), frozenset(rested))


def _filtered(A: Tensor, B: Tensor, scheme: str, graph_filter: Any) -> tuple[Tensor, Tensor, float, float]:
    """Filter two factors; give with them the squared norm of the result before its rank was cut, and what was cut."""
    if scheme == "columns":
        return graph_filter(A.T.contiguous()).T.contiguous(), B, 0.0, 0.0
    if scheme == "rows":
        return A, graph_filter(B), 0.0, 0.0
    new_A, new_B, whole, lost = of_rank(graph_filter(B.double() @ A.double()), len(A))
    A, B = torch.zeros_like(A), torch.zeros_like(B)  # a rank may be more than the smaller side
    A[: len(new_A)], B[:, : len(new_A)] = new_A.to(A), new_B.to(B)
    return A, B, whole, lost


def of_rank(X: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    r"""Cut a matrix into factors A and B of a rank; give with them its squared norm, and what was cut of it.

    Of the smaller side, :math:`X X^T = U S^2 U^T`, the leading directions are kept: :math:`U_r U_r^T X`.
    Eigenvectors of that side took a quarter of the time of singular vectors of both (384 x 1536); sums are in float64.
    """
    is_tall = X.shape[0] > X.shape[1]
    wide_X = X.double().T if is_tall else X.double()
    squares, U = torch.linalg.eigh(wide_X @ wide_X.T)
    squares, U = squares.clamp(min=0).flip(0), U.flip(1)
    # The roots of the singular values on both sides.
    roots = squares[:rank].pow(0.25)
    first, second = U[:, :rank] * roots, U[:, :rank].T @ wide_X
    second = torch.where(roots > 0, 1 / roots, 0)[:, None] * second
    A, B = (first.T, second.T) if is_tall else (second, first)
    return A, B, float(squares.sum()), float(squares[rank:].sum())


def _squared_norm(A: Tensor, B: Tensor) -> float:
    """Compute |B A|^2 = tr(B^T B A A^T), rank x rank."""
    wide_A, wide_B = A.double(), B.double()
    return float(((wide_B.T @ wide_B) * (wide_A @ wide_A.T)).sum())
