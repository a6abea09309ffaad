"""Prove by the inertia of a shifted operator that no eigenvalue was passed over."""

import importlib.util

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float

from paramgraph.graphs import Matrix
from paramgraph.spectra._components import cut_into_components
from paramgraph.spectra.fill_in import estimate_fill_in
from paramgraph.spectra.shift_operator import ShiftOperator

# The inertia of a dense matrix: 2 s at 2,000 nodes.
DENSE_CERTIFIED = 2000
# Entries of a row in the envelope: at most 141 on a grid of 20,000 nodes, 2 on a ring, 570 on an expander of
# 2,000 nodes and degree 6, where a sparse factor is a dense one in all but its format.
SPARSE_CERTIFIED = 300
# Below, LAPACK is done before the order of a sparse factorization is.
SMALL = 200
# Of the width of a cluster: a shift that meets an eigenvalue of a leading block makes a zero pivot or a large
# error, and one beside it does not.
SHIFTS = (0.5, 0.4, 0.6)
# Of the bound: eigenvalues this close are one. Within residuals alone they may be any, and others between them.
CLUSTER = 1e-8
_PIP = "pip install 'paramgraph[certify]'"


def certify_count(
    operator: ShiftOperator, values: Float[np.ndarray, " modes"], error: float
) -> tuple[bool, str]:
    r"""Count the eigenvalues before the last cluster by Sylvester's law of inertia.

    .. math:: L - \sigma I = P^T M D M^T P, \qquad \#\{\lambda < \sigma\} = \#\{d < 0\}

    with :math:`\sigma` just before the last cluster of equal eigenvalues, within which any choice is right.
    Each component is factorized by itself: densely (LAPACK) up to 2,000 nodes, sparsely (qdldl, extra
    `certify`) where the estimated fill-in is small. The error of a sparse factorization, which has no pivots,
    is computed, and must be below the distance from the shift to the values.

    `values` are what was found, ascending for a Laplacian and descending for an adjacency, each an eigenvalue to
    within `error`, the largest residual norm. The remark says how it was proven [1]_, or why not: pairs missed, fill-in
    too large, qdldl missing.

    .. [1] B. N. Parlett, "The Symmetric Eigenvalue Problem", SIAM, 1998, chapter 3.

    >>> import networkx as nx
    >>> from paramgraph import laplacian
    >>> certify_count(laplacian(nx.path_graph(4), None), np.array([0.0, 2.0]), 1e-15)
    (False, 'not certified: 1 pairs missed')
    """
    if len(values) == operator.nodes:
        return True, "certified: all pairs"
    flip = 1.0 if operator.kind == "laplacian" else -1.0
    ascending = flip * values
    scale = operator.bound or 1.0
    width = max(8 * error, 1e-9 * scale)
    below = len(values) - 1
    while below > 0 and ascending[below] - ascending[below - 1] < width:
        below -= 1
    if ascending[-1] - ascending[below] > CLUSTER * scale:
        return False, (
            f"not certified: residuals of {error:.1g} do not tell the {len(values) - below} last eigenvalues apart; "
            "ask for a smaller tol"
        )
    counted = 0
    for _, (block,) in cut_into_components(operator.component_labels, operator.matrix):
        for part in SHIFTS:
            negative, doubt = _count_below(flip * block, float(ascending[below] - part * width), width / 8)
            if not doubt:
                break
        if doubt:
            return False, f"not certified: {doubt}"
        counted += negative
    missed = counted - below
    if missed:
        what = f"{missed} pairs missed" if missed > 0 else f"{-missed} pairs too many"
        return False, f"not certified: {what}"
    return True, "certified by inertia"


def _count_below(matrix: Matrix, shift: float, allowed: float) -> tuple[int, str]:
    """Count the eigenvalues below the shift, or say what stands against it."""
    nodes = int(matrix.shape[0])
    dense = isinstance(matrix, np.ndarray) or nodes <= SMALL
    if not dense:
        fill = estimate_fill_in(matrix)
        installed = importlib.util.find_spec("qdldl") is not None
        sparse = fill.entries <= SPARSE_CERTIFIED * nodes
        if installed and sparse:
            counted, doubt = _count_sparse(matrix, shift, allowed)
            if not doubt or nodes > DENSE_CERTIFIED:
                return counted, doubt
        if nodes > DENSE_CERTIFIED and sparse:
            return 0, f"a component of {nodes} nodes needs qdldl, which is not installed: {_PIP}"
        if nodes > DENSE_CERTIFIED:
            return 0, (
                f"a component of {nodes} nodes, more than {DENSE_CERTIFIED}, whose {fill} is more than "
                f"{SPARSE_CERTIFIED}"
            )
    elif nodes > DENSE_CERTIFIED:
        return 0, f"a dense component of {nodes} nodes, more than {DENSE_CERTIFIED}"
    full = matrix.copy() if isinstance(matrix, np.ndarray) else matrix.toarray()
    block = scipy.linalg.ldl(full - shift * np.eye(nodes), overwrite_a=True, check_finite=False)[1]
    pivots = scipy.linalg.eigh_tridiagonal(block.diagonal(), np.diag(block, -1), eigvals_only=True)
    return int((pivots < 0).sum()), ""


def _count_sparse(matrix: Matrix, shift: float, allowed: float) -> tuple[int, str]:
    import qdldl

    nodes = int(matrix.shape[0])
    entries = sp.coo_array(matrix)
    every = np.arange(nodes)
    # Built from triplets, so that the whole diagonal is stored, zeros included: qdldl needs it.
    shifted = sp.csc_matrix(
        (
            np.concatenate([entries.data, np.full(nodes, -shift)]),
            (np.concatenate([entries.row, every]), np.concatenate([entries.col, every])),
        ),
        shape=matrix.shape,
    )
    try:
        lower, pivots, order = qdldl.Solver(shifted).factors()
    except RuntimeError as failure:
        return 0, f"the sparse factorization met a zero pivot ({failure})"
    lower = sp.csr_array(lower + sp.eye_array(nodes))
    gap = sp.csr_array(lower @ sp.diags_array(pivots, format="csr") @ lower.T - shifted[order][:, order])
    # By Weyl's inequality no eigenvalue moves further than the norm of the error.
    error = float(abs(gap).sum(axis=1).max(initial=0.0))
    if not error <= allowed:
        return 0, f"the error of the sparse factorization, {error:.1g}, is above {allowed:.1g}"
    return int((pivots < 0).sum()), ""
