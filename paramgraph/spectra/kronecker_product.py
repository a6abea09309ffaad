r"""The product of an operator on the rows and an operator on the columns of a matrix, which is never formed.

.. math:: A = A_r \otimes A_c, \qquad A \operatorname{vec}(X) = \operatorname{vec}(A_r X A_c)

Two entries are linked where both their rows and their columns are: the tensor product of the two graphs.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from paramgraph.graphs import edge_part
from paramgraph.spectra.kronecker_operator import KroneckerPair
from paramgraph.spectra.shift_operator import ShiftOperator
from paramgraph.spectra.shifts import two_colouring

# Eigenvalues of a millionth of a billionth of that are still normal numbers, with all their digits.
LEAST_PRODUCT = np.finfo(np.float64).tiny / np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False, repr=False)
class KroneckerProduct(KroneckerPair):
    """Act on the entries of a matrix by an operator on its rows times one on its columns.

    The eigenvalues are all products of one of the rows and one of the columns. Of two adjacencies the largest come
    first: strong modes, of two strong ones, or of two that are strong and negative. Of two Laplacians, whose
    product is no Laplacian but has no negative eigenvalue either, the smallest.

    >>> import torch
    >>> from paramgraph import adjacency
    >>> KroneckerProduct(adjacency(np.diag([1.0, 2.0])), adjacency(np.diag([3.0, 4.0]))) @ torch.ones(2, 2)
    tensor([[3., 4.],
            [6., 8.]])
    """

    join = np.multiply
    rises = False
    separable = ("power",)
    word = "product"

    def __post_init__(self) -> None:
        super().__post_init__()
        largest = max(map(abs, self.interval))
        lost = self.rows.bound and self.columns.bound and largest < LEAST_PRODUCT
        if not np.isfinite(largest) or lost:
            raise ValueError(
                f"eigenvalues of up to {self.rows.bound:.2g} and {self.columns.bound:.2g} have products beyond "
                "the range of float64; divide the weights of both graphs by the largest"
            )

    @cached_property
    def components(self) -> int:
        """Number of connected components, by pairs of components of rows and of columns.

        A pair is connected, or has two parts where both have two sides (bipartite, without loops). A node with neither
        edge nor loop leaves all entries of its row or column alone.
        """
        (alone, even, odd), (alone_too, even_too, odd_too) = (_parts(side) for side in self.parts)
        linked = (even + odd) * (even_too + odd_too) + even * even_too
        rows, columns = self.shape
        return linked + alone * columns + alone_too * rows - alone * alone_too

    @property
    def nullity(self) -> int:
        """Multiplicity of the eigenvalue 0 of Laplacians: the modes of which either factor is 0."""
        (rows, columns), (zero, zero_too) = self.shape, (self.rows.nullity, self.columns.nullity)
        return zero * columns + zero_too * rows - zero * zero_too

    def rounding(self, values: tuple[Tensor, Tensor], roundings: tuple[Tensor, Tensor]) -> Tensor:
        """Bound (b + e)(a + f) - b a by |b| f + |a| e + e f."""
        (b, a), (e, f) = values, roundings
        return b.abs() * f + a.abs() * e + e * f

    def times(self, X: Tensor) -> Tensor:
        """Multiply a matrix or a stack: A_r X A_c in O(row edges x columns + column edges x rows) time."""
        return (self.columns @ (self.rows @ X).transpose(0, 1)).transpose(0, 1)

    def to_scipy(self) -> sp.csr_array:
        """Form the product as a sparse matrix, in the order of `X.flatten()`; for tests and small matrices."""
        return sp.csr_array(sp.kron(self.rows.to_scipy(), self.columns.to_scipy(), format="csr"))


def _parts(operator: ShiftOperator) -> tuple[int, int, int]:
    """Count the nodes without edge or loop, the components with two sides, and all others."""
    count, labels = operator.components, operator.component_labels
    looped = np.bincount(labels, weights=operator.matrix.diagonal() != 0, minlength=count) > 0
    linked = looped | (np.bincount(labels, weights=operator.degrees, minlength=count) > 0)
    even = linked & ~looped
    if even.any():
        # A component whose edges all change sides is balanced where it has two.
        sides = two_colouring(-abs(edge_part(sp.csr_array(operator.matrix))), labels)
        even &= np.bincount(labels, weights=sides != 0, minlength=count) > 0
    return int((~linked).sum()), int(even.sum()), int((linked & ~even).sum())
