r"""An operator on the entries of a matrix by modes of its rows and its columns, with any eigenvalues.

.. math:: X \mapsto U \left( S \circ U^T X V \right) V^T

Where s_ij is the energy that a gradient has in mode (i, j), it is the Fisher matrix in the basis of EK-FAC
(T. George et al., "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis", arXiv:1806.03884).
"""

from dataclasses import dataclass
from functools import cached_property

import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.graphs import random_rotation
from paramgraph.spectra.kronecker_operator import KroneckerOperator
from paramgraph.spectra.shift_operator import Kind
from paramgraph.spectra.signals import keep_tensor


@dataclass(frozen=True, eq=False, repr=False)
class KroneckerModes(KroneckerOperator):
    """Act on the entries of a matrix by an eigenvalue for each pair of a row mode and a column mode.

    Both bases are orthonormal and are not copied: float32 ones serve float32 signals as they are. What lies outside
    bases that are not complete has the eigenvalue 0. A ValueError is raised where shapes do not fit, an eigenvalue is
    negative, or a number is not finite; a TypeError for what is no tensor.

    >>> basis = torch.eye(2)
    >>> KroneckerModes(basis, basis, torch.tensor([[1.0, 2.0], [3.0, 4.0]])) @ torch.ones(2, 2)
    tensor([[1., 2.],
            [3., 4.]])
    """

    row_basis: Float[Tensor, "rows a"]
    column_basis: Float[Tensor, "columns b"]
    eigenvalues: Float[Tensor, "a b"]

    def __post_init__(self) -> None:
        if not isinstance(self.eigenvalues, Tensor):
            raise TypeError(f"the eigenvalues must be a tensor, got {type(self.eigenvalues).__name__}")
        for side, basis in (("row", self.row_basis), ("column", self.column_basis)):
            if basis.ndim != 2 or basis.shape[0] < basis.shape[1]:
                raise ValueError(
                    f"the {side} basis must have the shape (nodes, modes) with no more modes than nodes, got "
                    f"{tuple(basis.shape)}"
                )
            if not bool(torch.isfinite(basis).all()):
                raise ValueError(f"the {side} basis holds NaN or infinity")
        wanted = (self.row_basis.shape[1], self.column_basis.shape[1])
        if self.eigenvalues.shape != wanted:
            raise ValueError(
                f"the eigenvalues must have the shape {wanted}, one for each pair of a row mode and a column mode, got "
                f"{tuple(self.eigenvalues.shape)}"
            )
        low = self.eigenvalues.amin().item() if self.eigenvalues.numel() else 0.0
        if not (low >= 0 and bool(torch.isfinite(self.eigenvalues).all())):
            raise ValueError(
                f"the eigenvalues must be finite and not negative, as measured energies are; the smallest is {low:.4g}"
            )

    def __repr__(self) -> str:
        return f"KroneckerModes(shape={self.shape}, modes={tuple(self.eigenvalues.shape)})"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix that it acts on, (rows, columns)."""
        return self.row_basis.shape[0], self.column_basis.shape[0]

    @property
    def complete(self) -> bool:
        """Whether every mode has an eigenvalue of its own."""
        return tuple(self.eigenvalues.shape) == self.shape

    @property
    def kind(self) -> Kind:
        """Say "adjacency": the strong modes are the low graph frequencies."""
        return "adjacency"

    @property
    def interval(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue, 0 among them where modes are left out."""
        if not self.eigenvalues.numel():
            return 0.0, 0.0
        low, high = (end.item() for end in torch.aminmax(self.eigenvalues))
        return (low if self.complete else 0.0), high

    def times(self, X: Tensor) -> Tensor:
        """Multiply a matrix or a stack: 4 rows columns (rows + columns) operations with complete bases."""
        key = X.device, X.dtype
        if key not in self._tensors:
            parts = (self.row_basis, self.column_basis, self.eigenvalues)
            self._tensors[key] = tuple(keep_tensor(part, *key) for part in parts)
        U, V, S = self._tensors[key]
        stack = X.movedim(-1, 0) if X.ndim == 3 else X
        product = U @ (S * (U.T @ stack @ V)) @ V.T
        return product.movedim(0, -1) if X.ndim == 3 else product

    def to_scipy(self) -> sp.csr_array:
        """Form the matrix of entries by entries, in the order of `X.flatten()`; for tests and small matrices."""
        basis = torch.kron(self.row_basis.double(), self.column_basis.double())
        return sp.csr_array(((basis * self.eigenvalues.double().reshape(-1)) @ basis.T).cpu().numpy())

    def permuted(self, seed: int) -> "KroneckerModes":
        """Give the same modes to other rows and other columns at random: a null of the same eigenvalues.

        Copies both bases. The global random state is not used.
        """
        generator = torch.Generator().manual_seed(seed)
        U, V = (
            basis[torch.randperm(len(basis), generator=generator, device="cpu").to(basis.device)]
            for basis in (self.row_basis, self.column_basis)
        )
        return KroneckerModes(U, V, self.eigenvalues)

    def rotated(self, seed: int) -> "KroneckerModes":
        """Give the same eigenvalues to modes of random direction, uniform (Haar): a null of nothing but the spectrum.

        O(rows^3 + columns^3) time, in float64. The global random state is not used.
        """
        generator = torch.Generator().manual_seed(seed)
        U, V = (
            random_rotation(basis.shape[0], basis.shape[1], generator).to(basis)
            for basis in (self.row_basis, self.column_basis)
        )
        return KroneckerModes(U, V, self.eigenvalues)

    def strongest(self) -> "KroneckerModes":
        """Keep the eigenvalues of the row mode and of the column mode that have most of them in sum; all else is 0."""
        kept = torch.zeros_like(self.eigenvalues)
        if kept.numel():
            row, column = self.eigenvalues.sum(dim=1).argmax(), self.eigenvalues.sum(dim=0).argmax()
            kept[row], kept[:, column] = self.eigenvalues[row], self.eigenvalues[:, column]
        return KroneckerModes(self.row_basis, self.column_basis, kept)

    def swapped(self) -> "KroneckerModes":
        """Give the largest eigenvalue to the mode of the smallest, and so on: the same spectrum, high for low."""
        flat = self.eigenvalues.flatten()
        order = torch.argsort(flat, stable=True)
        turned = torch.empty_like(flat)
        turned[order] = flat[order.flip(0)]
        return KroneckerModes(self.row_basis, self.column_basis, turned.view_as(self.eigenvalues))

    def diagonal(self) -> "KroneckerModes":
        r"""Keep the diagonal on the entries, :math:`(U \circ U) S (V \circ V)^T`: none knows another."""
        U, V = self.row_basis.square(), self.column_basis.square()
        values = (U @ self.eigenvalues.to(U) @ V.T.to(U)).to(self.eigenvalues)
        rows, columns = (torch.eye(len(basis), dtype=basis.dtype, device=basis.device) for basis in (U, V))
        return KroneckerModes(rows, columns, values)

    @cached_property
    def _tensors(self) -> dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]]:
        return {}
