"""Filter one table of nodes, gather to scatter, on plain tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.nodes import NodeTable


def filter_table(
    X: Float[Tensor, "nodes width"], graph_filter: Any, check: bool = True
) -> Float[Tensor, "nodes width"]:
    r"""Filter the signal of one table.

    .. math:: Y = X + (h(L) - I) X

    Parameters
    ----------
    X : Tensor of shape (nodes, width)
        Gradient or update of a table; never changed.
    graph_filter : GraphFilter
        Prepared filter of the table's graph.
    check : bool, default True
        Refuse a signal that is not finite. Without the check it passes through the filter, which spreads it over
        the nodes: visible, and nothing waits for an accelerator.

    Returns
    -------
    Tensor of shape (nodes, width)
        Same dtype and device; `X` itself where the filter is the identity, so that no bit changes.

    Raises
    ------
    ValueError
        If `check` finds a value that is not finite.

    Examples
    --------
    >>> from paramgraph import prepare_filter
    >>> from paramgraph import tikhonov
    >>> from paramgraph import laplacian
    >>> L = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> filter_table(torch.tensor([[2.0], [0.0]]), prepare_filter(L, tikhonov(gamma=0.5)))
    tensor([[1.5000],
            [0.5000]])
    """
    if graph_filter.is_identity:
        return X
    filtered: Tensor = graph_filter(X, check=check)
    return filtered


def match_norm(
    filtered: Float[Tensor, "nodes width"], X: Float[Tensor, "nodes width"]
) -> Float[Tensor, "nodes width"]:
    r"""Give a filtered signal the norm that the signal had.

    .. math:: Y \mapsto Y \, \lVert X \rVert_F / \lVert Y \rVert_F

    Parameters
    ----------
    filtered : Tensor of shape (nodes, width)
        Y; never changed.
    X : Tensor of shape (nodes, width)
        The signal before the filter.

    Returns
    -------
    Tensor of shape (nodes, width)
        Y rescaled. Where nothing but rounding passed the filter Y stays as it is; where the norms are equal, too.

    Examples
    --------
    >>> match_norm(torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[0., 5.]])
    """
    working = torch.promote_types(X.dtype, torch.float32)
    before = torch.linalg.vector_norm(X, dtype=working)
    after = torch.linalg.vector_norm(filtered, dtype=working)
    # 16 roundings: what is left of a signal that the filter removes is noise, and is not to be blown up.
    noise = 16 * torch.finfo(working).eps * before
    # A choice by `where` and not by `if`: nothing waits for an accelerator. A factor of 1 changes no bit.
    matched: Tensor = filtered * torch.where(after > noise, before / after, torch.ones_like(after))
    return matched


def filter_in_place_of(
    tensors: Mapping[str, Tensor],
    table: NodeTable,
    graph_filter: Any,
    norm_matching: bool = False,
    check: bool = True,
) -> dict[str, Tensor]:
    """Filter what one table covers and return the new values of its parameters.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Gradients or updates under the names of the parameters; never changed.
    table : NodeTable
        Where the nodes lie.
    graph_filter : GraphFilter
        Prepared filter of the table's graph.
    norm_matching : bool, default False
        Rescale to the norm of the table's input.
    check : bool, default True
        Refuse a signal that is not finite.

    Returns
    -------
    dict of str to Tensor
        One new tensor per parameter of the table; entries outside the table are unchanged.

    Raises
    ------
    ValueError
        If the number of nodes does not fit, or `check` finds a value that is not finite; the table is named.

    Examples
    --------
    >>> from paramgraph import prepare_filter
    >>> from paramgraph import tikhonov
    >>> from paramgraph import columns
    >>> from paramgraph import laplacian
    >>> table = columns(torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False)))["0.weight"]
    >>> L = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> gradients = {"0.weight": torch.tensor([[2.0, 0.0]])}
    >>> filter_in_place_of(gradients, table, prepare_filter(L, tikhonov(gamma=0.5)))
    {'0.weight': tensor([[1.5000, 0.5000]])}
    """
    X = table.gather(tensors)
    try:
        filtered = filter_table(X, graph_filter, check)
    except ValueError as error:
        raise ValueError(f"table {table.group!r}: {error}") from error
    if norm_matching:
        filtered = match_norm(filtered, X)
    return put_back(tensors, table, X, filtered)


def put_back(
    tensors: Mapping[str, Tensor], table: NodeTable, X: Tensor, filtered: Tensor
) -> dict[str, Tensor]:
    """Write a filtered table back over what it was gathered from.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        What `X` was gathered from; never changed.
    table : NodeTable
        Where the nodes lie.
    X, filtered : Tensor of shape (nodes, width)
        The signal before and after the filter.

    Returns
    -------
    dict of str to Tensor
        New values of the table's parameters; entries that are in no node keep every bit.

    Examples
    --------
    >>> from paramgraph import rows
    >>> table = rows(torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False)))["0.weight"]
    >>> put_back({"0.weight": torch.ones(1, 2)}, table, torch.ones(1, 2), torch.zeros(1, 2))
    {'0.weight': tensor([[0., 0.]])}
    """
    if all(part.is_whole for part in table.slices):
        return table.scatter(filtered)
    change = table.scatter(filtered - X)
    return {
        name: torch.where(value == 0, tensors[name], tensors[name] + value) for name, value in change.items()
    }
