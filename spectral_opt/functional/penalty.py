r"""The spectral penalty tr(X^T (L + ridge I) X) on plain tensors: value, gradient and product.

Everything here is pure and knows no model: `operator` is a `SignalOperator`, such as a `ShiftOperator`, a square
tensor or array, or None for no graph, L = 0.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.spectra import SignalOperator, linear_product, wide

OperatorLike: TypeAlias = SignalOperator | Tensor | np.ndarray | sp.sparray | sp.spmatrix | None


@dataclass(frozen=True, eq=False)
class MatrixOperator(SignalOperator):
    """Give a plain square matrix the interface of an operator."""

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.matrix.shape[0]

    @property
    def bound(self) -> float:
        """Gershgorin's bound of the absolute eigenvalues."""
        return float(self.matrix.to_dense().abs().sum(1).max()) if self.nodes else 0.0

    @property
    def symmetric(self) -> bool:
        """Whether it equals its transpose, to the last bit."""
        matrix = self.matrix.to_dense()
        return bool(torch.equal(matrix, matrix.T))

    def __matmul__(self, X: Tensor) -> Tensor:
        return self._matrix(X) @ X

    def adjoint(self, X: Tensor) -> Tensor:
        """Multiply a signal by the transpose."""
        return self._matrix(X).T @ X

    def _matrix(self, like: Tensor) -> Tensor:
        strided = self.matrix.layout == torch.strided
        return (self.matrix if strided else torch.Tensor.to_sparse(self.matrix)).to(like.device, like.dtype)


def _product(X: Tensor, operator: SignalOperator) -> Tensor:
    """L X with L^T as its derivative, to any order: the operator itself knows no autograd."""
    return linear_product(X, partial(multiply, operator), partial(multiply, operator, transposed=True))


def penalty_value(
    X: Float[Tensor, "nodes width"], operator: OperatorLike, ridge: float = 0.0
) -> Float[Tensor, ""]:
    r"""Compute the spectral penalty, differentiably.

    .. math::
        R(X) = \operatorname{tr}(X^T (L + \text{ridge}\, I) X)
             = \sum_k (\lambda_k + \text{ridge}) \lVert \hat x_k \rVert^2

    For the combinatorial Laplacian this is half the sum of W_ij ||x_i - x_j||^2 over ordered pairs.

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        Delta or weights, one row per node; any floating dtype and device.
    operator : ShiftOperator, Tensor or array of shape (nodes, nodes), or None
        Graph shift operator; None means L = 0.
    ridge : float, default 0.0
        Added to every eigenvalue.

    Returns
    -------
    Tensor of shape ()
        In the dtype of `X`, but float32 where `X` is bfloat16 or float16: a sum over a whole matrix has too few bits
        in 16. One product with L: O(edges * width) time, O(nodes * width) memory.

    Raises
    ------
    ValueError
        If the number of nodes differs from that of the operator.
    TypeError
        If `X` is no floating tensor, or the operator no square matrix.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> penalty_value(torch.tensor([[3.0], [1.0]]), edge)
    tensor(4.)
    """
    operator = checked_operator(X, operator)
    with torch.autocast(X.device.type, enabled=False):
        signal = wide(X)
        if operator is None:
            return ridge * signal.square().sum()
        value = (signal * _product(signal, operator)).sum()
        return value + ridge * signal.square().sum() if ridge else value


def penalty_gradient(
    X: Float[Tensor, "nodes width"], operator: OperatorLike, ridge: float = 0.0
) -> Float[Tensor, "nodes width"]:
    r"""Compute the gradient of :func:`penalty_value` in closed form.

    .. math:: \nabla R(X) = (L + L^T) X + 2\, \text{ridge}\, X \;=\; 2 (L + \text{ridge}\, I) X \text{ for symmetric } L

    Parameters
    ----------
    X, operator, ridge : as in :func:`penalty_value`
        Nothing is changed.

    Returns
    -------
    Tensor of shape (nodes, width)
        Of the dtype and device of `X` (accumulated in float32 or better), detached. About a third of the time of
        autograd, which multiplies with L twice and keeps its input.

    Raises
    ------
    ValueError, TypeError
        As :func:`penalty_value`.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> penalty_gradient(torch.tensor([[3.0], [1.0]]), edge)
    tensor([[ 4.],
            [-4.]])
    """
    operator = checked_operator(X, operator)
    with torch.no_grad(), torch.autocast(X.device.type, enabled=False):
        signal = wide(X.detach())
        if operator is None:
            return (2.0 * ridge * signal).to(X.dtype)
        if operator.symmetric:
            gradient = 2.0 * multiply(operator, signal)
        else:
            gradient = multiply(operator, signal) + multiply(operator, signal, transposed=True)
        if ridge:
            gradient = gradient.add_(signal, alpha=2.0 * ridge)
        return gradient.to(X.dtype)


def shifted_product(
    X: Float[Tensor, "nodes width"], operator: OperatorLike, ridge: float = 0.0
) -> Float[Tensor, "nodes width"]:
    r"""Multiply by the operator of the penalty, :math:`(L + \text{ridge}\, I) X`, differentiably and widened."""
    operator = checked_operator(X, operator)
    with torch.autocast(X.device.type, enabled=False):
        signal = wide(X)
        if operator is None:
            return ridge * signal
        product = _product(signal, operator)
        return product + ridge * signal if ridge else product


def multiply(operator: SignalOperator, X: Tensor, transposed: bool = False) -> Tensor:
    """Multiply a signal by an operator or its transpose, without a derivative."""
    # An operator on several ranks is waited for by the others, also where this one has no rows.
    if not X.numel() and not operator.spans_ranks:
        return X.clone()
    return operator.adjoint(X) if transposed else operator @ X


def checked_operator(X: Tensor, operator: OperatorLike) -> SignalOperator | None:
    """Check that an operator and a signal (nodes, width) fit, and give a plain matrix the interface of an operator.

    A TypeError is raised where the signal is no floating tensor or the operator no square matrix, a ValueError where
    the number of nodes differs.
    """
    if not isinstance(X, Tensor):
        raise TypeError(f"X is a {type(X).__name__}; a tensor of shape (nodes, width) is needed")
    if not X.is_floating_point():
        raise TypeError(f"X is {X.dtype}; a floating tensor is needed: X.float()")
    if operator is None:
        return None
    matrix: Any = operator  # SciPy's two families of sparse arrays share no typed parent with NumPy's
    if isinstance(operator, np.ndarray) or sp.issparse(operator):
        matrix = torch.from_numpy(sp.coo_array(matrix).toarray())
    shape = tuple(matrix.shape) if isinstance(matrix, SignalOperator | Tensor) else ()
    if len(shape) != 2 or shape[0] != shape[1]:
        kind = f"has the shape {shape}" if shape else f"is a {type(operator).__name__}"
        raise TypeError(f"operator {kind}; give laplacian(graph), a square matrix, or None for no graph")
    if shape[0] != X.shape[0]:
        raise ValueError(
            f"X has {X.shape[0]} nodes (rows), the operator has {shape[0]}; "
            "gather X with the table that the graph was built from"
        )
    known: SignalOperator = MatrixOperator(matrix) if isinstance(matrix, Tensor) else matrix
    return known
