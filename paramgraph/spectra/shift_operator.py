"""What acts on the rows of a signal, and the value that every graph shift operator is: one matrix and its facts."""

import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from paramgraph.graphs import Matrix
from paramgraph.spectra.signals import working_dtype

Kind = Literal["laplacian", "adjacency"]
Normalization = Literal[None, "sym", "rw"]
_Signal = TypeVar("_Signal")  # a Tensor, an ndarray or a SciPy array; comes back as the same type


class SignalOperator(ABC):
    """What the penalty and the linear solve ask of an operator; derive from it to bring another kind.

    Its defaults are those of a symmetric matrix whose rows all lie here, and which takes each column by itself.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Square, with as many rows as a signal has."""

    @property
    @abstractmethod
    def nodes(self) -> int:
        """Number of nodes: order of the matrix that acts, wherever its rows lie."""

    @property
    @abstractmethod
    def bound(self) -> float:
        """Upper bound of the absolute eigenvalues."""

    @abstractmethod
    def __matmul__(self, X: Tensor) -> Tensor:
        """Multiply a signal; dtype and device are those of the signal."""

    @property
    def symmetric(self) -> bool:
        """Whether the matrix is symmetric (to the last bit)."""
        return True

    @property
    def spans_ranks(self) -> bool:
        """Whether several ranks multiply together, so that one without rows takes part all the same."""
        return False

    @property
    def parts(self) -> tuple["ShiftOperator", ...]:
        """Matrices of graphs that it is made of, one for each axis of a signal that has a graph; empty for others."""
        return ()

    @property
    def couples_columns(self) -> bool:
        """Whether the columns of a signal are one system, and cannot be solved one by one."""
        return False

    def adjoint(self, X: Tensor) -> Tensor:
        """Multiply a signal by the transpose."""
        return self @ X

    def inner(self, product: Tensor) -> Tensor:
        """Add an entrywise product of two signals up, for each system by itself."""
        return product.sum() if self.couples_columns else product.sum(0)


