r"""The spectral penalty of a low-rank update s B A, without forming it.

A graph on the rows of the matrix has its operator on B's rows, one on its columns on A's columns; the Kronecker product
of both has one on either, and its modes have both factors in their coordinates.
An adapter that starts at B_0 A_0 != 0 has the update s (B A - B_0 A_0), which is the product of the stacked factors
[B - B_0, B_0] and [A; A - A_0], of rank 2 r. At the start one factor of each half is zero, so the penalty is exactly 0,
and near it nothing large cancels.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.spectra import KroneckerModes, KroneckerOperator, KroneckerProduct, wide
from spectral_opt.functional.penalty import OperatorLike, penalty_gradient, shifted_product

Axis = Literal["rows", "columns", "entries"]


def low_rank_penalty_value(
    B: Float[Tensor, "out rank"],
    A: Float[Tensor, "inner in"],
    operator: OperatorLike | KroneckerOperator,
    ridge: float = 0.0,
    scaling: float = 1.0,
    axis: Axis = "rows",
    start: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, ""]:
    r"""Compute the penalty of s (B A - B_0 A_0), differentiably and without forming it.

    .. math:: s^2 \operatorname{tr}((B^T M B)(A A^T)) \text{ (rows)}, \qquad s^2 \operatorname{tr}((B^T B)(A M A^T))
        \text{ (columns)}, \qquad M = L + \text{ridge}\, I

    .. math:: s^2 \operatorname{tr}((B^T L_r B)(A L_c A^T)) \text{ (product)}, \qquad
        s^2 \sum_{ij} s_{ij} (U^T B A V)_{ij}^2 \text{ (modes)}, \qquad
        \text{both with ridge } \lVert s B A \rVert^2 \text{ added}

    Parameters
    ----------
    B : Tensor of shape (out, rank)
        Left factor.
    A : Tensor of shape (rank, in)
        Right factor.
    operator : ShiftOperator, Tensor or array of shape (nodes, nodes), KroneckerOperator, or None
        Shift operator on the rows (nodes = out) or on the columns (nodes = in), or what acts on matrices (out, in);
        None means L = 0.
    ridge : float, default 0.0
        Added to every eigenvalue.
    scaling : float, default 1.0
        s, PEFT's lora_alpha / rank.
    axis : {"rows", "columns", "entries"}, default "rows"
        What a node of the operator is; "entries" for what acts on matrices.
    start : (Tensor, Tensor), optional
        B_0 and A_0 where the adapter does not start at zero (PiSSA); never differentiated.

    Returns
    -------
    Tensor of shape ()
        The penalty without its factor, in float32 or better. O(edges r + (out + in) r^2) time and
        O((out + in) r) memory; of modes O(out^2 r + in^2 r + out in r) time and one matrix (out, in) of memory. Of
        another operator on matrices the update is formed.

    Raises
    ------
    ValueError
        If shapes do not fit, or `axis` is none of them.
    TypeError
        If `axis` is "entries" and the operator does not act on matrices, or the other way round.

    References
    ----------
    .. [1] E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
    .. [2] F. Meng et al., "PiSSA", arXiv 2404.02948: a start that is not zero.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> low_rank_penalty_value(torch.tensor([[3.0], [1.0]]), torch.tensor([[2.0]]), edge)
    tensor(16.)
    """
    left, right = _stacked(B, A, start, axis)
    with torch.autocast(B.device.type, enabled=False):
        return scaling**2 * (left * _products(left, right, operator, ridge, axis)[0]).sum()


def low_rank_penalty_gradient(
    B: Float[Tensor, "out rank"],
    A: Float[Tensor, "inner in"],
    operator: OperatorLike | KroneckerOperator,
    ridge: float = 0.0,
    scaling: float = 1.0,
    axis: Axis = "rows",
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
    r"""Compute the gradients of :func:`low_rank_penalty_value` in closed form.

    .. math:: \nabla_B = 2 s^2 M B (A A^T), \qquad \nabla_A = 2 s^2 (B^T M B) A \qquad\text{(rows)}

    .. math:: \nabla_B = 2 s^2 B (A M A^T), \qquad \nabla_A = 2 s^2 (B^T B) A M \qquad\text{(columns)}

    .. math:: \nabla_B = 2 s\, F(s B A) A^T, \qquad \nabla_A = 2 s\, B^T F(s B A) \qquad\text{(F on entries)}

    M is symmetric here; of one that is not, such as of a "rw" Laplacian, (M + M^T) / 2 stands in its place, which has
    the same penalty. With a start, those of the stacked factors, summed over the blocks that B and A are in.

    Parameters
    ----------
    B, A, operator, ridge, scaling, axis, start : as in :func:`low_rank_penalty_value`
        Nothing is changed.

    Returns
    -------
    gradient_B : Tensor of shape (out, rank)
        In the dtype of `B`, detached.
    gradient_A : Tensor of shape (rank, in)
        In the dtype of `A`, detached. Time and memory as the value.

    Raises
    ------
    ValueError, TypeError
        As :func:`low_rank_penalty_value`.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> low_rank_penalty_gradient(torch.tensor([[3.0], [1.0]]), torch.tensor([[2.0]]), edge)
    (tensor([[ 16.],
            [-16.]]), tensor([[16.]]))
    """
    with torch.no_grad(), torch.autocast(B.device.type, enabled=False):
        left, right = _stacked(B.detach(), A.detach(), start, axis)
        of_left, of_right = (
            2.0 * scaling**2 * product
            for product in _products(left, right, operator, ridge, axis, _symmetric_product)
        )
        rank = B.shape[1]
        # A is in both halves of the right factor, B in the first of the left one.
        of_A = of_right if start is None else of_right[:rank] + of_right[rank:]
        return of_left[:, :rank].to(B.dtype), of_A.to(A.dtype)


def _symmetric_product(X: Tensor, operator: OperatorLike, ridge: float) -> Tensor:
    """Multiply by the symmetric part of the operator + ridge I, which alone the penalty sees; without a derivative."""
    return 0.5 * penalty_gradient(X, operator, ridge)


def _products(
    left: Tensor,
    right: Tensor,
    operator: OperatorLike | KroneckerOperator,
    ridge: float,
    axis: str,
    multiplied: Callable[[Tensor, OperatorLike, float], Tensor] = shifted_product,
) -> tuple[Tensor, Tensor]:
    """Compute F(D) right^T and left^T F(D) of D = left right, F the operator + ridge I as it is `multiplied`."""
    if operator is not None and isinstance(operator, KroneckerOperator) != (axis == "entries"):
        raise TypeError(
            f"axis is {axis!r} and the operator a {type(operator).__name__}; 'entries' goes with what acts on matrices "
            "(KroneckerProduct, KroneckerModes), 'rows' and 'columns' with a square matrix"
        )
    if axis == "columns":
        of_right, of_left = _products(right.T, left.T, operator, ridge, "rows", multiplied)
        return of_left.T, of_right.T
    if isinstance(operator, KroneckerOperator):
        if operator.shape != (left.shape[0], right.shape[1]):
            raise ValueError(
                f"the operator acts on matrices of the shape {operator.shape}, B A has "
                f"{(left.shape[0], right.shape[1])} nodes on its sides"
            )
        of_left, of_right = _entry_products(left, right, operator)
        return of_left + ridge * left @ (right @ right.T), of_right + ridge * (left.T @ left) @ right
    shifted = multiplied(left, operator, ridge)
    return shifted @ (right @ right.T), (left.T @ shifted) @ right


def _entry_products(left: Tensor, right: Tensor, operator: KroneckerOperator) -> tuple[Tensor, Tensor]:
    if isinstance(operator, KroneckerProduct):
        rows, columns = operator.rows @ left, (operator.columns @ right.T).T
        return rows @ (columns @ right.T), (left.T @ rows) @ columns
    if isinstance(operator, KroneckerModes):
        parts = (operator.row_basis, operator.column_basis, operator.eigenvalues)
        U, V, S = (part.to(left.device, left.dtype) for part in parts)
        rows, columns = U.T @ left, right @ V
        weighted = S * (rows @ columns)
        return U @ (weighted @ columns.T), (rows.T @ weighted) @ V.T
    image = operator.times(left @ right)
    return image @ right.T, left.T @ image


def _stacked(B: Tensor, A: Tensor, start: tuple[Tensor, Tensor] | None, axis: str) -> tuple[Tensor, Tensor]:
    """Write B A - B_0 A_0 as one product of wide factors."""
    if axis not in get_args(Axis):
        raise ValueError(f"axis is {axis!r}; allowed: 'rows', 'columns' and 'entries'")
    if B.ndim != 2 or A.ndim != 2 or B.shape[1] != A.shape[0]:
        raise ValueError(
            f"B {tuple(B.shape)} and A {tuple(A.shape)} make no product B A; B is (out, rank), A is (rank, in)"
        )
    left, right = wide(B), wide(A)
    if start is None:
        return left, right
    first, second = (wide(part.detach()).to(B.device) for part in start)
    if first.shape != B.shape or second.shape != A.shape:
        raise ValueError(
            f"start has the shapes {tuple(first.shape)} and {tuple(second.shape)}; those of B and A are "
            f"{tuple(B.shape)} and {tuple(A.shape)}"
        )
    return torch.cat([left - first, first], dim=1), torch.cat([right, right - second], dim=0)
