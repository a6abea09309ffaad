r"""What a compaction would be by chance: nodes permuted, or the whole basis rotated.

A projector on some modes, :math:`P = U U^T`, catches the energy :math:`\operatorname{tr}(P K)` of a signal with the
Gram matrix :math:`K = X X^T`. Both null models leave P and K as they are and turn them against each other at random;
mean and variance of what is caught then have closed forms, and random permutations give p-values. A basis is U with
orthonormal columns, a signal X (nodes, width), both float64; energies are in units of the signal's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# Nodes: a matrix of 34 MB for each basis. Moving its entries costs a tenth of projecting the signal anew.
LARGEST_GRAM = 2048
ROWS = 64  # of 1,536 nodes 0.8 MB of a Gram matrix, and as much of each projector


@dataclass(frozen=True)
class NullMoments:
    """Mean and standard deviation of an energy under a null model, in units of the signal's energy."""

    mean: float
    deviation: float

    def z_score(self, energy: float) -> float:
        """Give the deviations by which an energy lies above the mean; NaN where the null has no spread.

        It has none for a complete graph, or a signal that is the same on all nodes.

        >>> NullMoments(mean=0.5, deviation=0.1).z_score(0.7)
        2.0
        """
        # Rounding of a variance of zero leaves some 1e-8 of the mean.
        if not self.deviation > 1e-7 * max(abs(self.mean), abs(energy)):
            return math.nan
        return round((energy - self.mean) / self.deviation, 12)


NO_SIGNAL = NullMoments(math.nan, math.nan)


def permuted_moments(
    basis: Float[Tensor, "nodes modes"], X: Float[Tensor, "nodes width"], sums: "GramSums | None" = None
) -> NullMoments:
    r"""Find exact mean and deviation of the energy in some modes over all permutations of the nodes.

    .. math:: T_\pi = \sum_{ij} P_{ij} K_{\pi(i) \pi(j)}, \qquad P = U U^T, \quad K = X X^T

    The diagonals of P and K are permuted among themselves, and so are the rest; the moments over all n! permutations
    follow from sums of the entries, of their squares and of their rows (N. Mantel, "The detection of disease
    clustering and a generalized regression approach", Cancer Research 27(2), 1967). `sums` of X, where they are known,
    are most of the work: O(nodes x (modes + width^2)) time, or O(nodes^2 x width) for a signal wider than nodes. NaN
    for a signal of zeros.

    >>> one_mode = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    >>> permuted_moments(one_mode, torch.tensor([[1.0], [2.0]], dtype=torch.float64))
    NullMoments(mean=0.5, deviation=0.3)
    """
    n, energy = len(X), float(X.square().sum())
    if not energy > 0:
        return NO_SIGNAL
    P, K = GramSums.of(basis), sums or GramSums.of(X)
    mean = P.trace * K.trace / n
    if n == 1:
        return NullMoments(mean / energy, 0.0)
    mean += P.rest * K.rest / (n * (n - 1))
    diagonal = P.diagonal_spread * K.diagonal_spread / (n - 1) + (P.trace * K.trace / n) ** 2
    # Pairs of entries of the rest: the same one, one node in common, none.
    squares = 2 * P.squares * K.squares / (n * (n - 1))
    if n > 2:
        squares += 4 * P.shared * K.shared / (n * (n - 1) * (n - 2))
    if n > 3:
        squares += P.apart * K.apart / (n * (n - 1) * (n - 2) * (n - 3))
    mixed = 2 * P.diagonal_rows * K.diagonal_rows / (n * (n - 1))
    if n > 2:
        mixed += P.diagonal_apart * K.diagonal_apart / (n * (n - 1) * (n - 2))
    variance = diagonal + squares + 2 * mixed - mean**2
    return NullMoments(mean / energy, max(variance, 0.0) ** 0.5 / energy)


