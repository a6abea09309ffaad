"""Estimates of correlation for many nodes and few observations: shrunk, and partial by the graphical lasso."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from paramgraph.errors import NotConvergedError
from paramgraph.graphs.affinity.edges import unit_rows
from paramgraph.graphs.affinity.euclidean import scaled_rows

TOLERANCE = 1e-7  # of both residuals, relative: partial correlations then agree to about six digits
BALANCE = 5.0  # residuals this far apart call for another step length


def shrunk_rows(features: Float[Tensor, "nodes width"]) -> Float64[Tensor, "nodes width"]:
    r"""Scale centred rows so that their inner products are Ledoit-Wolf correlations.

    .. math:: \hat\Sigma = (1 - s) S + s \mu I, \quad \mu = \operatorname{tr}(S) / n, \qquad
              r_{ij} = \hat\Sigma_{ij} / \sqrt{\hat\Sigma_{ii} \hat\Sigma_{jj}}

    with the sample covariance S of the rows, whose columns are the observations, and the shrinkage s of scikit-learn's
    `LedoitWolf` (O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal
    of Multivariate Analysis 88, 2004). No matrix of all pairs is formed. Rows have length below one, or zero where a
    row is constant, of which a NumericalWarning tells. O(nodes^2 x width) time, O(nodes x width) memory and 8 MB.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    unit = unit_rows(features, centred=True)
    if not bool((unit != 0).any()):
        return unit
    scaled = scaled_rows(features)[0]
    centred = scaled - scaled.mean(dim=1, keepdim=True)
    shrinkage = float(ledoit_wolf_shrinkage(centred.T.cpu().numpy()))
    variance = centred.square().mean(dim=1)
    kept = (1.0 - shrinkage) * variance
    total = kept + shrinkage * variance.mean()
    return (
        unit
        * torch.where(total > 0, kept / total.clamp_min(torch.finfo(torch.float64).tiny), 0.0).sqrt()[:, None]
    )


def partial_correlations(
    features: Float[Tensor, "nodes width"], alpha: float, iterations: int = 2000
) -> Float64[Tensor, "nodes nodes"]:
    r"""Estimate what is left between two nodes when all others are known, by the graphical lasso.

    .. math:: r_{ij} = -\hat P_{ij} / \sqrt{\hat P_{ii} \hat P_{jj}}

    with the `sparse_precision` P of the sample correlations R, so that alpha, above 0, has no unit; from
    :math:`\alpha = \max_{i \ne j} |R_{ij}|` on nothing is left. Symmetric, diagonal 1, zero rows for constant rows of
    features, of which a NumericalWarning tells. O(nodes^3) time per iteration, about 100 to 400 of them, and O(nodes^2)
    memory. Raises NotConvergedError.

    >>> chain = torch.tensor([[1.0, 1, -1, -1, 1, -1], [1, 1, -1, -1, 1, 1], [1, -1, -1, -1, 1, 1]])
    >>> partial_correlations(chain, alpha=0.1)[0, 2].abs() < 0.1  # the middle node explains it
    tensor(True)
    """
    unit = unit_rows(features, centred=True)
    live = (unit != 0).any(dim=1).nonzero().squeeze(1)
    result = torch.eye(len(unit), dtype=torch.float64, device=unit.device)
    if len(live) < 2:
        return result
    sample = (unit[live] @ unit[live].T).cpu().numpy()
    precision = sparse_precision((sample + sample.T) / 2, alpha, iterations)
    scale = np.sqrt(np.diag(precision))
    partial = -precision / np.outer(scale, scale)
    partial = (partial + partial.T) / 2
    np.fill_diagonal(partial, 1.0)
    result[live[:, None], live] = torch.from_numpy(partial.clip(-1.0, 1.0)).to(unit.device)
    return result


def sparse_precision(
    correlation: Float64[np.ndarray, "nodes nodes"], alpha: float, iterations: int = 2000
) -> Float64[np.ndarray, "nodes nodes"]:
    r"""Minimize the graphical lasso's convex objective by alternating directions [1]_.

    .. math:: \hat P = \arg\min_P \operatorname{tr}(R P) - \log\det P + \alpha \sum_{i \ne j} |P_{ij}|

    The minimum [2]_ is unique, and this method reaches it from any correlations R, symmetric and positive semidefinite.
    The coordinate descent of scikit-learn's `graphical_lasso` ends at the same matrix where it ends, but breaks down on
    most correlations of weights and gradients: of nearly equal rows, and of fewer observations than nodes.

    Symmetric, with exact zeros; one eigendecomposition, O(nodes^3) time, per iteration, of which most problems take 50
    to 400; O(nodes^2) memory. Raises NotConvergedError if `iterations` do not suffice.

    .. [1] S. Boyd et al., "Distributed optimization and statistical learning via the alternating direction method
       of multipliers", Foundations and Trends in Machine Learning 3 (2011), sections 3.4.1 and 6.5.
    .. [2] J. Friedman, T. Hastie, R. Tibshirani, "Sparse inverse covariance estimation with the graphical
       lasso", Biostatistics 9 (2008).
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
