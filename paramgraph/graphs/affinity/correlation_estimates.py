"""Estimates of correlation for many nodes and few observations."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from paramgraph.graphs.affinity.edges import unit_rows
from paramgraph.graphs.affinity.euclidean import scaled_rows
from paramgraph.graphs.affinity.graphical_lasso import sparse_precision


def shrunk_rows(features: Float[Tensor, "nodes width"]) -> Float64[Tensor, "nodes width"]:
    r"""Scale centred rows so that their inner products are Ledoit-Wolf correlations.

    .. math:: \hat\Sigma = (1 - s) S + s \mu I, \quad \mu = \operatorname{tr}(S) / n, \qquad
              r_{ij} = \hat\Sigma_{ij} / \sqrt{\hat\Sigma_{ii} \hat\Sigma_{jj}}

    with the sample covariance S of the rows and the shrinkage s of scikit-learn's `LedoitWolf`. No matrix of
    all pairs is formed.

    Parameters
    ----------
    features : Tensor of shape (nodes, width)
        Finite; the columns are the observations.

    Returns
    -------
    Tensor of shape (nodes, width), float64
        Rows of length below one, or zero where a row is constant; O(nodes^2 x width) time,
        O(nodes x width) memory and 8 MB.

    Warns
    -----
    NumericalWarning
        If rows are constant.

    References
    ----------
    .. [1] O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
       Journal of Multivariate Analysis 88 (2004).

    Examples
    --------
    >>> rows = shrunk_rows(torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]]))
    >>> (rows @ rows.T)[0, 1]  # 0.8 before
    tensor(0.4875, dtype=torch.float64)
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
    r"""Estimate the partial correlations of nodes by the graphical lasso.

    .. math:: \hat P = \arg\min_P \operatorname{tr}(R P) - \log\det P + \alpha \sum_{i \ne j} |P_{ij}|, \qquad
              r_{ij} = -\hat P_{ij} / \sqrt{\hat P_{ii} \hat P_{jj}}

    with the sample correlations R, so that alpha has no unit: what is left between two nodes when all others
    are known. From :math:`\alpha = \max_{i \ne j} |R_{ij}|` on nothing is left.

    Parameters
    ----------
    features : Tensor of shape (nodes, width)
        Finite; the columns are the observations.
    alpha : float
        Strength of the penalty, above 0.
    iterations : int, default 2000
        How many the solver is allowed.

    Returns
    -------
    Tensor of shape (nodes, nodes), float64
        Symmetric, diagonal 1, zero rows for constant rows of features; O(nodes^3) time per iteration, about
        100 to 400 of them, and O(nodes^2) memory.

    Raises
    ------
    NotConvergedError
        If the iterations do not suffice.

    Warns
    -----
    NumericalWarning
        If rows are constant.

    References
    ----------
    .. [1] J. Friedman, T. Hastie, R. Tibshirani, "Sparse inverse covariance estimation with the graphical
       lasso", Biostatistics 9 (2008).

    Examples
    --------
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
