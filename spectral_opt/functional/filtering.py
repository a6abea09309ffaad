r"""Filter gradients with h(L): pure functions on dictionaries of tensors, without a model or an optimizer.

A filter is a correction, :math:`h(L) G = G + (h(L) - I) G`, so that the identity changes no bit. `gradient_filter`
is an (init, update) pair in the manner of optax; `filter_gradients` is the same in one call.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from paramgraph.filters import get_response, prepare_filter
from paramgraph.nodes import NodeTable
from paramgraph.spectra import ShiftOperator, adjacency
from spectral_opt.functional.table_filter import filter_in_place_of, filter_table, match_norm

# Values are tensors; a gradient may be None, as it is on a parameter that took no part.
Tensors = dict[str, Any]


class GradientFilter(NamedTuple):
    """A gradient filter as a pair of pure functions over dictionaries of tensors.

    Parameters
    ----------
    init : callable
        `init(parameters) -> state`.
    update : callable
        `update(gradients, state, parameters=None) -> (filtered gradients, state)`.
    """

    init: Callable[..., Tensors]
    update: Callable[..., tuple[Tensors, Tensors]]


def gradient_filter(
    filters: Mapping[str, Any], tables: Mapping[str, NodeTable], norm_matching: bool = False
) -> GradientFilter:
    """Make the (init, update) pair that filters the gradients of the tables' parameters.

    Parameters
    ----------
    filters : mapping of str to GraphFilter
        One prepared filter per table, under the table's key.
    tables : mapping of str to NodeTable
        Where the nodes of each filter lie: rows, columns, or any other scheme.
    norm_matching : bool, default False
        Rescale each table to the norm of its input.

    Returns
    -------
    GradientFilter
        `update` returns a new dictionary with the same keys, shapes, dtypes and devices; tensors outside the
        tables are handed through as they are. Linear in the gradient unless `norm_matching`. The state is a
        dictionary of tensors: "count", the number of updates so far.

    Raises
    ------
    KeyError
        If a filter has no table.

    Examples
    --------
    >>> from paramgraph import prepare_filter
    >>> from paramgraph import identity
    >>> from paramgraph import rows
    >>> from paramgraph import laplacian
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False))
    >>> L = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> pair = gradient_filter({"0.weight": prepare_filter(L, identity())}, rows(model))
    >>> gradients = {"0.weight": torch.ones(2, 3)}
    >>> filtered, state = pair.update(gradients, pair.init(gradients))
    >>> bool((filtered["0.weight"] == 1).all()), int(state["count"])
    (True, 1)
    """
    lost = sorted(set(filters) - set(tables))
    if lost:
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
            if all(result.get(name) is not None for name in tables[key].parameters):
                result |= filter_in_place_of(result, tables[key], graph_filter, norm_matching, False)
        return result, {"count": state["count"] + 1}

    return GradientFilter(init, update)


def filter_gradients(
    gradients: Any,
    operators: Any,
    responses: Any,
    tables: Mapping[str, NodeTable] | None = None,
    norm_matching: bool = False,
    method: str = "auto",
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
    >>> from paramgraph import tikhonov
    >>> from paramgraph import laplacian
    >>> L = laplacian(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), normalization=None)
    >>> filter_gradients({"w": torch.tensor([[2.0], [0.0]])}, {"w": L}, tikhonov(gamma=0.5))
    {'w': tensor([[1.5000],
            [0.5000]])}
    """
    for kind, found in (("gradients", gradients), ("operators", operators)):
        if not isinstance(found, Mapping):
            raise TypeError(f"{kind} is a {type(found).__name__}; it must be a mapping from names to {kind}")
    result = dict(gradients)
    for name, operator in operators.items():
        table = None if tables is None else _look_up(tables, name, "node table")
        members = [_look_up(gradients, part, "gradient") for part in (table.parameters if table else (name,))]
        response = _response_of(responses, name)
        if any(gradient is None for gradient in members):
            continue
        try:
            matrix = operator if isinstance(operator, ShiftOperator) else adjacency(operator)
            graph_filter = prepare_filter(matrix, response, method=method)
            if table is None:
                result[name] = _filter_plain(members[0], graph_filter, norm_matching)
            else:
                result |= filter_in_place_of(result, table, graph_filter, norm_matching)
        except ValueError as error:
            raise ValueError(f"gradient of {name!r}: {error}") from error
    return result


def _filter_plain(gradient: Tensor, graph_filter: Any, norm_matching: bool) -> Tensor:
    nodes = graph_filter.nodes
    if gradient.shape[:1] != (nodes,) and gradient.numel() != nodes:
        raise ValueError(
            f"its shape {tuple(gradient.shape)} has neither {nodes} rows nor {nodes} entries, the nodes of its "
            "operator; for other nodes give `tables`"
        )
    X = gradient.reshape(nodes, gradient.numel() // nodes if nodes else 0)
    filtered = filter_table(X, graph_filter)
    return (match_norm(filtered, X) if norm_matching else filtered).reshape(gradient.shape)


def _look_up(found: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in found:
        raise KeyError(f"no {kind} for the operator {name!r}; given: {', '.join(sorted(found)) or 'none'}")
    return found[name]


def _response_of(responses: Any, name: str) -> Any:
    return get_response(
        _look_up(responses, name, "response") if isinstance(responses, Mapping) else responses
    )
