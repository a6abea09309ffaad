r"""Filter gradients with h(L): pure functions on tensors and dictionaries of them, without a model or an optimizer.

A filter is a correction, :math:`h(L) G = G + (h(L) - I) G`, so that the identity changes no bit. `gradient_filter`
is an (init, update) pair in the manner of optax; `filter_gradients` is one call.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters import Method, ReadyFilter, ResponseFunction, get_response, prepare_filter
from paramgraph.graphs import GraphLike
from paramgraph.nodes import NodeTable
from paramgraph.spectra import ShiftOperator, adjacency, working_dtype

# Values are tensors; a gradient may be None, as it is on a parameter that took no part.
Tensors = dict[str, Any]


class GradientFilter(NamedTuple):
    """A transform of gradients as a pair of pure functions over dictionaries of tensors, in the manner of optax.

    Parameters
    ----------
    init : callable
        `init(parameters=None) -> state`, a dictionary of tensors.
    update : callable
        `update(gradients, state, parameters=None) -> (changed gradients, state)`.

    Examples
    --------
    >>> halve = GradientFilter(lambda parameters=None: {}, lambda g, s, p=None: ({k: g[k] / 2 for k in g}, s))
    >>> halve.update({"w": torch.ones(1)}, halve.init())[0]
    {'w': tensor([0.5000])}
    """

    init: Callable[..., Tensors]
    update: Callable[..., tuple[Tensors, Tensors]]


def gradient_filter(
    filters: Mapping[str, ReadyFilter],
    tables: Mapping[str, NodeTable] | None = None,
    norm_matching: bool = False,
) -> GradientFilter:
    r"""Make the (init, update) pair that filters gradients with ready filters, to be chained with others.

    .. math:: G \mapsto h(L)\, G = G + (h(L) - I)\, G

    Parameters
    ----------
    filters : mapping of str to filter
        Filters of :func:`paramgraph.prepare_filter`, made once, under the names of the gradients or, with `tables`,
        under the keys of these.
    tables : mapping of str to NodeTable, optional
        Where the nodes of each filter lie: rows, columns, or any other scheme. None: they are the rows of the gradient
        (its first axis), or its entries where there are as many nodes as entries.
    norm_matching : bool, default False
        Rescale each table to the norm of its input.

    Returns
    -------
    GradientFilter
        `update` returns a new dictionary with the same keys, shapes, dtypes and devices; all else is handed through as
        it is, also what is not finite, which the filter spreads over the nodes. Linear in the gradient unless
        `norm_matching`. The state is a dictionary of tensors: "count", the number of updates so far.

    Raises
    ------
    KeyError
        If a filter has no table.
    ValueError
        At an update, if the number of nodes does not fit.

    Examples
    --------
    >>> from paramgraph import laplacian, prepare_filter, tikhonov
    >>> from spectral_opt import chain, clip_by_global_norm
    >>> L = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> smooth = gradient_filter({"w": prepare_filter(L, tikhonov(gamma=0.5))})
    >>> pair = chain(clip_by_global_norm(1.0), smooth)
    >>> pair.update({"w": torch.tensor([[2.0], [0.0]])}, pair.init())[0]
    {'w': tensor([[0.7500],
            [0.2500]])}
    """
    lost = [] if tables is None else sorted(set(filters) - set(tables))
    if tables is not None and lost:
        raise KeyError(f"no node table for the filters {lost}; there are tables for {sorted(tables)}")

    def init(parameters: Mapping[str, Tensor] | None = None) -> Tensors:
        return {"count": torch.zeros((), dtype=torch.int64)}

    def update(
        gradients: Mapping[str, Any],
        state: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensors, Tensors]:
        result = dict(gradients)
        for key, graph_filter in filters.items():
            table = None if tables is None else tables[key]
            if all(result.get(name) is not None for name in (table.parameters if table else (key,))):
                if table is None:
                    result[key] = _filter_plain(key, result[key], graph_filter, norm_matching, False)
                else:
                    result |= filter_in_place_of(result, table, graph_filter, norm_matching, False)
        return result, {"count": state["count"] + 1}

    return GradientFilter(init, update)


def filter_gradients(
    gradients: Mapping[str, Tensor | None],
    operators: Mapping[str, ShiftOperator | GraphLike],
    responses: ResponseFunction | str | Mapping[str, ResponseFunction | str],
    tables: Mapping[str, NodeTable] | None = None,
    norm_matching: bool = False,
    method: Method = "auto",
) -> Tensors:
    r"""Filter gradients with one shift operator and one response per parameter.

    .. math:: G \mapsto h(L)\, G = G + (h(L) - I)\, G

    Parameters
    ----------
    gradients : mapping of str to Tensor
        Gradients under any names, never changed; None, on a parameter that took no part, stays None.
    operators : mapping of str to ShiftOperator
        Operators of the parameters to filter, a subset of the names. Without `tables` the nodes are the rows of the
        gradient (its first axis), or its entries where the operator has as many nodes as the gradient has entries. A
        plain symmetric matrix is taken as it is, :func:`paramgraph.adjacency`.
    responses : callable, str, or mapping of str to these
        Response on eigenvalues, one for all or one per name.
    tables : mapping of str to NodeTable, optional
        Where the nodes lie; the keys of `operators` are then those of the tables.
    norm_matching : bool, default False
        Rescale each table to the norm of its input; a zero result stays zero.
    method : {"auto", "exact", "lowrank", "chebyshev", "solve"}, default "auto"
        How h(L) is applied, see :func:`paramgraph.apply_filter`.

    Returns
    -------
    dict of str to Tensor
        Same keys in the same order, same shapes, dtypes and devices. The identity keeps every bit.

    Raises
    ------
    KeyError
        If an operator has no gradient, no response or no table.
    ValueError
        If the number of nodes does not fit, or a gradient to be filtered is not finite; it is named.
    TypeError
        If `gradients` or `operators` is no mapping, or an operator is no matrix.

    References
    ----------
    .. [1] S. Osher et al., "Laplacian Smoothing Gradient Descent", arXiv 1806.06317: the combinatorial ring on the
       entries, with a Tikhonov response.

    Examples
    --------
    >>> from paramgraph import laplacian, tikhonov
    >>> L = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> filter_gradients({"w": torch.tensor([[2.0], [0.0]])}, {"w": L}, tikhonov(gamma=0.5))
    {'w': tensor([[1.5000],
            [0.5000]])}
    """
    for kind, given in (("gradients", gradients), ("operators", operators)):
        if not isinstance(given, Mapping):
            raise TypeError(f"{kind} is a {type(given).__name__}; it must be a mapping from names to {kind}")
    result: Tensors = dict(gradients)
    for name, operator in operators.items():
        table = None if tables is None else _look_up(tables, name, "node table")
        members = [_look_up(gradients, part, "gradient") for part in (table.parameters if table else (name,))]
        response = get_response(
            _look_up(responses, name, "response") if isinstance(responses, Mapping) else responses
        )
        if any(gradient is None for gradient in members):
            continue
        for gradient in members:
            if not isinstance(gradient, Tensor):
                raise TypeError(
                    f"gradient of {name!r} is a {type(gradient).__name__}; a torch tensor is needed"
                )
        try:
            matrix = operator if isinstance(operator, ShiftOperator) else adjacency(operator)
            graph_filter = prepare_filter(matrix, response, method=method)
            if table is not None:
                result |= filter_in_place_of(result, table, graph_filter, norm_matching)
        except ValueError as error:
            raise ValueError(f"gradient of {name!r}: {error}") from error
        if table is None:
            result[name] = _filter_plain(name, members[0], graph_filter, norm_matching)
    return result


def filter_table(
    X: Float[Tensor, "nodes width"], graph_filter: ReadyFilter, check: bool = True
) -> Float[Tensor, "nodes width"]:
    r"""Filter the signal of one table, :math:`X + (h(L) - I) X`; `X` itself where the filter is the identity.

    With `check` a signal that is not finite is a ValueError. Without, it passes through the filter, which spreads it
    over the nodes: visible, and nothing waits for an accelerator.
    """
    if graph_filter.is_identity:
        return X
    return graph_filter(X, check=check)


def match_norm(
    filtered: Float[Tensor, "nodes width"], X: Float[Tensor, "nodes width"]
) -> Float[Tensor, "nodes width"]:
    r"""Give a filtered signal the norm that the signal X had, :math:`Y \lVert X \rVert_F / \lVert Y \rVert_F`.

    Where nothing but rounding passed the filter Y stays as it is; where the norms are equal, too.
    """
    working = working_dtype(X)
    before = torch.linalg.vector_norm(X, dtype=working)
    after = torch.linalg.vector_norm(filtered, dtype=working)
    matched: Tensor = filtered * norm_factor(before, after)
    return matched


def norm_factor(before: Float[Tensor, ""], after: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Compute by what a filtered signal of norm `after` is multiplied to have the norm `before`; 1 for noise."""
    # 16 roundings: what is left of a signal that the filter removes is noise, and is not to be blown up.
    noise = 16 * torch.finfo(before.dtype).eps * before
    # A choice by `where` and not by `if`: nothing waits for an accelerator. A factor of 1 changes no bit.
    return torch.where(after > noise, before / after, torch.ones_like(after))


