"""One eigenvalue without its vector: Lanczos of three vectors, and how much they can have passed over."""

import math

import numpy as np
import scipy.linalg

from paramgraph.spectra._lanczos import CHANCE, SEARCH_STEPS, flip
from paramgraph.spectra.eigenproblem import EigenProblem

# All Ritz values of a hundred steps take as long as some three of the steps.
LOOK_EVERY = 16


def lone_eigenvalue(problem: EigenProblem) -> float | None:
    r"""Find the wanted end of a spectrum to working precision; None where 500 products do not assure it.

    Ritz values :math:`\theta_j` need the coefficients of the recurrence alone, no basis, no restarts. An eigenvalue
    above :math:`\theta`, a tolerance beyond the last of them, has a vector of which the start vector holds no more than

    .. math:: 1 / p_i(\theta), \qquad p_i(\theta) = \prod_j (\theta - \theta_j) / \beta_j

    which a random one does with a chance of 1e-6, as in `largest_pairs`; the last Ritz value has converged long before.
    """
    apply, back, _ = flip(problem)
    needed = math.log(math.sqrt(2 * problem.nodes / math.pi) / CHANCE)
    q = problem.start(1)[:, 0]
    q /= np.linalg.norm(q)
    before, rounding = np.zeros_like(q), 1e-13 * problem.scale
    diagonal, couplings = [], [0.0]
    for step in range(1, SEARCH_STEPS + 1):
        following = apply(q)
        diagonal.append(float(q @ following))
        following -= diagonal[-1] * q
        following -= couplings[-1] * before
        couplings.append(math.sqrt(float(following @ following)))
        ended = couplings[-1] < rounding  # an invariant subspace, with a part of each eigenspace
        if ended or step % LOOK_EVERY == 0:
            ritz = scipy.linalg.eigvalsh_tridiagonal(diagonal, couplings[1:-1], lapack_driver="sterf")
            level = ritz[-1] + max(problem.tol * abs(ritz[-1]), 1e-13 * np.abs(ritz).max())
            if ended or np.log(level - ritz).sum() - np.log(couplings[1:]).sum() > needed:
                return float(back(ritz[-1]))
        before, q = q, following / couplings[-1]
    return None
