r"""The sum of an operator on the rows and an operator on the columns of a matrix, which is never formed.

.. math:: L = L_r \otimes I + I \otimes L_c, \qquad L \operatorname{vec}(X) = \operatorname{vec}(L_r X + X L_c)

with vec taking X row by row, as `X.flatten()` does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from torch import Tensor

from paramgraph.spectra.shift_operator import Kind, ShiftOperator
from paramgraph.spectra.signals import check_signal, wide


@dataclass(frozen=True, eq=False, repr=False)
class KroneckerSum:
    """Act on the entries of a matrix by an operator on its rows and one on its columns, symmetric and of one kind.

    A ValueError refuses a "rw" Laplacian, and a Laplacian beside an adjacency.

    >>> import networkx as nx, torch
    >>> from paramgraph import laplacian
    >>> edge = laplacian(nx.path_graph(2), None)
    >>> KroneckerSum(edge, edge) @ torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    tensor([[ 2., -1.],
            [-1.,  0.]])
    """

    rows: ShiftOperator
    columns: ShiftOperator

    def __post_init__(self) -> None:
        for side, operator in (("row", self.rows), ("column", self.columns)):
            if not operator.symmetric:
                raise ValueError(
                    f"the {side} operator is the 'rw' Laplacian, which is not symmetric: take normalization='sym' "
                    "(same eigenvalues) or None"
                )
        if self.rows.kind != self.columns.kind:
            raise ValueError(
                f"the row operator is a {self.rows.kind}, the column operator a {self.columns.kind}: their sum has "
                "no order of graph frequencies; give two of one kind"
            )

    def __repr__(self) -> str:
        return f"KroneckerSum(rows={self.rows!r}, columns={self.columns!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix that it acts on, (rows, columns)."""
        return self.rows.nodes, self.columns.nodes

    @property
    def nodes(self) -> int:
        """Number of nodes: of entries of the matrix."""
        return self.shape[0] * self.shape[1]

    @property
    def kind(self) -> Kind:
        """Kind of both operators, "laplacian" or "adjacency"."""
        return self.rows.kind

    @property
    def components(self) -> int:
        """Number of connected components, the product of those of rows and columns."""
        return self.rows.components * self.columns.components

    @property
    def nullity(self) -> int:
        """Multiplicity of the eigenvalue 0 of Laplacians, the product of those of rows and columns."""
        return self.rows.nullity * self.columns.nullity

    @property
    def interval(self) -> tuple[float, float]:
        """Interval that is proven to hold all eigenvalues."""
        (low, high), (lower, upper) = self.rows.interval, self.columns.interval
        return low + lower, high + upper

    def __matmul__(self, X: Tensor) -> Tensor:
        """Multiply a matrix (rows, columns), or its vector of entries row by row; dtype and device stay."""
        matrix = X.reshape(self.shape) if isinstance(X, Tensor) and X.shape == (self.nodes,) else X
        check_signal(matrix, *self.shape, finite=False)
        return self.times(wide(matrix)).reshape(X.shape).to(X.dtype)

    def times(self, X: Tensor) -> Tensor:
        """Multiply matrices (rows, columns), or a stack (rows, columns, signals), known to have the right shape.

        L_r X + X L_c of a float32 or float64 X, in O(row edges x columns + column edges x rows) time; differentiable.
        """
        return (self.rows @ X) + (self.columns @ X.transpose(0, 1)).transpose(0, 1)

    def null_basis(self) -> sp.csr_array:
        """Write down the null space of Laplacians, (nodes, nullity): outer products of those of rows and columns.

        Orthonormal, at most one entry in each row; a ValueError for adjacencies.
        """
        return sp.csr_array(sp.kron(self.rows.null_basis(), self.columns.null_basis(), format="csr"))

    def to_linear_operator(self) -> spla.LinearOperator:
        """Give the sum as a symmetric float64 SciPy operator on vectors of entries, row by row."""
        A, B = self.rows.matrix, self.columns.matrix

        def times(vector: Any) -> Any:
            X = np.asarray(vector, dtype=np.float64).reshape(self.shape)
            return ((A @ X) + (B @ X.T).T).reshape(-1)

        shape = (self.nodes, self.nodes)
        return spla.LinearOperator(shape, matvec=times, rmatvec=times, dtype=np.float64)

    def to_scipy(self) -> sp.csr_array:
        """Form the sum as a sparse matrix, in the order of `X.flatten()`; for tests and small matrices."""
        # SciPy's kronsum(A, B) is I (x) A + B (x) I.
        return sp.csr_array(sp.kronsum(self.columns.to_scipy(), self.rows.to_scipy(), format="csr"))
