r"""What a compaction would be by chance: nodes permuted, or the whole basis rotated.

A projector on some modes, :math:`P = U U^T`, catches the energy :math:`\operatorname{tr}(P K)` of a signal with the
Gram matrix :math:`K = X X^T`. Both null models leave P and K as they are and turn them against each other at random;
mean and variance of what is caught then have closed forms.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NullMoments:
    """Mean and standard deviation of an energy under a null model.

    Parameters
    ----------
    mean, deviation : float
        In units of the signal's energy.

    Examples
    --------
    >>> NullMoments(mean=0.5, deviation=0.1).z_score(0.7)
    2.0
    """

    mean: float
    deviation: float

    def z_score(self, energy: float) -> float:
        """Measure how many standard deviations an energy lies above the null's mean.

        Parameters
        ----------
        energy : float
            In units of the signal's energy.

        Returns
        -------
        float
            NaN where the null has no spread: a complete graph, or a signal that is the same on all nodes.
        """
        # Rounding of a variance of zero leaves some 1e-8 of the mean.
        if not self.deviation > 1e-7 * max(abs(self.mean), abs(energy)):
            return float("nan")
        return round((energy - self.mean) / self.deviation, 12)


def permuted_moments(
    basis: Float[Tensor, "nodes modes"], X: Float[Tensor, "nodes width"], sums: "GramSums | None" = None
) -> NullMoments:
    r"""Find mean and variance of the energy in some modes over all permutations of the nodes.

    .. math:: T_\pi = \sum_{ij} P_{ij} K_{\pi(i) \pi(j)}, \qquad P = U U^T, \quad K = X X^T

    The diagonals of P and K are permuted among themselves, and so are the rest; the moments over all n!
    permutations follow from sums of the entries, of their squares and of their rows [1]_.

    Parameters
    ----------
    basis : Tensor of shape (nodes, modes)
        U with orthonormal columns, float64.
    X : Tensor of shape (nodes, width)
        The signal, float64.
    sums : GramSums, optional
        Of X, where they are known: they are most of the work, and the same for all bases.

    Returns
    -------
    NullMoments
        Exact, in units of the signal's energy; NaN for a signal of zeros. O(nodes x (modes + width^2)) time, or
        O(nodes^2 x width) where the signal is wider than the graph has nodes.

    References
    ----------
    .. [1] N. Mantel, "The detection of disease clustering and a generalized regression approach", Cancer
       Research 27(2), 1967.

    Examples
    --------
    >>> import torch
    >>> one_mode = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    >>> permuted_moments(one_mode, torch.tensor([[1.0], [2.0]], dtype=torch.float64))
    NullMoments(mean=0.5, deviation=0.3)
    """
    n, energy = len(X), float(X.square().sum())
    if not energy > 0:
        return NullMoments(float("nan"), float("nan"))
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
    r"""Find mean and variance of the energy in some modes over all rotations of the spectrum's basis.

    .. math::
        \mathbb{E}\, T = \frac{k}{n} \operatorname{tr} K, \qquad
        \operatorname{var} T = \frac{2\,(k - k^2 / n)\,(\operatorname{tr} K^2 - (\operatorname{tr} K)^2 / n)}
        {(n - 1)(n + 2)}

    for :math:`T = \operatorname{tr}(Q P Q^T K)` with Q uniform on the orthogonal group and P the projector on k modes
    [1]_: the same eigenvalues with eigenvectors that know nothing.

    Parameters
    ----------
    basis : Tensor of shape (nodes, modes)
        Only its shape counts.
    X : Tensor of shape (nodes, width)
        The signal, float64.
    sums : GramSums, optional
        Of X, where they are known: they are most of the work, and the same for all bases.

    Returns
    -------
    NullMoments
        Exact, in units of the signal's energy; NaN for a signal of zeros. Time as for `permuted_moments`.

    References
    ----------
    .. [1] B. Collins, P. Sniady, "Integration with respect to the Haar measure on unitary, orthogonal and
       symplectic group", Communications in Mathematical Physics 264, 2006.

    Examples
    --------
    >>> import torch
    >>> rotated_moments(torch.eye(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)).mean
    0.5
    """
    n, k = basis.shape
    energy = float(X.square().sum())
    if not energy > 0:
        return NullMoments(float("nan"), float("nan"))
    if n == 1:
        return NullMoments(float(k), 0.0)
    spread = max((sums or GramSums.of(X)).all_squares - energy**2 / n, 0.0)
    variance = 2 * (k - k**2 / n) * spread / ((n - 1) * (n + 2))
    return NullMoments(k / n, variance**0.5 / energy)


@dataclass(frozen=True)
class GramSums:
    """Hold sums over the entries of a Gram matrix, diagonal and rest apart; made by `GramSums.of`.

    Examples
    --------
    >>> import torch
    >>> GramSums.of(torch.ones(2, 1, dtype=torch.float64)).rest
    2.0
    """

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
        """Sum the entries of F F^T, without forming more than the smaller of both products.

        Parameters
        ----------
        factor : Tensor of shape (nodes, width)
            F, float64.

        Returns
        -------
        GramSums
            O(nodes x width x min(nodes, width)) time.
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
