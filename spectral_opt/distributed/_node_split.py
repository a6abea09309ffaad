r"""Products with an operator or a filter whose nodes lie on several ranks, exact, in buffers of few rows.

Each rank holds the rows :math:`X_r` of the signal. Of a filter :math:`X + U g U^T X` it needs
:math:`U^T X = \sum_r U_r^T X_r`: (modes, width) added up over the ranks. Of :math:`L X` it needs the rows of the
nodes that have a neighbour on another rank. Both are moved in pieces of at most `piece` rows, so that no buffer is
larger than (piece, width), however many modes or neighbours there are.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from paramgraph.filters import GraphFilter, ReadyFilter, ResponseFunction
from paramgraph.spectra import ShiftOperator, SignalOperator, sparse_tensor, wide, working_dtype
from spectral_opt.ranks import Ranks


@dataclass(frozen=True, eq=False)
class NodeSplit:
    """Which nodes of a table lie on which rank, and how many rows go between ranks at once."""

    ranks: Ranks
    owner: Int64[np.ndarray, " nodes"]  # rank of each node
    nodes: Int64[np.ndarray, " own"]  # those of this rank, in the order of its rows
    piece: int  # largest number of rows of a buffer

    @cached_property
    def place(self) -> Int64[np.ndarray, " nodes"]:
        """Row of each node on this rank, -1 where it lies elsewhere."""
        place = np.full(len(self.owner), -1, dtype=np.int64)
        place[self.nodes] = np.arange(len(self.nodes))
        return place

    def boundary(self, matrix: Any) -> Int64[np.ndarray, " neighbours"]:
        """List the nodes of a symmetric matrix that have a neighbour on another rank, the same on each rank."""
        entries = sp.coo_array(matrix)
        return np.unique(entries.col[self.owner[entries.row] != self.owner[entries.col]]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class SplitOperator(SignalOperator):
    """Multiply the rows of a signal that lie here by a symmetric operator on all nodes; all ranks together."""

    operator: ShiftOperator
    split: NodeSplit
    _copies: dict[Any, tuple[Tensor, list[Tensor]]] = field(default_factory=dict, init=False, repr=False)

    # A rank without rows takes part all the same: the others wait for it.
    spans_ranks = True

    @property
    def shape(self) -> tuple[int, int]:
        """Square, with as many rows as the signal has here."""
        return len(self.split.nodes), len(self.split.nodes)

    @property
    def nodes(self) -> int:
        """Number of nodes on all ranks."""
        return self.operator.nodes

    @property
    def bound(self) -> float:
        """Upper bound of the absolute eigenvalues."""
        return self.operator.bound

    def inner(self, product: Float[Tensor, "own width"]) -> Float[Tensor, " width"]:
        """Add a product up over the nodes of all ranks."""
        return self.split.ranks.sum_(product.sum(0))

    def __matmul__(self, X: Float[Tensor, "own width"]) -> Float[Tensor, "own width"]:
        inside, outside = self._matrices(X.device, working_dtype(X))
        signal = wide(X)
        with torch.autocast(X.device.type, enabled=False):
            result = inside @ signal
            for piece, matrix in zip(self._pieces, outside, strict=True):
                buffer = signal.new_zeros(len(piece), signal.shape[1])
                place = self.split.place[piece]
                mine = np.flatnonzero(place >= 0)
                buffer[mine] = signal[place[mine]]
                result = result + matrix @ self.split.ranks.sum_(buffer)
        return result.to(X.dtype)

    @cached_property
    def _pieces(self) -> list[Int64[np.ndarray, " neighbours"]]:
        boundary = self.split.boundary(self.operator.matrix)
        return [
            boundary[start : start + self.split.piece] for start in range(0, len(boundary), self.split.piece)
        ]

    def _matrices(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        """Copy the rows of the nodes here to a device: those of neighbours here, and piece by piece of others."""
        if (device, dtype) not in self._copies:
            rows: Any = self.operator.matrix[self.split.nodes]
            inside = rows[:, self.split.nodes]
            outside = []
            for piece in self._pieces:
                # What lies here is in `inside` already.
                foreign = (self.split.place[piece] < 0).astype(np.float64)
                outside.append(rows[:, piece] * foreign)
            self._copies[device, dtype] = (
                _tensor(inside, device, dtype),
                [_tensor(matrix, device, dtype) for matrix in outside],
            )
        return self._copies[device, dtype]


@dataclass(frozen=True, eq=False)
class SplitFilter(ReadyFilter):
    r"""Apply a filter to the rows of a signal that lie here; all ranks together.

    .. math:: Y_r = X_r + S_r^{-1} (U_r g \sum_q U_q^T S_q X_q + \text{rest}\, S_r X_r)
    """

    filter: GraphFilter
    split: NodeSplit

    @property
    def nodes(self) -> int:
        """Number of nodes that lie here."""
        return len(self.split.nodes)

    @property
    def response(self) -> ResponseFunction:
        """That of the filter on all nodes, as the method and the reason are."""
        return self.filter.response

    @property
    def method(self) -> str:
        """What runs."""
        return self.filter.method

    @property
    def reason(self) -> str:
        """Why it runs."""
        return self.filter.reason

    @property
    def is_identity(self) -> bool:
        """Whether nothing is added."""
        return self.filter.is_identity

    def _leaves(self, X: Tensor) -> bool:
        # A rank without rows takes part all the same.
        return self.is_identity

    def __call__(self, X: Float[Tensor, "own width"], check: bool = False) -> Float[Tensor, "own width"]:
        """Filter the rows that lie here; nothing is checked, since a rank that raises alone leaves others waiting."""
        signal = wide(X)
        return (signal + self._delta(signal)).to(X.dtype)

    def _delta(self, signal: Tensor) -> Tensor:
        parts = self._factors(signal.device, signal.dtype)
        basis, gain, scale = (parts.get(name) for name in ("basis", "gain", "scale"))
        with torch.autocast(signal.device.type, enabled=False):
            scaled = signal if scale is None else scale * signal
            delta = self.filter.design.rest * scaled
            if basis is not None and gain is not None:
                for start in range(0, basis.shape[1], self.split.piece):
                    modes = slice(start, start + self.split.piece)
                    coefficients = self.split.ranks.sum_(basis[:, modes].T @ scaled)  # (modes, width)
                    delta = delta + basis[:, modes] @ (gain[modes, None] * coefficients)
            return delta if scale is None else delta / scale

    def _parts(self) -> dict[str, Tensor]:
        design, nodes, parts = self.filter.design, torch.from_numpy(self.split.nodes), {}
        if design.basis is not None and design.gain is not None:
            parts = {"basis": design.basis[nodes], "gain": design.gain}
        if design.scale is not None:
            parts["scale"] = design.scale[nodes, None]
        return parts


def _tensor(matrix: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    if isinstance(matrix, np.ndarray):
        return torch.tensor(matrix, dtype=dtype, device=device)
    return sparse_tensor(sp.csr_array(matrix), device, dtype, "coo")
