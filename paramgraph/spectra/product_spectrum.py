r"""The lowest graph frequencies of a Kronecker sum or product, from few eigenpairs of its two factors.

.. math::
    (L_r \otimes I + I \otimes L_c)(u_i \otimes v_j) = (\lambda_i + \mu_j)(u_i \otimes v_j), \qquad
    (L_r \otimes L_c)(u_i \otimes v_j) = \lambda_i \mu_j (u_i \otimes v_j)

In ascending order, the pair (i, j), counted from 1, has at least i j - 1 others that are no larger, so only
pairs with i j <= k can be among the k smallest: some k log k of them, however large the factors are. Of products that
holds where no factor is negative, as of Laplacians; those of adjacencies are all looked at.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64

from paramgraph.spectra.eigensolve import Seed, eigenpairs
from paramgraph.spectra.kronecker_operator import KroneckerPair
from paramgraph.spectra.shift_operator import ShiftOperator
from paramgraph.spectra.spectrum import Spectrum

# One dense decomposition of 1,000 nodes takes 0.3 s, and there is nothing to find out about it.
WHOLE_NODES = 1000
# Eigenvectors written out; `product_modes` holds the same pairs by their factors, in a few MB.
MOST_BYTES = 2**31


@dataclass(frozen=True, eq=False)
class ProductModes:
    """Hold the k lowest modes of a Kronecker sum or product by the numbers of their factors' modes.

    Parameters
    ----------
    eigenvalues : ndarray of shape (k,)
        Sums or products, in the order of graph frequency; equal ones in the order of the row mode, then the column
        mode.
    row, column : ndarray of shape (k,)
        Number of the factor's mode, from 0.
    row_spectrum, column_spectrum : Spectrum
        Those eigenpairs of the factors that were computed.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian
    >>> edge = laplacian(nx.path_graph(2), None)
    >>> from paramgraph.spectra import KroneckerSum
    >>> modes = product_modes(KroneckerSum(edge, edge), 3)
    >>> modes.eigenvalues.round(6).tolist(), modes.row.tolist(), modes.column.tolist()
    ([0.0, 2.0, 2.0], [0, 0, 1], [0, 1, 0])
    """

    eigenvalues: Float[np.ndarray, " k"]
    row: Int64[np.ndarray, " k"]
    column: Int64[np.ndarray, " k"]
    row_spectrum: Spectrum
    column_spectrum: Spectrum


def smallest_pairs(
    first: Float[np.ndarray, " a"], second: Float[np.ndarray, " b"], count: int, join: np.ufunc = np.add
) -> tuple[Float[np.ndarray, " k"], Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Find the `count` smallest sums of one entry of each of two ascending lists, and where their parts stand.

    Or what else `join` makes of two entries, as long as it rises with both. Ascending, with multiplicity; equal ones
    are in the order of (i, j). O(count log^2 count) time, O(count log count) memory.

    >>> smallest_pairs(np.array([0.0, 3.0]), np.array([0.0, 1.0, 5.0]), 4)[0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    rows = np.arange(min(len(first), count), dtype=np.int64)
    reach = np.minimum(len(second), count // (rows + 1))
    i = np.repeat(rows, reach)
    j = np.arange(len(i), dtype=np.int64) - np.repeat(np.cumsum(reach) - reach, reach)
    joined = join(first[i], second[j])
    order = np.lexsort((j, i, joined))[:count]
    return joined[order], i[order], j[order]


def product_modes(operator: KroneckerPair, k: int, solver: str = "auto", seed: Seed = 0) -> ProductModes:
    """Find the k lowest graph frequencies, from 0 to all, of a Kronecker sum or product, without forming it.

    A factor of up to 1,000 nodes is solved whole. Of a larger one some 2 sqrt(k) pairs are computed, and twice as many
    until no other pair of modes can be among the k: at most k of them. Both factors of a product of adjacencies are
    solved whole, since two negative eigenvalues may make a strong mode; O(rows x columns) memory.
    """
    operators, flip = operator.parts, 1.0 if operator.kind == "laplacian" else -1.0
    if operator.kind == "adjacency" and not operator.rises:
        return _strongest_modes(operator, k, solver, seed)
    need = [_first_guess(nodes, k) for nodes in operator.shape]
    spectra: list[Spectrum] = [_pairs(operators[side], need[side], solver, seed) for side in (0, 1)]
    while True:
        # On an adjacency the largest come first.
        first, second = (flip * spectrum.eigenvalues.numpy() for spectrum in spectra)
        enough = need[0] * need[1] >= k
        values, i, j = smallest_pairs(first, second, min(k, need[0] * need[1]), operator.join)
        # A mode that was not computed lies at or above the last computed one of its factor.
        unseen = [np.inf, np.inf]
        if k and need[0] < operator.shape[0]:
            unseen[0] = operator.join(first[-1], second[0])
        if k and need[1] < operator.shape[1]:
            unseen[1] = operator.join(first[0], second[-1])
        limit = values[-1] if enough and k else np.inf
        if not min(unseen) < limit:
            return ProductModes(flip * values + 0.0, i, j, spectra[0], spectra[1])
        # The other factor may turn out to have enough once the limit has fallen.
        side = int(np.argmin(unseen))
        need[side] = min(2 * need[side], operators[side].nodes)
        spectra[side] = _pairs(operators[side], need[side], solver, seed)


def _strongest_modes(operator: KroneckerPair, k: int, solver: str, seed: Seed) -> ProductModes:
    """Sort all pairs of modes, largest eigenvalue first; equal ones in the order of the row mode."""
    rows, columns = (eigenpairs(part, solver=solver, seed=seed) for part in operator.parts)
    values = operator.join.outer(rows.eigenvalues.numpy(), columns.eigenvalues.numpy()).reshape(-1)
    order = np.argsort(-values, kind="stable")[:k].astype(np.int64)
    i, j = np.divmod(order, max(1, columns.modes))
    return ProductModes(values[order] + 0.0, i, j, rows, columns)


def product_eigenpairs(operator: KroneckerPair, k: int, solver: str = "auto", seed: Seed = 0) -> Spectrum:
    """Write the k lowest modes out, each as a vector of all entries row by row; a ValueError beyond 2 GiB."""
    size = 8 * operator.nodes * k
    if size > MOST_BYTES:
        raise ValueError(
            f"{k} eigenvectors of {operator.nodes} entries take {size / 2**30:.1f} GiB; ask for fewer pairs, or take "
            "modes(k), which holds them by their factors"
        )
    modes = product_modes(operator, k, solver, seed)
    factors = (modes.row_spectrum, modes.column_spectrum)
    U = factors[0].eigenvectors[:, torch.from_numpy(modes.row)]
    V = factors[1].eigenvectors[:, torch.from_numpy(modes.column)]
    vectors, values = torch.einsum("im,jm->ijm", U, V), torch.from_numpy(modes.eigenvalues)
    return Spectrum(
        values,
        vectors.reshape(operator.nodes, k),
        torch.linalg.vector_norm(operator.times(vectors) - vectors * values, dim=(0, 1)),
        solver="+".join(sorted({name for one in factors for name in one.solver.split("+")})),
        reason=f"{operator.word}s of {factors[0].modes} row pairs ({factors[0].reason}) and "
        f"{factors[1].modes} column pairs ({factors[1].reason})",
        components=operator.components,
        kind=operator.kind,
        nullity=operator.nullity if operator.kind == "laplacian" else None,
    )


def _first_guess(nodes: int, k: int) -> int:
    return nodes if nodes <= WHOLE_NODES else min(nodes, max(16, 2 * math.isqrt(k)))


def _pairs(operator: ShiftOperator, count: int, solver: str, seed: Seed) -> Spectrum:
    return eigenpairs(operator, k=count or None, solver=solver, seed=seed)
