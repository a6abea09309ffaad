"""The graphical lasso: the sparse precision matrix of some correlations."""

import numpy as np
from jaxtyping import Float64

from paramgraph.errors import NotConvergedError

TOLERANCE = 1e-7  # of both residuals, relative: partial correlations then agree to about six digits
BALANCE = 5.0  # residuals this far apart call for another step length


def sparse_precision(
    correlation: Float64[np.ndarray, "nodes nodes"], alpha: float, iterations: int = 2000
) -> Float64[np.ndarray, "nodes nodes"]:
    r"""Minimize the graphical lasso's convex objective by alternating directions [1]_.

    .. math:: \hat P = \arg\min_P \operatorname{tr}(R P) - \log\det P + \alpha \sum_{i \ne j} |P_{ij}|

    The minimum [2]_ is unique, and this method reaches it from any correlations. The coordinate descent of
    scikit-learn's `graphical_lasso` ends at the same matrix where it ends, but breaks down on most correlations of
    weights and gradients: of nearly equal rows, and of fewer observations than nodes.

    Parameters
    ----------
    correlation : ndarray of shape (nodes, nodes)
        R, symmetric and positive semidefinite; not changed.
    alpha : float
        Strength of the penalty, above 0.
    iterations : int, default 2000
        How many are allowed; most problems take 50 to 400.

    Returns
    -------
    ndarray of shape (nodes, nodes)
        Symmetric, with exact zeros; one eigendecomposition, O(nodes^3) time, per iteration; O(nodes^2) memory.

    Raises
    ------
    NotConvergedError
        If the iterations do not suffice.

    References
    ----------
    .. [1] S. Boyd et al., "Distributed optimization and statistical learning via the alternating direction method
       of multipliers", Foundations and Trends in Machine Learning 3 (2011), sections 3.4.1 and 6.5.
    .. [2] J. Friedman, T. Hastie, R. Tibshirani, "Sparse inverse covariance estimation with the graphical
       lasso", Biostatistics 9 (2008).

    Examples
    --------
    >>> sparse_precision(np.array([[1.0, 0.5], [0.5, 1.0]]), alpha=0.5).round(4)  # nothing is left
    array([[1., 0.],
           [0., 1.]])
    """
    step, sparse, dual = 1.0, np.eye(len(correlation)), np.zeros_like(correlation)
    for _ in range(iterations):
        dense = _smooth_step(step * (sparse - dual) - correlation, step)
        moved, before = dense + dual, sparse
        sparse = np.sign(moved) * np.maximum(np.abs(moved) - alpha / step, 0.0)
        np.fill_diagonal(sparse, np.diag(moved))
        dual = moved - sparse
        size = max(_norm(dense), _norm(sparse))
        primal = _norm(dense - sparse) / size
        # The dual is the gradient R - P^-1, which vanishes where nothing is penalized.
        change = _norm(sparse - before) / max(_norm(dual), size * TOLERANCE)
        if max(primal, change) <= TOLERANCE and np.linalg.eigvalsh(sparse)[0] > 0:
            found: np.ndarray = sparse + 0.0  # no -0.0
            return found
        if primal > BALANCE * change:
            step, dual = step * 2.0, dual / 2.0
        elif change > BALANCE * primal:
            step, dual = step / 2.0, dual * 2.0
    raise NotConvergedError(
        f"the graphical lasso of {len(correlation)} nodes did not converge in {iterations} iterations at "
        f"alpha={alpha} (residuals {primal:.1e} and {change:.1e}, wanted {TOLERANCE:.0e}): raise alpha, collect "
        "more observations, or take estimator='ledoit_wolf'"
    )


def _smooth_step(shifted: np.ndarray, step: float) -> np.ndarray:
    r"""Solve :math:`\rho P - P^{-1} = M`, one quadratic equation per eigenvalue."""
    values, vectors = np.linalg.eigh(shifted)
    # Of a negative eigenvalue the sum cancels; the product of both roots is -1 / step.
    root = np.sqrt(values * values + 4.0 * step)
    solved = np.where(values >= 0, (values + root) / (2.0 * step), 2.0 / (root - values))
    product = (vectors * solved) @ vectors.T
    symmetric: np.ndarray = (product + product.T) / 2.0
    return symmetric


def _norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix))
