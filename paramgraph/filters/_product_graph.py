"""Scalars as nodes: the graph on the entries of one matrix.

An entry is linked to those of its column as their rows are linked, and to those of its row as their columns are: the
Cartesian product of a graph of the rows and one of the columns.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._choice import ProductMethod, Tail
from paramgraph.filters.product_filter import ProductFilter, prepare_product_filter
from paramgraph.filters.response import ResponseFunction
from paramgraph.graphs import GraphLike
from paramgraph.spectra import (
    KroneckerSum,
    Normalization,
    ProductModes,
    Seed,
    ShiftOperator,
    Spectrum,
    check_signal,
    count_pairs,
    laplacian,
    product_eigenpairs,
    product_modes,
    wide,
)


@dataclass(frozen=True, eq=False, repr=False)
class ProductGraph:
    r"""Link all entries of a matrix X by a graph of its rows and a graph of its columns.

    .. math:: L = L_r \otimes I + I \otimes L_c, \qquad L \operatorname{vec}(X) = \operatorname{vec}(L_r X + X L_c)

    where vec takes X row by row, as `X.flatten()`. With combinatorial Laplacians, the default, L is the Laplacian of
    the Cartesian product of the two graphs [1]_. The symmetric normalization of a product is not the sum of those of
    its factors: with `normalization="sym"`, or with operators given, L is *defined* as the sum. L itself is never
    formed. One graph alone: give `zero_operator(n)` for the other side.

    Parameters
    ----------
    row_graph, column_graph : Data, SciPy sparse array, ndarray, Tensor, networkx.Graph or ShiftOperator
        Graph of the rows of X, and of its columns; a symmetric operator is taken as it is. Both are Laplacians, or
        both adjacencies.
    normalization : {None, "sym"}, default None
        Of the Laplacians of graphs that are no operators yet.

    Raises
    ------
    ValueError
        If an operator is not symmetric ("rw"), or one is a Laplacian and the other an adjacency.

    References
    ----------
    .. [1] R. Merris, "Laplacian graph eigenvectors", Linear Algebra and its Applications 278, 1998.

    Examples
    --------
    >>> from paramgraph import build, columns, heat, rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8))
    >>> table, across = rows(model)["0.weight"], columns(model)["0.weight"]
    >>> row_graph, column_graph = (build(model, each, "cosine_knn", k=3) for each in (table, across))
    >>> product = ProductGraph(row_graph, column_graph)
    >>> X = table.gather(dict(model.named_parameters()))  # (8, 6): rows are outputs, columns are inputs
    >>> smoother = product.apply_filter(X, heat(1.0))
    >>> bool(product.penalty(smoother) < product.penalty(X))
    True
    """

    row_graph: ShiftOperator | GraphLike
    column_graph: ShiftOperator | GraphLike
    normalization: Normalization = None

    def __post_init__(self) -> None:
        _ = self.operator  # refuse what is no graph here, not at its first use

    def __repr__(self) -> str:
        return f"ProductGraph({self.operator.rows!r}, {self.operator.columns!r})"

    @cached_property
    def operator(self) -> KroneckerSum:
        """L, as `operator @ X`, SciPy linear operator or, for small matrices, sparse matrix."""
        rows, columns = (
            graph if isinstance(graph, ShiftOperator) else laplacian(graph, self.normalization)
            for graph in (self.row_graph, self.column_graph)
        )
        return KroneckerSum(rows, columns)

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
        """Number of connected components, the product of those of rows and columns."""
        return self.operator.components

    def __matmul__(self, X: Tensor) -> Tensor:
        """Multiply L with a matrix (rows, columns), or with its vector of entries row by row."""
        return self.operator @ X

    def penalty(self, X: Tensor) -> Float[Tensor, ""]:
        r"""Measure how rough a matrix is on both graphs, differentiably.

        .. math:: \operatorname{tr}(X^T L_r X) + \operatorname{tr}(X L_c X^T)
            = \sum_{ij} (\lambda_i + \mu_j) (u_i^T X v_j)^2

        Of the dtype of X, float32 for bf16 and fp16. O(row edges x columns + column edges x rows) time, two matrices of
        memory. A ValueError is raised where X has another shape than (rows, columns), or is not finite.
        """
        check_signal(X, *self.shape)
        with torch.autocast(X.device.type, enabled=False):
            signal = wide(X)
            return (signal * self.operator.times(signal)).sum()

    def penalty_gradient(self, X: Tensor) -> Float[Tensor, "rows columns"]:
        r"""Compute the gradient of `penalty` in closed form.

        .. math:: 2 (L_r X + X L_c)

        Of the dtype and device of X, summed in float32 or better, detached; time and errors are those of `penalty`.
        """
        check_signal(X, *self.shape)
        with torch.no_grad(), torch.autocast(X.device.type, enabled=False):
            return (2 * self.operator.times(wide(X.detach()))).to(X.dtype)

    def modes(self, k: int | None = None, solver: str = "auto", seed: Seed = 0) -> ProductModes:
        """Find the k modes of lowest graph frequency, by the numbers of their factors' modes; all of them by default.

        Sums of eigenvalues with multiplicity, ascending for Laplacians, descending for adjacencies; equal ones in the
        order of the row mode, then the column mode. At most k pairs of each factor are solved (`solver` and `seed` as
        for `paramgraph.eigenpairs`), and O(k log k) memory is taken beyond them. A ValueError is raised where k is
        below 1 or above the number of entries, a TypeError where it is no int.
        """
        return product_modes(self.operator, count_pairs(k, self.nodes), solver, seed)

    def eigenvalues(self, k: int | None = None, solver: str = "auto", seed: Seed = 0) -> Float[Tensor, " k"]:
        r"""Find the k eigenvalues of lowest graph frequency, :math:`\lambda_i + \mu_j`; all else as for `modes`.

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
    ) -> ProductFilter:
        """Prepare h(L) once, to filter many matrices.

        "auto" takes lowrank with a `rank`; separable for heat; exact up to 4,096 rows and columns; else chebyshev of
        the order, from `order` up to 500, that brings the error below 1e-6. What runs, and why, is in `.method` and
        `.reason`. `lowrank` takes 32 modes without a `rank`; `tail` is what it does to all others: h at the last
        computed sum, remove, or leave. Exact takes O(rows^3 + columns^3) once and the memory of both bases.

        A ValueError is raised where an option is not allowed, a response that is no heat is asked to be separable, or
        "auto" finds no order that is enough (a jump on a large matrix); "chebyshev" that was asked for warns with a
        NumericalWarning where its error is above 0.01.
        """
        return prepare_product_filter(self.operator, response, method, order, rank, tail)

    def apply_filter(
        self,
        X: Tensor,
        response: ResponseFunction | str,
        method: ProductMethod = "auto",
        order: int = 30,
        rank: int | None = None,
        tail: Tail = "edge",
    ) -> Float[Tensor, "rows columns"]:
        r"""Filter one matrix once; `prepare_filter` is for many, has the same options, and says what runs.

        .. math:: U \left( h(\lambda_i + \mu_j)_{ij} \circ U^T X V \right) V^T

        Of the dtype and device of X, differentiable in X; the identity gives back every bit. A ValueError is raised
        where X has another shape than (rows, columns) or is not finite, or an option is not allowed.
        """
        check_signal(X, *self.shape)  # before a decomposition is spent
        return self.prepare_filter(response, method, order, rank, tail)(X)
