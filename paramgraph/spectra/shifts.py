r"""Graph shift operators: the matrix whose eigenvalues are the graph's frequencies.

* `laplacian`: low eigenvalues are low frequencies; three normalizations, signed where asked for.
* `adjacency`: high eigenvalues are low frequencies (strong modes); signed and dense graphs are welcome.
* `zero_operator`: no graph at all, L = 0.

All matrices are float64. A graph with more than a quarter of its possible entries is kept dense, all
others as CSR.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from torch_geometric.data import Data

from paramgraph.graphs import GraphLike, compact, component_labels, edge_part, is_signed, weight_matrix
from paramgraph.spectra.shift_operator import Normalization, ShiftOperator

# Eigenvalues are at most twice that, and their bounds are added to each other.
LARGEST_DEGREE = np.finfo(np.float64).max / 16
# Below it float64 has fewer digits than 53 bits, and none for what is a little smaller.
SMALLEST_DEGREE = np.finfo(np.float64).tiny


def laplacian(
    graph: GraphLike, normalization: Normalization = "sym", signed: bool | None = None
) -> ShiftOperator:
    r"""Build the Laplacian of a graph.

    .. math::
        L = D - W, \qquad L_{sym} = I_{d>0} - D^{-1/2} W D^{-1/2}, \qquad L_{rw} = I_{d>0} - D^{-1} W

    with :math:`D = \operatorname{diag}(|W| 1)`. The diagonal of W (loops, or `node_weight` of a PyG graph)
    is ignored. Its eigenvalues lie in [0, 2] ("sym", "rw"), and the multiplicity of 0 is the number of
    connected components. An isolated node is a component of its own with a zero row, as in SciPy (PyG puts
    1 on its diagonal).

    Negative weights need `signed=True`: the degrees are then sums of absolute weights, which keeps L positive
    semidefinite, :math:`x^T L x = \tfrac12 \sum_{ij} |W_{ij}| (x_i - \operatorname{sign}(W_{ij}) x_j)^2` for
    the combinatorial one [2]_. Only a balanced component (two sides, positive edges within and negative edges
    between them) has a null vector, with one sign for each side: the multiplicity of 0 is `nullity`.

    Parameters
    ----------
    graph : Data, SciPy sparse array, ndarray, Tensor or networkx.Graph
        Undirected weighted graph; not changed. A networkx graph gives its "weight" attribute, in its own
        node order.
    normalization : {"sym", "rw", None}, default "sym"
        Which of the three.
    signed : bool, optional
        True for the signed Laplacian, which is the ordinary one where no weight is negative. By default a
        graph with `data.signed` set or with negative weights is refused, so that the meaning of the operator
        does not hang on whether a negative weight happens to occur.

    Returns
    -------
    ShiftOperator
        Float64; None and "sym" are symmetric to the last bit. O(edges) time and memory.

    Raises
    ------
    ValueError
        If a weight is negative or the graph says that it is signed, and `signed` is not True; if a weight is
        not finite, all lie beyond the range of float64 or below its normal numbers, the matrix is not square or
        not symmetric, or `normalization` is none of the three.
    TypeError
        If `graph` is none of these types, or `signed` is no bool.

    References
    ----------
    .. [1] F. R. K. Chung, "Spectral Graph Theory", AMS, 1997, chapter 1.
    .. [2] J. Kunegis et al., "Spectral analysis of signed graphs for clustering, prediction and
       visualization", SIAM International Conference on Data Mining, 2010.

    Examples
    --------
    >>> edge_and_loner = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> laplacian(edge_and_loner).to_dense()
    array([[ 1., -1.,  0.],
           [-1.,  1.,  0.],
           [ 0.,  0.,  0.]])
    >>> laplacian(-edge_and_loner, None, signed=True).to_dense()
    array([[2., 2., 0.],
           [2., 2., 0.],
           [0., 0., 0.]])
    """
    if normalization not in (None, "sym", "rw"):
        raise ValueError(f"no normalization {normalization!r}; allowed: None, 'sym', 'rw'")
    if signed is not None and not isinstance(signed, bool):
        raise TypeError(f"signed is True, False or None, got {signed!r}")
    edges = edge_part(weight_matrix(graph))
    if not signed:
        _refuse_signs(graph, edges)
    similar = laplacian(graph, "sym", signed) if normalization == "rw" else None
    degrees = _degrees(edges)
    row = np.repeat(np.arange(edges.shape[0]), np.diff(edges.indptr))
    diagonal = degrees if normalization is None else (degrees > 0).astype(np.float64)
    flow = edges.data.copy()
    if normalization == "sym":
        # The product of the two roots rounds the same either way, so the matrix stays symmetric exactly.
        root = np.sqrt(degrees)
        flow /= root[row] * root[edges.indices]
    elif normalization == "rw":
        flow /= degrees[row]
    off_diagonal = sp.csr_array((-flow, edges.indices, edges.indptr), shape=edges.shape)
    matrix = sp.csr_array(sp.diags_array(diagonal, format="csr") + off_diagonal)
    labels = component_labels(edges)
    operator = ShiftOperator(compact(matrix), "laplacian", normalization, degrees, labels, similar)
    return replace(operator, signs=two_colouring(edges, labels)) if signed else operator


def _refuse_signs(graph: GraphLike, edges: sp.csr_array) -> None:
    lowest = edges.data.min(initial=0.0)
    if lowest < 0:
        seen = f"the lowest is {lowest:.4g}"
    elif isinstance(graph, Data) and is_signed(graph):
        seen = "and this graph says that it is signed"
    else:
        return
    raise ValueError(
        f"the Laplacian needs weights that are not negative, {seen}; use laplacian(graph, signed=True) for the "
        "signed Laplacian, adjacency(graph) for the weights themselves, or build the graph with signed=False "
        "(negative similarities become no edge)"
    )


def two_colouring(edges: sp.csr_array, labels: np.ndarray) -> np.ndarray:
    """Give the nodes of each balanced component the sign of their side, and all others 0.

    In the double cover each node is there twice; a positive edge keeps the copy, a negative one changes it.
    A component is balanced where its two copies are not connected.
    """
    nodes = edges.shape[0]
    if not nodes:
        return np.zeros(0)
    keep, change = abs(edges) * (edges > 0), abs(edges) * (edges < 0)
    cover = sp.block_array([[keep, change], [change, keep]], format="csr")
    copies = component_labels(cover)
    one, other = copies[:nodes], copies[nodes:]
    first = np.unique(labels, return_index=True)[1][labels]
    side = np.where(one == one[first], 1.0, -1.0)
    return np.where(one == other, 0.0, side)


def adjacency(graph: GraphLike) -> ShiftOperator:
    r"""Use the weights themselves as shift operator.

    .. math:: A = W + \operatorname{diag}(\text{node\_weight})

    Its strong modes (large eigenvalues) are the low graph frequencies: for c at least the largest eigenvalue,
    :math:`c I - A` plays the part of the Laplacian [1]_.

    Parameters
    ----------
    graph : Data, SciPy sparse array, ndarray, Tensor or networkx.Graph
        Undirected weighted graph, signed or not, sparse or dense; not changed. The diagonal is
        `node_weight` of a PyG graph, or the diagonal of the matrix.

    Returns
    -------
    ShiftOperator
        Float64, symmetric to the last bit. O(edges) time and memory.

    Raises
    ------
    ValueError
        If a weight is not finite, or the matrix is not square or not symmetric.
    TypeError
        If `graph` is none of these types.

    References
    ----------
    .. [1] A. Sandryhaila and J. M. F. Moura, "Discrete signal processing on graphs: frequency analysis", IEEE
       Transactions on Signal Processing 62(12), 2014.

    Examples
    --------
    >>> adjacency(np.array([[1.0, -0.5], [-0.5, 1.0]])).interval
    (0.5, 1.5)
    """
    matrix = weight_matrix(graph)
    _degrees(matrix)  # the diagonal counts in bounds of eigenvalues too
    edges = edge_part(matrix)
    return ShiftOperator(compact(matrix), "adjacency", None, _degrees(edges), component_labels(edges))


def full_adjacency(matrix: Float[np.ndarray, "nodes nodes"]) -> ShiftOperator:
    """Use a float64 matrix, symmetric to the last bit, as shift operator: as :func:`adjacency`, and it is not copied.

    Where every entry counts, no sparse copy of it is made on the way, which takes several times its memory.
    """
    if not matrix.size or np.count_nonzero(matrix) < matrix.size:
        return adjacency(matrix)
    # By rows: the absolute values of all would be another matrix.
    broken = sum(not np.isfinite(row).all() for row in matrix)
    if broken:
        raise ValueError(f"{broken} rows of the matrix have entries that are not finite")
    with np.errstate(over="ignore"):
        degrees = np.array([np.abs(row).sum() for row in matrix]) - np.abs(matrix.diagonal())
    _check_degrees(degrees, float(degrees.max()))
    return ShiftOperator(matrix, "adjacency", None, degrees, np.zeros(len(matrix), dtype=np.int64))


def zero_operator(nodes: int) -> ShiftOperator:
    """Build the Laplacian of no graph at all: L = 0, so that a ridge alone is L2-SP."""
    return laplacian(sp.csr_array((nodes, nodes), dtype=np.float64), normalization=None)


def _degrees(edges: sp.csr_array) -> np.ndarray:
    """Add the absolute weights of each node up; a ValueError where float64 has no room for eigenvalues."""
    with np.errstate(over="ignore"):
        degrees = np.asarray(abs(edges).sum(axis=1), dtype=np.float64).reshape(edges.shape[0])
    _check_degrees(degrees, float(abs(edges.data).max(initial=0.0)))
    return degrees


def _check_degrees(degrees: np.ndarray, largest: float) -> None:
    if not degrees.max(initial=0.0) <= LARGEST_DEGREE:
        raise ValueError(
            f"weights of up to {largest:.2g} add up to more than {LARGEST_DEGREE:.2g} at a node, where "
            "eigenvalues leave the range of float64; divide all weights by the largest"
        )
    if 0 < degrees.max(initial=0.0) < SMALLEST_DEGREE:
        raise ValueError(
            f"weights of at most {largest:.2g} lie where float64 loses its digits, below {SMALLEST_DEGREE:.2g}; divide "
            "all weights by the largest"
        )
