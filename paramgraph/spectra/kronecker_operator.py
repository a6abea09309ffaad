"""What acts on all entries of a matrix through its rows and its columns, without a matrix of entries by entries."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from torch import Tensor, from_numpy

from paramgraph.spectra.eigensolve import eigenpairs
from paramgraph.spectra.shift_operator import Kind, ShiftOperator
from paramgraph.spectra.signals import check_signal, wide
from paramgraph.spectra.spectrum import Spectrum


class KroneckerOperator(ABC):
    """A symmetric operator on matrices (rows, columns); derive from it to bring another kind.

    With vec taking a matrix row by row, as `X.flatten()` does, it is a matrix of entries by entries, never formed.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix that it acts on, (rows, columns)."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Which end of the spectrum is the low graph frequency: of an "adjacency" the largest eigenvalues."""

    @property
    @abstractmethod
    def interval(self) -> tuple[float, float]:
        """Interval that is proven to hold all eigenvalues."""

    @abstractmethod
    def times(self, X: Tensor) -> Tensor:
        """Multiply matrices (rows, columns), or a stack (rows, columns, signals), known to have the right shape.

        Of a float32 or float64 X; differentiable.
        """

    @abstractmethod
    def to_scipy(self) -> sp.csr_array:
        """Form the matrix of entries by entries, in the order of `X.flatten()`; for tests and small matrices."""

    @property
    def nodes(self) -> int:
        """Number of nodes: of entries of the matrix."""
        return math.prod(self.shape)

    @property
    def components(self) -> int | None:
        """Number of connected components of the graph of the entries; None where there is no graph."""
        return None

    @property
    def parts(self) -> tuple[ShiftOperator, ...]:
        """Operators of the rows and of the columns that it is made of; empty where it is made of modes."""
        return ()

    def __matmul__(self, X: Tensor) -> Tensor:
        """Multiply a matrix (rows, columns), or its vector of entries row by row; dtype and device stay."""
        matrix = X.reshape(self.shape) if isinstance(X, Tensor) and X.shape == (self.nodes,) else X
        check_signal(matrix, *self.shape, finite=False)
        return self.times(wide(matrix)).reshape(X.shape).to(X.dtype)

    def to_linear_operator(self) -> spla.LinearOperator:
        """Give it as a symmetric float64 SciPy operator on vectors of entries, row by row."""

        def times(vector: Any) -> Any:
            X = np.ascontiguousarray(vector, dtype=np.float64).reshape(self.shape)
            return self.times(from_numpy(X)).numpy().reshape(-1)

        shape = (self.nodes, self.nodes)
        return spla.LinearOperator(shape, matvec=times, rmatvec=times, dtype=np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class KroneckerPair(KroneckerOperator):
    """Join an operator on the rows and one on the columns, symmetric and of one kind: their sum, or their product.

    Its eigenvectors are the outer products of theirs; `join` says what its eigenvalues are. A ValueError refuses a
    "rw" Laplacian, and a Laplacian beside an adjacency.
    """

    rows: ShiftOperator
    columns: ShiftOperator

    # One eigenvalue of the rows and one of the columns become one of the entries.
    join: ClassVar[np.ufunc]
    # Whether it rises with both of them, whatever their signs.
    rises: ClassVar[bool]
    # Names of the responses that are one of the rows times one of the columns.
    separable: ClassVar[tuple[str, ...]]
    word: ClassVar[str]

    def __post_init__(self) -> None:
        for side, operator in (("row", self.rows), ("column", self.columns)):
            if not operator.symmetric:
                raise ValueError(
                    f"the {side} operator is the 'rw' Laplacian, which is not symmetric: take normalization='sym' "
                    "(same eigenvalues) or None"
                )
        if self.rows.kind != self.columns.kind:
            raise ValueError(
                f"the row operator is a {self.rows.kind}, the column operator a {self.columns.kind}: their {self.word} "
                "has no order of graph frequencies; give two of one kind"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={self.rows!r}, columns={self.columns!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix that it acts on, (rows, columns)."""
        return self.rows.nodes, self.columns.nodes

    @property
    def kind(self) -> Kind:
        """Kind of both operators, "laplacian" or "adjacency"."""
        return self.rows.kind

    @property
    def parts(self) -> tuple[ShiftOperator, ShiftOperator]:
        """Operator of the rows and of the columns."""
        return self.rows, self.columns

    @property
    @abstractmethod
    def components(self) -> int:
        """Number of connected components of the graph of the entries."""

    @property
    @abstractmethod
    def nullity(self) -> int:
        """Multiplicity of the eigenvalue 0 of Laplacians."""

    @property
    def interval(self) -> tuple[float, float]:
        """Interval that is proven to hold all eigenvalues."""
        with np.errstate(over="ignore"):
            ends = self.join.outer(self.rows.interval, self.columns.interval)
        return float(ends.min()), float(ends.max())

    @cached_property
    def spectra(self) -> tuple[Spectrum, Spectrum]:
        """Complete spectra of rows and columns, solved once: O(rows^3 + columns^3) time; both bases are held."""
        return eigenpairs(self.rows), eigenpairs(self.columns)

    @abstractmethod
    def rounding(self, values: tuple[Tensor, Tensor], roundings: tuple[Tensor, Tensor]) -> Tensor:
        """Bound how far joined eigenvalues are off, from those of rows and columns and how far these are off."""
