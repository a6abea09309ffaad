r"""The spectral penalty of a low-rank update s B A, without forming it.

A graph on the rows of the matrix has its operator on B's rows, one on its columns on A's columns.
An adapter that starts at B_0 A_0 != 0 has the update s (B A - B_0 A_0), which is the product of the stacked factors
[B - B_0, B_0] and [A; A - A_0], of rank 2 r. At the start one factor of each half is zero, so the penalty is exactly 0,
and near it nothing large cancels.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.spectra import wide
from spectral_opt.functional.penalty import OperatorLike, shifted_product


def low_rank_penalty_value(
    B: Float[Tensor, "out rank"],
    A: Float[Tensor, "inner in"],
    operator: OperatorLike,
    ridge: float = 0.0,
    scaling: float = 1.0,
    axis: Literal["rows", "columns"] = "rows",
    start: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, ""]:
    r"""Compute the penalty of s (B A - B_0 A_0), differentiably and without forming it.

    .. math:: s^2 \operatorname{tr}((B^T M B)(A A^T)) \text{ (rows)}, \qquad s^2 \operatorname{tr}((B^T B)(A M A^T))
        \text{ (columns)}, \qquad M = L + \text{ridge}\, I

    Parameters
    ----------
    B : Tensor of shape (out, rank)
        Left factor.
    A : Tensor of shape (rank, in)
        Right factor.
    operator : ShiftOperator, Tensor or array of shape (nodes, nodes), or None
        Symmetric shift operator on the rows (nodes = out) or on the columns (nodes = in); None means L = 0.
    ridge : float, default 0.0
        Added to every eigenvalue.
    scaling : float, default 1.0
        s, PEFT's lora_alpha / rank.
    axis : {"rows", "columns"}, default "rows"
        What a node of the operator is.
    start : (Tensor, Tensor), optional
        B_0 and A_0 where the adapter does not start at zero (PiSSA); never differentiated.

    Returns
    -------
    Tensor of shape ()
        The penalty without its factor, in float32 or better. O(edges r + (out + in) r^2) time and
        O((out + in) r) memory.

    Raises
    ------
    ValueError
        If shapes do not fit, or `axis` is neither.

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
    if axis == "columns":
        left, right = right.T, left.T
    with torch.autocast(B.device.type, enabled=False):
        form = left.T @ shifted_product(left, operator, ridge)
        return scaling**2 * (form * (right @ right.T)).sum()


def low_rank_penalty_gradient(
    B: Float[Tensor, "out rank"],
    A: Float[Tensor, "inner in"],
    operator: OperatorLike,
    ridge: float = 0.0,
    scaling: float = 1.0,
    axis: Literal["rows", "columns"] = "rows",
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
    r"""Compute the gradients of :func:`low_rank_penalty_value` in closed form.

    .. math:: \nabla_B = 2 s^2 M B (A A^T), \qquad \nabla_A = 2 s^2 (B^T M B) A \qquad\text{(rows)}

    .. math:: \nabla_B = 2 s^2 B (A M A^T), \qquad \nabla_A = 2 s^2 (B^T B) A M \qquad\text{(columns)}

    With a start, those of the stacked factors, summed over the blocks that B and A are in.

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
    ValueError
        If shapes do not fit, or `axis` is neither.

    Examples
    --------
    >>> edge = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> low_rank_penalty_gradient(torch.tensor([[3.0], [1.0]]), torch.tensor([[2.0]]), edge)
    (tensor([[ 16.],
            [-16.]]), tensor([[16.]]))
    """
    with torch.no_grad(), torch.autocast(B.device.type, enabled=False):
        left, right = _stacked(B.detach(), A.detach(), start, axis)
        if axis == "columns":
            left, right = right.T, left.T
        shifted = shifted_product(left, operator, ridge)
        of_left = shifted @ (right @ right.T) * (2.0 * scaling**2)
        of_right = (left.T @ shifted) @ right * (2.0 * scaling**2)
        if axis == "columns":
            of_left, of_right = of_right.T, of_left.T
        rank = B.shape[1]
        # A is in both halves of the right factor, B in the first of the left one.
        of_A = of_right if start is None else of_right[:rank] + of_right[rank:]
        return of_left[:, :rank].to(B.dtype), of_A.to(A.dtype)


def _stacked(B: Tensor, A: Tensor, start: tuple[Tensor, Tensor] | None, axis: str) -> tuple[Tensor, Tensor]:
    """Write B A - B_0 A_0 as one product of wide factors."""
    if axis not in ("rows", "columns"):
        raise ValueError(f"axis is {axis!r}; allowed: 'rows' and 'columns'")
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
