"""Scalars as nodes: the sum of a row graph and a column graph, on the rows table of a matrix."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from paramgraph.spectra import KroneckerSum, ShiftOperator


@dataclass(frozen=True, eq=False)
class EntryOperator:
    r"""Give the Kronecker sum of two graphs the interface that the penalty asks of an operator.

    .. math:: X \mapsto L_r X + X L_c

    Parameters
    ----------
    sum : KroneckerSum
        Of the operators of the rows and of the columns.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import laplacian
    >>> edge = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> EntryOperator(KroneckerSum(edge, edge)) @ torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    tensor([[ 2., -1.],
            [-1.,  0.]])
    """

    sum: KroneckerSum

    # One system for all entries: the columns of a signal cannot be solved one by one.
    couples_columns = True
    symmetric = True

    @property
    def parts(self) -> tuple[ShiftOperator, ShiftOperator]:
        """Operator of the rows and of the columns."""
        return self.sum.rows, self.sum.columns

    @property
    def shape(self) -> tuple[int, int]:
        """Square, with as many rows as a signal has: what it can be multiplied with."""
        rows = self.sum.shape[0]
        return rows, rows

    @property
    def nodes(self) -> int:
        """Number of nodes: of entries."""
        return self.sum.nodes

    @property
    def components(self) -> int:
        """Number of connected components."""
        return self.sum.components

    @property
    def bound(self) -> float:
        """Upper bound of the absolute eigenvalues."""
        return max(abs(end) for end in self.sum.interval)

    def __matmul__(self, X: Any) -> Tensor:
        product: Tensor = self.sum.times(X)
        return product
