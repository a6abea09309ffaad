"""Scalars as nodes: the graph on the entries of one matrix.

An entry is linked to those of its column as their rows are linked, and to those of its row as their columns are: the
Cartesian product of a graph of the rows and one of the columns. Or to those entries of which both row and column are
linked to its own: the tensor product.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._choice import ProductMethod, Tail
from paramgraph.filters.product_filter import ProductFilter, prepare_product_filter
from paramgraph.filters.response import ResponseFunction
from paramgraph.graphs import GraphLike
from paramgraph.spectra import (
    KroneckerModes,
    KroneckerOperator,
    KroneckerPair,
    KroneckerProduct,
    KroneckerSum,
    Normalization,
    ProductModes,
    Seed,
    ShiftOperator,
    Spectrum,
    adjacency,
    check_signal,
    count_pairs,
    laplacian,
    product_eigenpairs,
    product_modes,
    wide,
)

ProductKind = Literal["cartesian", "tensor"]
_JOINS: dict[ProductKind, type[KroneckerPair]] = {"cartesian": KroneckerSum, "tensor": KroneckerProduct}


@dataclass(frozen=True, eq=False, repr=False)
class ProductGraph:
    r"""Link all entries of a matrix X by a graph of its rows and a graph of its columns.

    .. math::
        L = L_r \otimes I + I \otimes L_c \text{ ("cartesian")}, \qquad L = A_r \otimes A_c \text{ ("tensor")}

    where vec takes X row by row, as `X.flatten()`, so that L vec(X) is :math:`L_r X + X L_c` or :math:`A_r X A_c`. L
    itself is never formed.

    With combinatorial Laplacians, the default, the sum is the Laplacian of the Cartesian product of the two graphs
    [1]_. The symmetric normalization of a product is not the sum of those of its factors: with `normalization="sym"`,
    or with operators given, L is *defined* as the sum. One graph alone: give `zero_operator(n)` for the other side.

    The product is the adjacency of the tensor product of the two graphs. Its strong modes, which come first, are
    strong on both sides. With Gram graphs of a layer's output gradients and of its inputs, `tikhonov` is the filter of
    K-FAC, and with measured eigenvalues that of EK-FAC [2]_. One graph alone: give `np.eye(n)` for the other side.

    Parameters
    ----------
    row_graph, column_graph : Data, SciPy sparse array, ndarray, Tensor, networkx.Graph or ShiftOperator
        Graph of the rows of X, and of its columns; a symmetric operator is taken as it is. Both are Laplacians, or
        both adjacencies.
    normalization : {None, "sym"}, default None
        Of the Laplacians of graphs that are no operators yet; of a sum alone.
    kind : {"cartesian", "tensor"}, default "cartesian"
        Sum or product of the two operators. A graph that is no operator yet stands for its Laplacian in a sum, for its
        adjacency in a product.

    Raises
    ------
    ValueError
        If an operator is not symmetric ("rw"), one is a Laplacian and the other an adjacency, there is no such `kind`,
        or a product is given a `normalization`.

    References
    ----------
    .. [1] R. Merris, "Laplacian graph eigenvectors", Linear Algebra and its Applications 278, 1998.
    .. [2] T. George et al., "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis",
       arXiv:1806.03884.

    Examples
    --------
    >>> from paramgraph import build, columns, heat, rows, tikhonov
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8))
    >>> table, across = rows(model)["0.weight"], columns(model)["0.weight"]
    >>> row_graph, column_graph = (build(model, each, "cosine_knn", k=3) for each in (table, across))
    >>> product = ProductGraph(row_graph, column_graph)
    >>> X = table.gather(dict(model.named_parameters()))  # (8, 6): rows are outputs, columns are inputs
    >>> smoother = product.apply_filter(X, heat(1.0))
    >>> bool(product.penalty(smoother) < product.penalty(X))
    True

    Each side from its own source, for a product:

    >>> batches = [torch.ones(2, 6), torch.arange(12.0).reshape(2, 6)]
    >>> inputs = build(model, across, "gram", source="activations", batches=batches)
    >>> outputs = build(model, table, "gram", source="output_gradients", batches=batches)
    >>> kept = ProductGraph(outputs, inputs, kind="tensor")
    >>> bool(kept.penalty(kept.apply_filter(X, tikhonov(1.0))) < kept.penalty(X))
    True
    """

    row_graph: ShiftOperator | GraphLike
    column_graph: ShiftOperator | GraphLike
    normalization: Normalization = None
    kind: ProductKind = "cartesian"

    def __post_init__(self) -> None:
        if self.kind not in _JOINS:
            raise ValueError(f"no kind of product {self.kind!r}; allowed: {', '.join(map(repr, _JOINS))}")
        if self.kind == "tensor" and self.normalization is not None:
            raise ValueError(
                f"normalization={self.normalization!r} is of Laplacians, and a product of kind 'tensor' takes "
                "adjacencies; leave it out, or give operators"
            )
        _ = self.operator  # refuse what is no graph here, not at its first use

    def __repr__(self) -> str:
        kind = "" if self.kind == "cartesian" else f", kind={self.kind!r}"
        return f"ProductGraph({self.operator.rows!r}, {self.operator.columns!r}{kind})"

    @cached_property
    def operator(self) -> KroneckerPair:
        """L, as `operator @ X`, SciPy linear operator or, for small matrices, sparse matrix."""
        return _JOINS[self.kind](self._shift(self.row_graph), self._shift(self.column_graph))

    def _shift(self, graph: ShiftOperator | GraphLike) -> ShiftOperator:
        if isinstance(graph, ShiftOperator):
            return graph
        return adjacency(graph) if self.kind == "tensor" else laplacian(graph, self.normalization)

    @property
    def spectra(self) -> tuple[Spectrum, Spectrum]:
        """Complete spectra of rows and columns, solved once: O(rows^3 + columns^3) time; both bases are held."""
        return self.operator.spectra

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of X, (rows, columns)."""
        return self.operator.shape

    @property
    def nodes(self) -> int:
        """Number of nodes: of entries of X."""
        return self.operator.nodes

    @property
    def components(self) -> int:
        """Number of connected components of the graph of the entries."""
        return self.operator.components

    def __matmul__(self, X: Tensor) -> Tensor:
        """Multiply L with a matrix (rows, columns), or with its vector of entries row by row."""
        return self.operator @ X

    def penalty(self, X: Tensor) -> Float[Tensor, ""]:
        r"""Measure how rough a matrix is on both graphs, differentiably.

        .. math:: \operatorname{tr}(X^T L_r X) + \operatorname{tr}(X L_c X^T)
            = \sum_{ij} (\lambda_i + \mu_j) (u_i^T X v_j)^2

        of a product :math:`\operatorname{tr}(A_r X A_c X^T) = \sum_{ij} \lambda_i \mu_j (u_i^T X v_j)^2`, which is how
        much of it lies on strong modes.

        Of the dtype of X, float32 for bf16 and fp16. O(row edges x columns + column edges x rows) time, two matrices of
        memory. A ValueError is raised where X has another shape than (rows, columns), or is not finite.
        """
        check_signal(X, *self.shape)
        with torch.autocast(X.device.type, enabled=False):
            signal = wide(X)
            return (signal * self.operator.times(signal)).sum()

    def penalty_gradient(self, X: Tensor) -> Float[Tensor, "rows columns"]:
        r"""Compute the gradient of `penalty` in closed form.

        .. math:: 2 (L_r X + X L_c), \qquad 2 A_r X A_c

        Of the dtype and device of X, summed in float32 or better, detached; time and errors are those of `penalty`.
        """
        check_signal(X, *self.shape)
        with torch.no_grad(), torch.autocast(X.device.type, enabled=False):
            return (2 * self.operator.times(wide(X.detach()))).to(X.dtype)

    def modes(self, k: int | None = None, solver: str = "auto", seed: Seed = 0) -> ProductModes:
        """Find the k modes of lowest graph frequency, by the numbers of their factors' modes; all of them by default.

        Sums or products of eigenvalues with multiplicity, ascending for Laplacians, descending for adjacencies; equal
        ones in the order of the row mode, then the column mode. At most k pairs of each factor are solved (`solver` and
        `seed` as for `paramgraph.eigenpairs`), and O(k log k) memory is taken beyond them; all pairs and O(rows x
        columns) for a product of adjacencies, of which two negative eigenvalues may make a strong mode. A ValueError is
        raised where k is below 1 or above the number of entries, a TypeError where it is no int.
        """
        return product_modes(self.operator, count_pairs(k, self.nodes), solver, seed)

    def eigenvalues(self, k: int | None = None, solver: str = "auto", seed: Seed = 0) -> Float[Tensor, " k"]:
        r"""Find the k eigenvalues of lowest graph frequency; all else as for `modes`.

        They are :math:`\lambda_i + \mu_j`, of a product :math:`\lambda_i \mu_j`.

        Examples
        --------
        >>> import networkx as nx
        >>> ProductGraph(nx.complete_graph(2), nx.complete_graph(3)).eigenvalues().round(decimals=6)
        tensor([0., 2., 3., 3., 5., 5.], dtype=torch.float64)
        """
        return torch.from_numpy(self.modes(k, solver, seed).eigenvalues)

    def eigenpairs(self, k: int | None = None, solver: str = "auto", seed: Seed = 0) -> Spectrum:
        r"""Find the k eigenpairs of lowest graph frequency, with eigenvectors written out; all else as for `modes`.

        Column m is :math:`u_i \otimes v_j`, taken row by row, so `eigenvectors[:, m].reshape(rows, columns)` is
        :math:`u_i v_j^T`. O(rows x columns x k) memory; a ValueError where that is more than 2 GiB.
        """
        return product_eigenpairs(self.operator, count_pairs(k, self.nodes), solver, seed)

    def prepare_filter(
        self,
        response: ResponseFunction | str,
        method: ProductMethod = "auto",
        order: int = 30,
        rank: int | None = None,
        tail: Tail = "edge",
        eigenvalues: Float[Tensor, "rows columns"] | None = None,
    ) -> ProductFilter:
        """Prepare h(L) once, to filter many matrices.

        "auto" takes lowrank with a `rank`; separable for heat of a sum and an undamped power of a product; exact up to
        4,096 rows and columns; else chebyshev of the order, from `order` up to 500, that brings the error below 1e-6.
        What runs, and why, is in `.method` and `.reason`. `lowrank` takes 32 modes without a `rank`; `tail` is what it
        does to all others: h at the last computed eigenvalue, remove, or leave. Exact takes O(rows^3 + columns^3) once
        and the memory of both bases. A damped power of a product is separable where it is asked for, with its damping
        on each side.

        With `eigenvalues` the response acts on these numbers in place of the product's own, (i, j) for the mode i of
        the rows and j of the columns in the order of `spectra`: energies that were measured, finite and not negative.
        They have no rounding, so a number at a cut-off is at its side of it. The filter is exact.

        A ValueError is raised where an option is not allowed, a response is asked to be separable that is not, or
        "auto" finds no order that is enough (a jump on a large matrix); "chebyshev" that was asked for warns with a
        NumericalWarning where its error is above 0.01.
        """
        operator: KroneckerOperator = self.operator
        if eigenvalues is not None:
            U, V = (spectrum.eigenvectors for spectrum in self.spectra)
            operator = KroneckerModes(U, V, eigenvalues)
        return prepare_product_filter(operator, response, method, order, rank, tail)

    def apply_filter(
        self,
        X: Tensor,
        response: ResponseFunction | str,
        method: ProductMethod = "auto",
        order: int = 30,
        rank: int | None = None,
        tail: Tail = "edge",
        eigenvalues: Float[Tensor, "rows columns"] | None = None,
    ) -> Float[Tensor, "rows columns"]:
        r"""Filter one matrix once; `prepare_filter` is for many, has the same options, and says what runs.

        .. math:: U \left( h(s_{ij}) \circ U^T X V \right) V^T, \qquad
            s_{ij} = \lambda_i + \mu_j \text{ or } \lambda_i \mu_j \text{ or measured}

        Of the dtype and device of X, differentiable in X; the identity gives back every bit. A ValueError is raised
        where X has another shape than (rows, columns) or is not finite, or an option is not allowed.
        """
        check_signal(X, *self.shape)  # before a decomposition is spent
        return self.prepare_filter(response, method, order, rank, tail, eigenvalues)(X)
