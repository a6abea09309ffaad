"""Random permutations of the nodes: what energy the modes of a graph would catch by chance, and how often as much."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# Nodes: a matrix of 34 MB for each basis. Moving its entries costs a tenth of projecting the signal anew.
LARGEST_GRAM = 2048
ROWS = 64  # of 1,536 nodes 0.8 MB of a Gram matrix, and as much of each projector


def permuted_energies(
    bases: Sequence[Float[Tensor, "nodes _"]],
    X: Float[Tensor, "nodes width"],
    permutations: int,
    seed: int,
) -> Float[np.ndarray, "bases permutations"]:
    r"""Draw the energy in some modes under random permutations of the nodes.

    With the Gram matrix :math:`K = X X^T` a permutation of X only moves entries of K, once for all bases; what each
    catches is then one inner product with its projector. Beyond 2,048 nodes, whose matrices are large, X itself is
    permuted and projected.

    Parameters
    ----------
    bases : sequence of Tensor of shape (nodes, modes)
        Each U with orthonormal columns, float64.
    X : Tensor of shape (nodes, width)
        The signal, float64.
    permutations : int
        Number of draws.
    seed : int
        Of the draws; the global random state is not used.

    Returns
    -------
    ndarray of shape (bases, permutations)
        In units of the signal's energy; the same permutations for all bases. O(permutations x nodes^2 x bases) time
        and O(nodes^2 x bases) memory; beyond 2,048 nodes O(permutations x nodes x modes x width x bases) time.

    Examples
    --------
    >>> one_mode = torch.eye(2, 1, dtype=torch.float64)
    >>> permuted_energies([one_mode], torch.ones(2, 1, dtype=torch.float64), 3, seed=0)
    array([[0.5, 0.5, 0.5]])
    """
    nodes = len(X)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(nodes, generator=generator) for _ in range(permutations)]
    draws = np.empty((len(bases), permutations))
    if nodes <= LARGEST_GRAM:
        draws = _moved_gram(bases, X, [order.numpy() for order in orders])
    else:
        signal = narrow(X)
        for draw, order in enumerate(orders):
            permuted = signal[order]
            draws[:, draw] = [float((basis.T @ permuted).square().sum()) for basis in bases]
    energy = float(X.square().sum())
    return draws / energy if energy > 0 else np.full_like(draws, np.nan)


def _moved_gram(bases: Sequence[Tensor], X: Tensor, orders: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply every projector with the Gram matrix, its nodes moved in each order: (bases, orders)."""
    K = (X @ X.T).numpy()
    projectors = np.stack([(basis @ basis.T).numpy() for basis in bases])
    draws = np.zeros((len(bases), len(orders)))
    # A block of rows stays in the cache for all orders, of symmetric matrices half of the entries will do, and NumPy
    # takes columns twice as fast as torch: together a quarter of the time of moving all of K at once.
    for start in range(0, len(K), ROWS):
        part = projectors[:, start : start + ROWS, start:].copy()
        part[:, :, ROWS:] *= 2  # what lies left of this block lies above another one
        flat = part.reshape(len(bases), -1)
        for draw, order in enumerate(orders):
            moved = K.take(order[start : start + ROWS], axis=0).take(order[start:], axis=1)
            draws[:, draw] += flat @ moved.reshape(-1)
    return draws


def permutation_p_value(energy: float, draws: Float[np.ndarray, " permutations"]) -> float:
    r"""Estimate how probable so much energy is under permutation, from random draws.

    .. math:: p = \frac{1 + \#\{T_\pi \ge T\}}{1 + N}

    One-sided, and valid for any N [1]_.

    Parameters
    ----------
    energy : float
        In the same units as the draws.
    draws : ndarray of shape (permutations,)
        From `permuted_energies`.

    Returns
    -------
    float
        At least 1 / (1 + N); NaN for a signal of zeros.

    References
    ----------
    .. [1] B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", Statistical Applications in
       Genetics and Molecular Biology 9(1), 2010.

    Examples
    --------
    >>> permutation_p_value(0.9, np.array([0.1, 0.2, 0.3]))
    0.25
    """
    if not np.isfinite(draws).all() or not np.isfinite(energy):
        return float("nan")
    # A draw that differs by rounding alone is as large: all of them are, on a complete graph.
    return float((1 + (draws >= energy * (1 - 1e-9)).sum()) / (1 + len(draws)))


def narrow(X: Float[Tensor, "nodes width"]) -> Float[Tensor, "nodes narrower"]:
    r"""Replace a signal by one of at most as many columns as nodes with the same Gram matrix.

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        The signal, float64.

    Returns
    -------
    Tensor of shape (nodes, min(nodes, width))
        :math:`V \sqrt{s}` from the eigenpairs of :math:`X X^T`; X itself where it is not wider.

    Examples
    --------
    >>> narrow(torch.ones(1, 4, dtype=torch.float64)).tolist()
    [[2.0]]
    """
    if X.shape[1] <= X.shape[0]:
        return X
    values, vectors = torch.linalg.eigh(X @ X.T)
    root: Tensor = vectors * values.clamp(min=0.0).sqrt()
    return root
