r"""Chebyshev polynomials of a shift operator applied to a signal: filters without eigenvectors.

.. math:: p(L) X = \sum_{j=0}^{m} c_j T_j(\tilde L) X

where :math:`\tilde L` is L moved to [-1, 1] and :math:`T_{j+1} = 2 \tilde L T_j - T_{j-1}` [1]_.

References
----------
.. [1] D. K. Hammond, P. Vandergheynst, R. Gribonval, "Wavelets on graphs via spectral graph theory", Applied
   and Computational Harmonic Analysis 30(2), 2011.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.spectra import ShiftOperator, linear_product

Table: TypeAlias = Float[np.ndarray, "bank orders"]

# One term of a block of columns; three of them stay in a last-level cache of 16 MB. On 20,000 nodes blocks of 64
# columns take half the time of 384 at once.
_BLOCK_BYTES = 5 * 2**20
# One cache line of float32: narrower blocks read the indices for too little.
_NARROWEST = 16


def chebyshev_product(
    operator: ShiftOperator,
    X: Float[Tensor, "nodes width"],
    coefficients: Float[np.ndarray, " orders"],
    interval: tuple[float, float],
) -> Float[Tensor, "nodes width"]:
    """Apply a Chebyshev polynomial of a symmetric operator to a float32 or float64 signal by the three-term recurrence.

    Differentiable in X; the backward pass is the same product. O(order x edges x width) time, four signals of
    memory. On the CPU columns are taken in blocks that fit in its cache, on `torch.get_num_threads()` threads.
    """
    return linear_product(X, lambda signal: _recur(operator, signal, coefficients[None], interval)[0])


def chebyshev_products(
    operator: ShiftOperator,
    X: Float[Tensor, "nodes width"],
    coefficients: Float[np.ndarray, "bank orders"],
    interval: tuple[float, float],
) -> Float[Tensor, "bank nodes width"]:
    """Apply several polynomials of one operator, a row of coefficients each, in one recurrence.

    The operator is multiplied `order` times, however many they are; the backward pass takes one recurrence for each.
    """

    def adjoint(gradient: Tensor) -> Tensor:
        each = (
            _recur(operator, part, row[None], interval)[0]
            for part, row in zip(gradient, coefficients, strict=True)
        )
        return torch.stack(list(each)).sum(dim=0)

    return linear_product(X, lambda signal: _recur(operator, signal, coefficients, interval), adjoint)


def symmetric_polynomial(
    times: Callable[[Tensor], Tensor],
    X: Tensor,
    coefficients: Float[np.ndarray, " orders"],
    interval: tuple[float, float],
) -> Tensor:
    """Apply a Chebyshev polynomial of any symmetric map to a signal of any shape, by torch.

    `times` gives a new tensor; the interval holds all its eigenvalues. Differentiable as `chebyshev_product`.
    """
    return linear_product(X, lambda signal: _recur_torch(times, signal, coefficients[None], interval)[0])


def _recur(operator: ShiftOperator, X: Tensor, table: Table, interval: tuple[float, float]) -> Tensor:
    if X.device.type != "cpu" or operator.is_dense:
        return _recur_torch(operator.__matmul__, X, table, interval)
    return _recur_blocks(operator, X, table, interval)


def _recur_torch(
    times: Callable[[Tensor], Tensor], X: Tensor, table: Table, interval: tuple[float, float]
) -> Tensor:
    low, high = interval
    centre, radius = (high + low) / 2, (high - low) / 2 or 1.0
    results = [float(row[0]) * X for row in table]
    before, term = X, X
    for j in range(1, table.shape[1]):
        product = times(term).sub_(term, alpha=centre)
        following = product.mul_(1 / radius) if j == 1 else product.mul_(2 / radius).sub_(before)
        before, term = term, following
        for result, row in zip(results, table, strict=True):
            result.add_(term, alpha=float(row[j]))
    return torch.stack(results)


def _recur_blocks(operator: ShiftOperator, X: Tensor, table: Table, interval: tuple[float, float]) -> Tensor:
    """Recur on blocks of columns, each of which stays in the cache from the first to the last order."""
    signal = X.numpy()
    doubled = _moved_matrix(operator, signal.dtype, interval)
    out = np.empty((len(table), *signal.shape), signal.dtype)

    def run(block: slice) -> None:
        before = np.ascontiguousarray(signal[:, block])
        results = [before * float(row[0]) for row in table]
        scratch = np.empty_like(before)
        term = before
        for j in range(1, table.shape[1]):
            following = doubled @ term
            if j == 1:
                following *= 0.5
            else:
                following -= before
            before, term = term, following
            for result, row in zip(results, table, strict=True):
                result += np.multiply(term, float(row[j]), out=scratch)
        for target, result in zip(out, results, strict=True):
            target[:, block] = result

    nodes, width = signal.shape
    size = max(_NARROWEST, _BLOCK_BYTES // max(nodes * signal.itemsize, 1))
    blocks = [slice(start, start + size) for start in range(0, width, size)]
    threads = min(torch.get_num_threads(), len(blocks))
    if threads > 1:
        # SciPy and NumPy release the interpreter's lock in these products.
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, blocks))
    else:
        for block in blocks:
            run(block)
    return torch.from_numpy(out)


# Moved matrices by operator; an entry goes with its operator.
_MOVED: WeakKeyDictionary[ShiftOperator, dict[Any, sp.csr_array]] = WeakKeyDictionary()


def _moved_matrix(operator: ShiftOperator, dtype: Any, interval: tuple[float, float]) -> sp.csr_array:
    """Move the operator to [-1, 1] and double it; the diagonal of a normalized Laplacian vanishes thereby."""
    kept = _MOVED.setdefault(operator, {})
    if (dtype, interval) not in kept:
        low, high = interval
        centre, radius = (high + low) / 2, (high - low) / 2 or 1.0
        moved = sp.csr_array(operator.matrix - centre * sp.eye_array(operator.nodes, format="csr"))
        moved = sp.csr_array(moved * (2 / radius), dtype=dtype)
        moved.eliminate_zeros()
        kept[dtype, interval] = moved
    return kept[dtype, interval]
