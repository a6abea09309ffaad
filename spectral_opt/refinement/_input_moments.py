r"""Second moments of what flows into layers: the Gram matrix of activations, without the activations.

.. math:: C = \frac{n}{\operatorname{tr}(X X^\top)} \, X X^\top, \qquad X = [x_1, \dots, x_T]

is the adjacency of builder "gram" on source "activations" and scheme "columns". Going there through features costs
a square root of C and its square again, for each matrix; and layers that read the same input (query, key and value;
gate and up) have the same C.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from paramgraph.nodes import NodeTable
from paramgraph.sources import Batches, Loss, activation_passes
from paramgraph.spectra import ShiftOperator, adjacency
from spectral_opt.config import SpectralConfig

BLOCK = 384


class _Sums:
    """Add products of pieces up, once for all groups whose pieces are equal number by number."""

    def __init__(self, share: bool) -> None:
        self.share = share
        self.totals: dict[str, Tensor] = {}
        self.leaders: dict[str, str] = {}
        self.calls: dict[str, int] = {}
        self.parted = False
        self._last: tuple[str, Tensor] | None = None

    def add(self, group: str, piece: Tensor) -> None:
        calls = self.calls[group] = self.calls.get(group, 0) + 1
        last = self._last
        same = self.share and last is not None and _equal(last[1], piece)
        if calls == 1:
            first = self.leaders[last[0]] if same and last is not None else group
            # A leader that was called before has summed more than this piece.
            self.leaders[group] = first if self.calls[first] == 1 else group
        leader = self.leaders[group]
        if leader != group:
            follows = same and last is not None and self.leaders[last[0]] == leader
            self.parted |= not follows
            return
        if calls == 1:
            self.totals[group] = piece.new_zeros(len(piece), len(piece), dtype=torch.float64)
        _add_product(self.totals[group], piece)
        self._last = group, piece

    def is_broken(self) -> bool:
        """Whether groups that began alike went on differently, so that their sums cannot be one."""
        uneven = any(self.calls[group] != self.calls[first] for group, first in self.leaders.items())
        return self.parted or uneven


def is_input_gram(config: SpectralConfig) -> bool:
    """Say whether the operator of a config is the adjacency of the Gram matrix of its layers' inputs."""
    return (
        config.builder == "gram"
        and not config.builder_options
        and (config.scheme, config.source, config.shift) == ("columns", "activations", "adjacency")
    )


def input_operators(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches, loss: Loss | None = None
) -> dict[str, ShiftOperator]:
    """Build the adjacency of the inputs' Gram matrix, of mean diagonal 1, for tables of columns, in one pass.

    Tables with the same inputs have one and the same operator. Products are summed over a batch in the dtype of the
    activations (float32 at least) and over batches in float64. Time 2 nodes^2 tokens for each different input, memory
    8 nodes^2 bytes. ValueError if the inputs of a layer are zero, not finite, or missing.
    """
    again = list(batches)
    sums = _summed(model, tables, again, loss, share=True)
    if sums.is_broken():
        sums = _summed(model, tables, again, loss, share=False)
    operators = {group: adjacency(_normalized(total, group)) for group, total in sums.totals.items()}
    return {group: operators[sums.leaders[group]] for group in tables}


def _summed(
    model: nn.Module, tables: Mapping[str, NodeTable], batches: Batches, loss: Loss | None, share: bool
) -> _Sums:
    sums = _Sums(share)
    for _ in activation_passes(model, tables, batches, loss, sums.add, side="input"):
        pass
    return sums


def _add_product(total: Tensor, piece: Tensor) -> None:
    """Add the lower triangle of X X^T, by blocks: five eighths of the products for 1,536 nodes."""
    for start in range(0, len(piece), BLOCK):
        rows = slice(start, start + BLOCK)
        total[rows, : start + BLOCK] += piece[rows] @ piece[: start + BLOCK].T


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _normalized(total: Tensor, group: str) -> np.ndarray:
    trace = float(total.diagonal().sum())
    if not trace > 0:
        raise ValueError(
            f"all inputs of {group!r} are zero on this text, so their Gram matrix cannot be normalized to mean "
            "diagonal 1: leave this table out with `exclude`"
        )
    lower = total.tril() * (len(total) / trace)
    matrix: np.ndarray = (lower + lower.tril(-1).T).cpu().numpy()
    return matrix