@dataclass(frozen=True, eq=False, repr=False)
class ShiftOperator(SignalOperator):
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
    kind: Kind
    normalization: Normalization
    degrees: Float[np.ndarray, "nodes"]
    component_labels: Int64[np.ndarray, "nodes"]
    similar: "ShiftOperator | None" = None
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
    def parts(self) -> tuple["ShiftOperator", ...]:
        """Itself alone."""
        return (self,)

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
        """Copy the matrix as a CSR array, float64, indices sorted; zeros of a dense matrix are not stored."""
        return sp.csr_array(self.matrix, copy=True)

    def to_dense(self) -> Float[np.ndarray, "nodes nodes"]:
        """Copy the matrix as a dense float64 array."""
        return self.matrix.copy() if isinstance(self.matrix, np.ndarray) else self.matrix.toarray()

    def to_torch(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        layout: Literal["auto", "dense", "coo", "csr"] = "auto",
    ) -> Float[Tensor, "nodes nodes"]:
        """Copy the matrix as a torch tensor of any floating dtype; float64 on the CPU by default.

        "auto" is dense where the graph is, else "coo". The sparse layouts of torch do not multiply in half precision
        on the CPU. A ValueError names the layouts; a TypeError is raised where a dtype would cut the entries off.
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
        balanced component, and 0 on a component that is not balanced. An adjacency raises a ValueError.
        """
        self._need_laplacian()
        entry = np.ones(self.nodes)
        if self.normalization == "sym":
            entry = np.where(self.degrees > 0, np.sqrt(self.degrees), 1.0)
        square = np.bincount(self.component_labels, weights=entry**2, minlength=self.components)
        entry /= np.sqrt(square[self.component_labels])
        return entry if self.signs is None else entry * self.signs

    def null_basis(self) -> sp.csr_array:
        """Write down the null space of a Laplacian: (nodes, nullity), orthonormal, in the order of `component_labels`.

        At most one entry in each row, so O(nodes) memory, however many components.
        """
        entry = self.null_entries()
        rows = np.flatnonzero(entry) if self.signs is not None else np.arange(self.nodes)
        columns = np.unique(self.component_labels[rows], return_inverse=True)[1]
        return sp.csr_array((entry[rows], (rows, columns)), shape=(self.nodes, self.nullity))

    def null_space(self) -> Float[np.ndarray, "nodes nullity"]:
        """Write the columns of `null_basis` as a dense array."""
        return self.null_basis().toarray()

    def _need_laplacian(self) -> None:
        if self.kind != "laplacian":
            raise ValueError("an adjacency has no null space that is known beforehand; use laplacian(graph)")

    def symmetrized(self) -> tuple["ShiftOperator", Float[np.ndarray, "nodes"]]:
        r"""Give the symmetric operator with the same eigenvalues, and s; itself and ones where it is symmetric.

        .. math:: L_{rw} = S^{-1} L_{sym} S, \qquad S = \operatorname{diag}(s), \quad s \propto \sqrt{d}

        The largest s is near 1, so that signals of any dtype have room for it. An isolated node has s = 1.
        """
        if self.similar is None:
            return self, np.ones(self.nodes)
        even = 2 * (math.frexp(self.degrees.max(initial=0.0))[1] // 2)  # its root is exact
        return self.similar, np.where(self.degrees > 0, np.sqrt(np.ldexp(self.degrees, -even)), 1.0)

    def in_units(self) -> tuple["ShiftOperator", int]:
        """Divide by the power of two that brings the bound to 2 or above, below 4, and give its exponent.

        Exact, so that no digit changes; ARPACK takes values below 1e-11 for zero, and squares of weights beyond
        1e-154 or 1e154 are not to be had.
        """
        exponent = math.frexp(self.bound)[1] - 2
        if not self.bound or not exponent:
            return self, 0
        matrix, degrees = times_power(self.matrix, -exponent), np.ldexp(self.degrees, -exponent)
        return replace(self, matrix=matrix, degrees=degrees), exponent

    def fingerprint(self) -> str:
        """Hash kind, normalization and matrix: equal operators have equal fingerprints, on every machine."""
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

    def adjoint(self, X: Tensor) -> Tensor:
        """Multiply a signal by the transpose; for "rw" by SciPy, in float64 on the CPU."""
        if self.symmetric:
            return self @ X
        product = self.to_scipy().T @ X.double().cpu().numpy()
        return torch.from_numpy(product).to(X.device, X.dtype)

    def _times_tensor(self, X: Tensor) -> Tensor:
        if not X.is_floating_point():
            raise TypeError(f"a signal is a floating tensor, got {X.dtype}; convert it with .float()")
        working = working_dtype(X)
        key = (X.device, working)
        if key not in self._tensors:
            # Autograd may not save what was made in inference mode, and this is kept for later.
            with torch.inference_mode(False):
                self._tensors[key] = self.to_torch(*key)
        columns = X.to(working).reshape(self.nodes, math.prod(X.shape[1:]))
        # A caller's autocast would round the product to half precision.
        with torch.autocast(X.device.type, enabled=False):
            return (self._tensors[key] @ columns).reshape(X.shape).to(X.dtype)


def check_operator(found: object, caller: str, count: str = "a shift operator") -> None:
    """Refuse with a TypeError what is no `ShiftOperator`, and say which call makes one of a graph."""
    if not isinstance(found, ShiftOperator):
        raise TypeError(
            f"{caller} takes {count}, got {type(found).__name__}; call laplacian(graph) or adjacency(graph) first"
        )


def times_power(matrix: Matrix, exponent: int) -> Matrix:
    """Multiply by a power of two, which is exact."""
    if isinstance(matrix, np.ndarray):
        return np.ldexp(matrix, exponent)
    product = matrix.copy()
    product.data = np.ldexp(product.data, exponent)
    return product


def sparse_tensor(
    matrix: Matrix, device: torch.device | str, dtype: torch.dtype, layout: Literal["coo", "csr"]
) -> Float[Tensor, "rows columns"]:
    """Copy a matrix to a coalesced sparse tensor; zeros of a dense one are not stored."""
    if isinstance(matrix, np.ndarray):
        matrix = sp.csr_array(matrix)
    in_order = matrix if matrix.has_sorted_indices else matrix.sorted_indices()
    values = torch.tensor(in_order.data, dtype=dtype, device=device)
    if layout == "csr":
        # SciPy's own indices, of 32 bits where they are enough: those of 64 MKL would convert at each product.
        ends, columns = (torch.tensor(part, device=device) for part in (in_order.indptr, in_order.indices))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            return torch.sparse_csr_tensor(
                ends, columns, values, matrix.shape, device=device, check_invariants=False
            )
    entries = sp.coo_array(in_order)
    places = torch.tensor(np.stack([entries.row, entries.col]).astype(np.int64), device=device)
    # Coalescing would only sort again.
    return torch.sparse_coo_tensor(
        places, values, matrix.shape, device=device, is_coalesced=True, check_invariants=False
    )