def rotated_moments(
    basis: Float[Tensor, "nodes modes"], X: Float[Tensor, "nodes width"], sums: "GramSums | None" = None
) -> NullMoments:
    r"""Find exact mean and deviation of the energy in some modes over all rotations of the spectrum's basis.

    .. math::
        \mathbb{E}\, T = \frac{k}{n} \operatorname{tr} K, \qquad
        \operatorname{var} T = \frac{2\,(k - k^2 / n)\,(\operatorname{tr} K^2 - (\operatorname{tr} K)^2 / n)}
        {(n - 1)(n + 2)}

    for :math:`T = \operatorname{tr}(Q P Q^T K)` with Q uniform on the orthogonal group and P the projector on k modes
    (B. Collins, P. Sniady, "Integration with respect to the Haar measure on unitary, orthogonal and symplectic group",
    Communications in Mathematical Physics 264, 2006): the same eigenvalues with eigenvectors that know nothing. For a
    factor of another P, k is its trace, and in the first place that of its square; `sums`, time and NaN as for
    `permuted_moments`.
    """
    n = len(basis)
    small = basis.T @ basis
    k, squares = float(small.trace()), float(small.square().sum())
    energy = float(X.square().sum())
    if not energy > 0:
        return NO_SIGNAL
    if n == 1:
        return NullMoments(float(k), 0.0)
    spread = max((sums or GramSums.of(X)).all_squares - energy**2 / n, 0.0)
    variance = 2 * max(squares - k**2 / n, 0.0) * spread / ((n - 1) * (n + 2))
    return NullMoments(k / n, variance**0.5 / energy)


@dataclass(frozen=True)
class GramSums:
    """Hold sums over the entries of a Gram matrix, diagonal and rest apart; made by `GramSums.of`."""

    trace: float
    all_squares: float
    diagonal_spread: float
    rest: float
    squares: float
    shared: float
    apart: float
    diagonal_rows: float
    diagonal_apart: float

    @classmethod
    def of(cls, factor: Float[Tensor, "nodes width"]) -> "GramSums":
        """Sum the entries of F F^T in O(nodes x width x min(nodes, width)), forming only the smaller product.

        >>> GramSums.of(torch.ones(2, 1, dtype=torch.float64)).rest
        2.0
        """
        diagonal = factor.square().sum(dim=1)
        rows = factor @ factor.sum(dim=0) - diagonal  # sums of rows without the diagonal
        rest, trace = float(rows.sum()), float(diagonal.sum())
        small = factor.T @ factor if factor.shape[1] < factor.shape[0] else factor @ factor.T
        all_squares = float(small.square().sum())
        squares = max(all_squares - float(diagonal.square().sum()), 0.0)
        shared = float(rows.square().sum()) - squares
        diagonal_rows = float(diagonal @ rows)
        return cls(
            trace=trace,
            all_squares=all_squares,
            diagonal_spread=float((diagonal - diagonal.mean()).square().sum()),
            rest=rest,
            squares=squares,
            shared=shared,
            apart=rest**2 - 2 * squares - 4 * shared,
            diagonal_rows=diagonal_rows,
            diagonal_apart=trace * rest - 2 * diagonal_rows,
        )


def permuted_energies(
    bases: Sequence[Float[Tensor, "nodes _"]],
    X: Float[Tensor, "nodes width"],
    permutations: int,
    seed: int,
) -> Float[np.ndarray, "bases permutations"]:
    r"""Draw the energy in some modes under random permutations of the nodes, the same ones for all bases.

    With the Gram matrix :math:`K = X X^T` a permutation of X only moves entries of K, once for all bases; what each
    catches is then one inner product with its projector: O(permutations x nodes^2 x bases) time and O(nodes^2)
    memory. Beyond 2,048 nodes, whose matrices are large, X itself is permuted and projected:
    O(permutations x nodes x modes x width x bases) time. The global random state is not used.
    """
    nodes = len(X)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(nodes, generator=generator) for _ in range(permutations)]
    draws = np.empty((len(bases), permutations))
    if nodes <= LARGEST_GRAM:
        draws = _moved_gram(bases, (X @ X.T).numpy(), [order.numpy() for order in orders])
    else:
        signal = narrow(X)
        for draw, order in enumerate(orders):
            permuted = signal[order]
            draws[:, draw] = [float((basis.T @ permuted).square().sum()) for basis in bases]
    energy = float(X.square().sum())
    return draws / energy if energy > 0 else np.full_like(draws, np.nan)


