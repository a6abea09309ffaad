r"""Filter the factors of a LoRA adapter, so that the result is an adapter of the same rank.

.. math:: \Delta h(C) = s B (A h(C)), \qquad h(L) \Delta = s (h(L) B) A

A filter on columns changes A alone, one on rows B alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from paramgraph.checkpoints import AdaptedWeights
from paramgraph.spectra import wide

Filters = Sequence[tuple[str, Any, bool]]


def refine_factors(
    adapter: AdaptedWeights, filters: Mapping[str, Filters]
) -> tuple[dict[str, Tensor], float, float]:
    """Filter the factors of an adapter.

    Parameters
    ----------
    adapter : AdaptedWeights
        Opened adapter.
    filters : mapping of str to sequence of tuples
        For the name of each filtered weight in the base: scheme ("rows" or "columns"), prepared filter, and whether
        the norm of the update is kept; in the order in which they act.

    Returns
    -------
    tensors : dict of str to Tensor
        All tensors of the adapter, under their names and in their dtypes; what no filter changes keeps every bit.
    before, after : float
        Squared Frobenius norms of the filtered updates, summed, in units of the weights.

    Raises
    ------
    ValueError
        If a factor is not finite.
    """
    tensors = {name: adapter.stored[name] for name in adapter.stored}
    before = after = 0.0
    for weight, acting in filters.items():
        pair = adapter.factor_names(weight)
        if pair is None:
            continue
        A, B = (wide(tensors[name]) for name in pair)
        scale = adapter.scaling(weight) ** 2
        start = _squared_norm(A, B)
        for scheme, graph_filter, norm_matching in acting:
            length = _squared_norm(A, B)
            if not graph_filter.is_identity:
                A, B = _filtered(weight, A, B, scheme, graph_filter)
            left = _squared_norm(A, B)
            if norm_matching and left > 0:
                A = A * math.sqrt(length / left)
        before, after = before + scale * start, after + scale * _squared_norm(A, B)
        for name, value in zip(pair, (A, B), strict=True):
            old = tensors[name]
            tensors[name] = torch.where(wide(old) == value, old, value.to(old.dtype))
    return tensors, before, after


def _filtered(weight: str, A: Tensor, B: Tensor, scheme: str, graph_filter: Any) -> tuple[Tensor, Tensor]:
    try:
        if scheme == "columns":
            return graph_filter(A.T.contiguous()).T.contiguous(), B
        return A, graph_filter(B)
    except ValueError as error:
        raise ValueError(f"adapter of {weight!r}: {error}") from error


def _squared_norm(A: Tensor, B: Tensor) -> float:
    """Compute |B A|^2 = tr(B^T B A A^T), rank x rank."""
    wide_A, wide_B = A.double(), B.double()
    return float(((wide_B.T @ wide_B) * (wide_A @ wide_A.T)).sum())
