r"""Second moments at layers, of their inputs or of the gradients at their outputs, without a feature of either.

.. math:: A = \frac{n}{\operatorname{tr}(X X^\top)} \, X X^\top, \qquad X = [x_1, \dots, x_T]

is the adjacency of builder "gram" on source "activations" and scheme "columns", or on "output_gradients" and "rows".
Going there through features costs a square root of A and its square again, for each matrix; and layers that read the
same input (query, key and value; gate and up) have the same A.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paramgraph.mapped_memory import MappedMemory
from paramgraph.nodes import NodeTable
from paramgraph.sources import Batches, Failures, Loss, OnFailure, activation_passes, output_gradient_passes
from paramgraph.spectra import ShiftOperator, adjacency, full_adjacency

BLOCK = 384
# Scheme and source of which the Gram matrix of features is a second moment at a layer.
MOMENTS = (("columns", "activations"), ("rows", "output_gradients"))


class _Sums:
    """Add products of pieces up, once for all groups whose pieces are equal number by number."""

    def __init__(self, share: bool, memory: MappedMemory | None = None) -> None:
        self.share, self.memory = share, memory
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
            shape = len(piece), len(piece)
            self.totals[group] = (
                piece.new_zeros(shape, dtype=torch.float64)
                if self.memory is None
                else self.memory.zeros(*shape, dtype=torch.float64)
            )
        _add_product(self.totals[group], piece)
        self._last = group, piece

    def is_broken(self, failed: Collection[str]) -> bool:
        """Whether groups that began alike went on differently, so that their sums cannot be one."""
        kept = {group: first for group, first in self.leaders.items() if group not in failed}
        uneven = any(
            self.calls[group] != self.calls[first] or first in failed for group, first in kept.items()
        )
        return self.parted or uneven

    def without(self, failed: Collection[str]) -> "_Sums":
        """Let go of what was summed of tables that have failed; none of them leads another."""
        for group in failed:
            self.leaders.pop(group, None)
            self.totals.pop(group, None)
        return self


class SecondMoments:
    """Gram matrices of tables, one for all that have the same pieces, given out once: the sums are let go.

    A matrix that is asked for as an operator stays one, until it is taken.
    """

    is_shared = True

    def __init__(self, sums: _Sums) -> None:
        self._totals, self._leaders = sums.totals, sums.leaders
        self._memory = sums.memory
        self._operators: dict[str, ShiftOperator] = {}

    @property
    def groups(self) -> tuple[str, ...]:
        """The tables that were measured."""
        return tuple(self._leaders)

    def is_zero(self, group: str) -> bool:
        """Whether nothing arrived at a table but zeros; what was given out did not."""
        total = self._totals.get(self._leaders[group])
        return total is not None and not float(total.diagonal().sum()) > 0

    def leader(self, group: str) -> str:
        """Name the first of the tables that have the matrix of this one."""
        return self._leaders[group]

    def operator(self, group: str) -> ShiftOperator:
        """Give the adjacency of the matrix, of mean diagonal 1; a ValueError where it is zero."""
        leader = self._leaders[group]
        if leader not in self._operators:
            if self.is_zero(group):
                raise ValueError(
                    f"all inputs of {group!r} are zero on this text, so their Gram matrix cannot be normalized to mean "
                    "diagonal 1: leave this table out with `exclude`"
                )
            total = self._totals.pop(leader)
            operator = adjacency(_normalized(total)) if self._memory is None else _in_place(total)
            self._operators[leader] = operator
        return self._operators[leader]

    def gram(self, group: str) -> Tensor:
        """Copy the sum X X^T itself, in float64, which must not have been asked for as an operator."""
        return _whole(self._totals[self._leaders[group]])

    def take(self, group: str) -> ShiftOperator:
        """Give the adjacency and let it go: it is not there any more, for the others that have it neither."""
        operator = self.operator(group)
        del self._operators[self._leaders[group]]
        return operator

    def keep(self, basis: Tensor) -> Tensor:
        """Keep a basis where the sums were, in memory or in a file."""
        return basis if self._memory is None else self._memory.keep(basis)


def second_moments(
    model: nn.Module,
    tables: Mapping[str, NodeTable],
    source: str,
    batches: Batches,
    loss: Loss | None = None,
    options: Mapping[str, Any] | None = None,
    on_failure: OnFailure | None = None,
    memory: MappedMemory | None = None,
) -> SecondMoments:
    """Add up the second moments of tables in one pass, "activations" of columns or "output_gradients" of rows.

    Tables with the same inputs share one matrix. Products are summed over a batch in the dtype of the pieces (float32
    at least) and over batches in float64. Time 2 nodes^2 tokens for each different matrix, memory 8 nodes^2 bytes.
    ValueError if pieces are not finite, or missing; or `on_failure` (group, reason) is told and the others go on.
    With a `memory` sums, operators and bases are in its files.
    """
    again = list(batches)
    failed: set[str] = set()

    def leave_out(group: str, reason: str) -> None:
        failed.add(group)
        assert on_failure is not None
        on_failure(group, reason)

    told = None if on_failure is None else leave_out

    def passed(share: bool) -> _Sums:
        sums = _Sums(share, memory)
        for _ in passes(sums.add, {group: table for group, table in tables.items() if group not in failed}):
            pass
        return sums

    def passes(sink: Callable[[str, Tensor], None], left: Mapping[str, NodeTable]) -> Iterator[Any]:
        if source == "activations":
            return activation_passes(model, left, again, loss, sink, side="input", on_failure=told)
        return output_gradient_passes(model, left, again, loss, sink, on_failure=told, **dict(options or {}))

    # Gradients of two layers that are equal number by number have equal sums too, but are not looked for.
    sums = passed(share=source == "activations")
    if sums.is_broken(failed):
        sums = passed(share=False)
    # What no piece has reached has no sum, whatever the reason.
    with_none = [group for group in tables if group not in failed and group not in sums.leaders]
    failures = Failures(tables, told)
    for group in with_none:
        failures.table(group, ValueError(f"nothing arrived at the layer of {group!r} in these batches"))
    return SecondMoments(sums.without(failed))


def _add_product(total: Tensor, piece: Tensor) -> None:
    """Add the lower triangle of X X^T, by blocks: five eighths of the products for 1,536 nodes."""
    for start in range(0, len(piece), BLOCK):
        rows = slice(start, start + BLOCK)
        total[rows, : start + BLOCK] += piece[rows] @ piece[: start + BLOCK].T


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _normalized(total: Tensor) -> np.ndarray:
    matrix: np.ndarray = (_whole(total) * (len(total) / float(total.diagonal().sum()))).cpu().numpy()
    return matrix


def _in_place(total: Tensor) -> ShiftOperator:
    """Make the adjacency of the matrix where its sum lies: number by number that of `_normalized`, and no copy."""
    total.mul_(len(total) / float(total.diagonal().sum()))
    for start in range(0, len(total), BLOCK):
        rows = slice(start, start + BLOCK)
        corner = total[rows, rows]
        corner.copy_(_whole(corner))
        total[:start, rows] = total[rows, :start].T
    return full_adjacency(total.numpy())


def _whole(total: Tensor) -> Tensor:
    lower = total.tril()
    return lower + lower.tril(-1).T
