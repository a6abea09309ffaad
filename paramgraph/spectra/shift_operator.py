"""The value that every graph shift operator is: one matrix, and what is known of its spectrum."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from paramgraph.graphs import Matrix
from paramgraph.spectra.sparse_tensors import sparse_tensor

_Signal = TypeVar("_Signal")  # a Tensor, an ndarray or a SciPy array; comes back as the same type


@dataclass(frozen=True, eq=False, repr=False)
class ShiftOperator:
    r"""Hold one matrix of a graph, and what is known about its spectrum beforehand.

    Made by `laplacian`, `adjacency` and `zero_operator`; not meant to be built by hand, nor its arrays
    to be changed.

    Parameters
    ----------
    matrix : csr_array or ndarray of shape (nodes, nodes)
        The operator, float64; dense where the graph is.
    kind : {"laplacian", "adjacency"}
        Which shift operator it is, and so which end of the spectrum is the low graph frequency.
    normalization : {None, "sym", "rw"}
        Normalization of a Laplacian; None for an adjacency.
    degrees : ndarray of shape (nodes,)
        Sum of the absolute edge weights of each node, without the diagonal.
    component_labels : ndarray of shape (nodes,)
        Number of each node's connected component, from 0.
    similar : ShiftOperator, optional
        For "rw", the symmetric Laplacian of the same graph.
    signs : ndarray of shape (nodes,), optional
        Of a signed Laplacian: 1 or -1 for the two sides of a balanced component, 0 in all others.

    Examples
    --------
    >>> from paramgraph import laplacian
    >>> L = laplacian(np.array([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> L @ torch.tensor([1.0, 3.0])
    tensor([-2.,  2.])
    """

    matrix: Matrix
    kind: str
    normalization: str | None
    degrees: Float[np.ndarray, "nodes"]
    component_labels: Int64[np.ndarray, "nodes"]
    similar: Any = None
    signs: Float[np.ndarray, "nodes"] | None = None

    # NumPy would otherwise take `array @ operator` apart element by element.
    __array_ufunc__ = None

    def __repr__(self) -> str:
        name = self.kind if self.kind == "adjacency" else f"laplacian, normalization={self.normalization!r}"
        signed = "" if self.signs is None else ", signed=True"
        return f"ShiftOperator({name}{signed}, nodes={self.nodes})"

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.matrix.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix, (nodes, nodes)."""
        return self.nodes, self.nodes

    @property
    def components(self) -> int:
        """Number of connected components; edges of either sign connect."""
        return int(self.component_labels.max(initial=-1)) + 1

    @property
    def nullity(self) -> int:
        """Multiplicity of the eigenvalue 0 of a Laplacian: components, or balanced ones where it is signed."""
        self._need_laplacian()
        if self.signs is None:
            return self.components
        return len(np.unique(self.component_labels[self.signs != 0]))

    @property
    def symmetric(self) -> bool:
        """Whether the matrix is symmetric (to the last bit); only "rw" is not."""
        return self.normalization != "rw"

    @property
    def is_dense(self) -> bool:
        """Whether the matrix is kept as a dense array."""
        return isinstance(self.matrix, np.ndarray)

    @cached_property
    def interval(self) -> tuple[float, float]:
        r"""Interval that is proven to hold all eigenvalues, in O(edges).

        Laplacian: [0, 2] for "sym" and "rw"; [0, :math:`\max_{ij \in E} d_i + d_j`] for the combinatorial one
        (Anderson and Morley 1985; absolute weights bound the signed one). Adjacency: Gershgorin's discs.
        Without edges a Laplacian is 0.
        """
        if self.kind == "adjacency":
            diagonal = self.matrix.diagonal()
            low, high = diagonal - self.degrees, diagonal + self.degrees
            return (float(low.min()), float(high.max())) if self.nodes else (0.0, 0.0)
        if not self.degrees.any():
            return 0.0, 0.0
        if self.normalization is not None:
            return 0.0, 2.0
        row, column = self.matrix.nonzero()
        edges = row != column
        return 0.0, float((self.degrees[row] + self.degrees[column])[edges].max(initial=0.0))

    @property
    def bound(self) -> float:
        """Upper bound of the absolute eigenvalues; see `interval`."""
        return max(abs(end) for end in self.interval)

    def to_scipy(self) -> sp.csr_array:
        """Copy the matrix as a SciPy sparse array.

        Returns
        -------
        csr_array of shape (nodes, nodes)
            Float64, indices sorted; zeros of a dense matrix are not stored.
        """
        return sp.csr_array(self.matrix, copy=True)

    def to_dense(self) -> Float[np.ndarray, "nodes nodes"]:
        """Copy the matrix as a dense array.

        Returns
        -------
        ndarray of shape (nodes, nodes)
            Float64; O(nodes^2) memory.
        """
        return self.matrix.copy() if isinstance(self.matrix, np.ndarray) else self.matrix.toarray()

    def to_torch(
        self, device: Any = None, dtype: Any = None, layout: str = "auto"
    ) -> Float[Tensor, "nodes nodes"]:
        """Copy the matrix as a torch tensor.

        Parameters
        ----------
        device : torch.device or str, optional
            Where it shall lie; the CPU by default.
        dtype : torch.dtype, default torch.float64
            Any floating dtype; the sparse layouts of torch do not multiply in half precision on the CPU.
        layout : {"auto", "dense", "coo", "csr"}
            "auto" is dense where the graph is, else "coo". torch's warning that "csr" is in beta is not
            passed on here.

        Returns
        -------
        Tensor of shape (nodes, nodes)
            A copy.

        Raises
        ------
        ValueError
            If `layout` is none of these.
        TypeError
            If `dtype` is not floating: it would cut the entries off.
        """
        if layout not in ("auto", "dense", "coo", "csr"):
            raise ValueError(f"no layout {layout!r}; allowed: 'auto', 'dense', 'coo', 'csr'")
        dtype = torch.float64 if dtype is None else dtype
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise TypeError(f"dtype is a floating torch dtype such as torch.float32, got {dtype}")
        device = "cpu" if device is None else device  # whatever torch.set_default_device says
        if layout == "dense" or (layout == "auto" and self.is_dense):
            return torch.tensor(self.to_dense(), dtype=dtype, device=device)
        return sparse_tensor(self.matrix, device, dtype, "csr" if layout == "csr" else "coo")

    def null_entries(self) -> Float[np.ndarray, "nodes"]:
        r"""Write down the null vectors of a Laplacian, all in one array, since no two share a node.

        On its component a null vector is constant (None, "rw") or proportional to :math:`\sqrt{d}` ("sym"); an
        isolated node is a unit vector. A signed Laplacian has the same with one sign for each side of a
        balanced component, and none on a component that is not balanced.

        Returns
        -------
        ndarray of shape (nodes,)
            Of unit norm on each component that has a null vector, 0 on the others.

        Raises
        ------
        ValueError
            If the operator is an adjacency.
        """
        self._need_laplacian()
        entry = np.ones(self.nodes)
        if self.normalization == "sym":
            entry = np.where(self.degrees > 0, np.sqrt(self.degrees), 1.0)
        square = np.bincount(self.component_labels, weights=entry**2, minlength=self.components)
        entry /= np.sqrt(square[self.component_labels])
        return entry if self.signs is None else entry * self.signs

    def null_basis(self) -> sp.csr_array:
        """Write down the null space of a Laplacian, one sparse column for each null vector.

        At most one entry in each row: O(nodes) memory, however many components.

        Returns
        -------
        csr_array of shape (nodes, nullity)
            Orthonormal columns, in the order of `component_labels`; see `null_entries`.
        """
        entry = self.null_entries()
        rows = np.flatnonzero(entry) if self.signs is not None else np.arange(self.nodes)
        columns = np.unique(self.component_labels[rows], return_inverse=True)[1]
        return sp.csr_array((entry[rows], (rows, columns)), shape=(self.nodes, self.nullity))

    def null_space(self) -> Float[np.ndarray, "nodes nullity"]:
        """Write down an orthonormal basis of the null space of a Laplacian, in closed form.

        Returns
        -------
        ndarray of shape (nodes, nullity)
            The columns of `null_basis`, dense.
        """
        return self.null_basis().toarray()

    def _need_laplacian(self) -> None:
        if self.kind != "laplacian":
            raise ValueError("an adjacency has no null space that is known beforehand; use laplacian(graph)")

    def symmetrized(self) -> tuple["ShiftOperator", Float[np.ndarray, "nodes"]]:
        r"""Give the symmetric matrix with the same eigenvalues.

        .. math:: L_{rw} = S^{-1} L_{sym} S, \qquad S = \operatorname{diag}(s), \quad s = \sqrt{d}

        Returns
        -------
        operator : ShiftOperator
            The symmetric operator; the operator itself where it is symmetric.
        scale : ndarray of shape (nodes,)
            s, with 1 for an isolated node; all ones where the operator is symmetric.
        """
        if self.similar is None:
            return self, np.ones(self.nodes)
        return self.similar, np.where(self.degrees > 0, np.sqrt(self.degrees), 1.0)

    def fingerprint(self) -> str:
        """Hash the operator: equal operators have equal fingerprints, on every machine.

        Returns
        -------
        str
            SHA-256 of kind, normalization and matrix, in hexadecimal.
        """
        entries = sp.coo_array(self.matrix)
        digest = hashlib.sha256(f"{self.kind} {self.normalization} {self.nodes}".encode())
        digest.update(np.stack([entries.row, entries.col]).astype("<i8").tobytes())
        digest.update(entries.data.astype("<f8").tobytes())
        return digest.hexdigest()

    @cached_property
    def _tensors(self) -> dict[tuple[torch.device, torch.dtype], Tensor]:
        return {}

    def __matmul__(self, X: _Signal) -> _Signal:
        """Multiply a signal of shape (nodes,) or (nodes, width); dtype and device are those of the signal.

        NaN and infinite entries spread as in any matrix product; `apply_filter` refuses them.
        """
        if not isinstance(X, Tensor | np.ndarray) and not sp.issparse(X):
            raise TypeError(f"a signal is a torch tensor, a NumPy or a SciPy array, got {type(X).__name__}")
        signal: Any = X
        if not signal.ndim or signal.shape[0] != self.nodes:
            raise ValueError(
                f"a signal on {self.nodes} nodes has {self.nodes} rows, got shape {tuple(signal.shape)}"
            )
        if isinstance(signal, Tensor):
            return cast(_Signal, self._times_tensor(signal))
        product: Any = self.matrix @ signal
        return cast(_Signal, product.astype(signal.dtype) if signal.dtype.kind == "f" else product)

    def _times_tensor(self, X: Tensor) -> Tensor:
        if not X.is_floating_point():
            raise TypeError(f"a signal is a floating tensor, got {X.dtype}; convert it with .float()")
        # Half precision has 8 to 11 bits: summing thousands of rows needs the 24 of float32.
        working = torch.float64 if X.dtype == torch.float64 else torch.float32
        key = (X.device, working)
        if key not in self._tensors:
            # Autograd may not save what was made in inference mode, and this is kept for later.
            with torch.inference_mode(False):
                self._tensors[key] = self.to_torch(*key)
        columns = X.to(working).reshape(self.nodes, math.prod(X.shape[1:]))
        # A caller's autocast would round the product to half precision.
        with torch.autocast(X.device.type, enabled=False):
            return (self._tensors[key] @ columns).reshape(X.shape).to(X.dtype)
