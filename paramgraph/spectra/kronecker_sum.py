r"""The sum of an operator on the rows and an operator on the columns of a matrix, which is never formed.

.. math:: L = L_r \otimes I + I \otimes L_c, \qquad L \operatorname{vec}(X) = \operatorname{vec}(L_r X + X L_c)
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from paramgraph.spectra.kronecker_operator import KroneckerPair


@dataclass(frozen=True, eq=False, repr=False)
class KroneckerSum(KroneckerPair):
    """Act on the entries of a matrix by an operator on its rows plus one on its columns.

    >>> import networkx as nx, torch
    >>> from paramgraph import laplacian
    >>> edge = laplacian(nx.path_graph(2), None)
    >>> KroneckerSum(edge, edge) @ torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    tensor([[ 2., -1.],
            [-1.,  0.]])
    """

    join = np.add
    rises = True
    separable = ("heat",)
    word = "sum"

    @property
    def components(self) -> int:
        """Number of connected components, the product of those of rows and columns."""
        return self.rows.components * self.columns.components

    @property
    def nullity(self) -> int:
        """Multiplicity of the eigenvalue 0 of Laplacians, the product of those of rows and columns."""
        return self.rows.nullity * self.columns.nullity

    def rounding(self, values: tuple[Tensor, Tensor], roundings: tuple[Tensor, Tensor]) -> Tensor:
        """Add up how far both are off."""
        return roundings[0] + roundings[1]

    def times(self, X: Tensor) -> Tensor:
        """Multiply a matrix or a stack: L_r X + X L_c in O(row edges x columns + column edges x rows) time."""
        return (self.rows @ X) + (self.columns @ X.transpose(0, 1)).transpose(0, 1)

    def null_basis(self) -> sp.csr_array:
        """Write down the null space of Laplacians, (nodes, nullity): outer products of those of rows and columns.

        Orthonormal, at most one entry in each row; a ValueError for adjacencies.
        """
        return sp.csr_array(sp.kron(self.rows.null_basis(), self.columns.null_basis(), format="csr"))

    def to_scipy(self) -> sp.csr_array:
        """Form the sum as a sparse matrix, in the order of `X.flatten()`; for tests and small matrices."""
        # SciPy's kronsum(A, B) is I (x) A + B (x) I.
        return sp.csr_array(sp.kronsum(self.columns.to_scipy(), self.rows.to_scipy(), format="csr"))