def filter_in_place_of(
    tensors: Mapping[str, Tensor],
    table: NodeTable,
    graph_filter: ReadyFilter,
    norm_matching: bool = False,
    check: bool = True,
) -> dict[str, Tensor]:
    """Filter what one table covers of gradients or updates, and return the new values of its parameters.

    Entries outside the nodes keep every bit. A ValueError names the table where the number of nodes does not fit or,
    with `check`, a value is not finite.
    """
    X = table.gather(tensors)
    try:
        filtered = filter_table(X, graph_filter, check)
    except ValueError as error:
        raise ValueError(f"table {table.group!r}: {error}") from error
    return put_back(tensors, table, X, match_norm(filtered, X) if norm_matching else filtered)


def put_back(
    tensors: Mapping[str, Tensor], table: NodeTable, X: Tensor, filtered: Tensor
) -> dict[str, Tensor]:
    """Write a filtered table (nodes, width) back over the tensors that `X` was gathered from, into new ones.

    Entries that are in no node keep every bit.
    """
    if all(part.is_whole for part in table.slices):
        return table.scatter(filtered)
    change = table.scatter(filtered - X)
    return {
        name: torch.where(value == 0, tensors[name], tensors[name] + value) for name, value in change.items()
    }


def _filter_plain(
    name: str, gradient: Tensor, graph_filter: ReadyFilter, norm_matching: bool, check: bool = True
) -> Tensor:
    """Filter a gradient whose rows, or whose entries, are the nodes."""
    nodes = graph_filter.nodes
    if gradient.shape[:1] != (nodes,) and gradient.numel() != nodes:
        raise ValueError(
            f"gradient of {name!r}: its shape {tuple(gradient.shape)} has neither {nodes} rows nor {nodes} entries, "
            "the nodes of its operator; for other nodes give `tables`"
        )
    X = gradient.reshape(nodes, gradient.numel() // nodes if nodes else 0)
    try:
        filtered = filter_table(X, graph_filter, check)
    except ValueError as error:
        raise ValueError(f"gradient of {name!r}: {error}") from error
    return (match_norm(filtered, X) if norm_matching else filtered).reshape(gradient.shape)


def _look_up(found: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in found:
        raise KeyError(f"no {kind} for the operator {name!r}; given: {', '.join(sorted(found)) or 'none'}")
    return found[name]