def permuted_signal_and_noise(
    bases: Sequence[Float[Tensor, "nodes _"]],
    gradients: Float[Tensor, "batches nodes width"],
    permutations: int,
    seed: int,
) -> tuple[Float[np.ndarray, "bases permutations"], Float[np.ndarray, "bases permutations"]]:
    r"""Draw signal and noise of batches' gradients in some modes under random permutations of the nodes.

    With :math:`K_M = M M^T` of the mean gradient of B batches and :math:`K_N` the Gram matrix of their variance,

    .. math:: S_\pi = \operatorname{tr} U U^T (K_M - K_N / B)_\pi, \qquad N_\pi = \operatorname{tr} U U^T (K_N)_\pi

    so that signal and noise are those of `signal_to_noise`, in shares of the noise of all modes. One permutation alone
    has chance of its own, which the batches' jackknife does not know. O(batches x nodes^2 x width) for K and
    O(permutations x nodes^2 x bases) time, O(nodes^2) memory; the permutations are those of `permuted_energies`.

    >>> gradients = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> signal, noise = permuted_signal_and_noise([torch.eye(4, dtype=torch.float64)], gradients, 19, seed=0)
    >>> bool(np.allclose(noise, 1.0))
    True
    """
    count, nodes, _ = gradients.shape
    mean = gradients.mean(dim=0, dtype=torch.float64)
    K_mean = mean @ mean.T
    K_noise = torch.zeros_like(K_mean)
    for gradient in gradients:
        K_noise.addmm_(gradient.double(), gradient.double().T)
    K_noise = K_noise.sub_(K_mean, alpha=count).div_(count - 1)
    scale = float(K_noise.trace())
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(nodes, generator=generator).numpy() for _ in range(permutations)]
    K_signal = K_mean - K_noise / count
    signal, noise = (_moved_gram(bases, (K / scale).numpy(), orders) for K in (K_signal, K_noise))
    return signal, noise


def _moved_gram(bases: Sequence[Tensor], K: np.ndarray, orders: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply every projector with the Gram matrix K, its nodes moved in each order: (bases, orders)."""
    draws = np.zeros((len(bases), len(orders)))
    # A block of rows stays in the cache for all orders, of symmetric matrices half of the entries will do, and NumPy
    # takes columns twice as fast as torch: together a quarter of the time of moving all of K at once. The projectors
    # are made block by block as well: whole ones of many bases would be most of the memory.
    for start in range(0, len(K), ROWS):
        part = np.stack([(basis[start : start + ROWS] @ basis[start:].T).numpy() for basis in bases])
        part[:, :, ROWS:] *= 2  # what lies left of this block lies above another one
        flat = part.reshape(len(bases), -1)
        for draw, order in enumerate(orders):
            moved = K.take(order[start : start + ROWS], axis=0).take(order[start:], axis=1)
            draws[:, draw] += flat @ moved.reshape(-1)
    return draws


def permutation_p_value(energy: float, draws: Float[np.ndarray, " permutations"]) -> float:
    r"""Estimate how probable so much energy is under permutation, from the draws of `permuted_energies`.

    .. math:: p = \frac{1 + \#\{T_\pi \ge T\}}{1 + N}

    One-sided, and valid for any N (B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", Statistical
    Applications in Genetics and Molecular Biology 9(1), 2010); NaN for a signal of zeros.

    >>> permutation_p_value(0.9, np.array([0.1, 0.2, 0.3]))
    0.25
    """
    if not np.isfinite(draws).all() or not np.isfinite(energy):
        return math.nan
    # A draw that differs by rounding alone is as large: all of them are, on a complete graph.
    return float((1 + (draws >= energy * (1 - 1e-9)).sum()) / (1 + len(draws)))


def narrow(X: Float[Tensor, "nodes width"]) -> Float[Tensor, "nodes narrower"]:
    r"""Replace a signal wider than nodes by one of as many columns with the same Gram matrix.

    It is :math:`V \sqrt{s}` from the eigenpairs of :math:`X X^T`; a signal that is not wider stays itself.
    """
    if X.shape[1] <= X.shape[0]:
        return X
    values, vectors = torch.linalg.eigh(X @ X.T)
    root: Tensor = vectors * values.clamp(min=0.0).sqrt()
    return root
