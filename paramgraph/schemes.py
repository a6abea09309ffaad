"""Schemes: how the matrices of a model are cut into nodes.

A scheme turns the model's linear layers into `NodeTable`s. Adding one is one function and its entry in
`SCHEMES`.
"""

from collections.abc import Callable

from torch import nn

from paramgraph.errors import UnknownNameError
from paramgraph.nodes import NodeTable
from paramgraph.slices import ParameterSlice
from paramgraph.targets import LinearLayer, Targets, linear_layers


def node_tables(
    model: nn.Module, scheme: str = "rows", targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    """Cut the matrices of a model into nodes.

    Parameters
    ----------
    model : nn.Module
        Any module: a Hugging Face model, your own, or one inside DistributedDataParallel or `torch.compile`,
        which are taken off. Its weights are not read: a model on the meta device will do.
    scheme : str, default "rows"
        "rows": a node is an output feature of a layer; "columns": an input feature. Biases belong to no node.
    targets : str or sequence of str, default "all-linear"
        Which layers, by PEFT's rule. "all-linear": every `Linear` and `Conv1D` except output embeddings and
        the task's head (a top-level module named classifier, score, lm_head, qa_outputs, head, ...). A
        sequence: modules whose name is an entry or ends with "." and an entry. Any other string: one regular
        expression that the whole module name must match.
    exclude : str or sequence of str, optional
        Layers to leave out, in the same forms.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix, under the name of its parameter in `named_parameters()` of the bare model. A
        weight that several layers share appears once, under its first name there.

    Raises
    ------
    UnknownNameError
        If the scheme is unknown.
    TypeError
        If `targets` or `exclude` is neither a string nor a sequence of strings.
    ValueError
        If no layer matches; the message lists near names.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    >>> node_tables(model, targets=["2"])
    {'2.weight': NodeTable('2.weight', scheme='rows', nodes=3, width=8)}
    """
    if scheme not in SCHEMES:
        raise UnknownNameError.among("scheme", scheme, SCHEMES)
    return SCHEMES[scheme](model, targets, exclude)


def rows(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each output feature of each linear layer a node: :math:`X = W` of shape (out, in).

    Parameters
    ----------
    model : nn.Module
        As in `node_tables`.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        As in `node_tables`.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix. Conv1D stores the transpose of W; its nodes are the output features all the
        same.

    Examples
    --------
    >>> import torch
    >>> rows(torch.nn.Sequential(torch.nn.Linear(4, 8)))["0.weight"].shape
    (8, 4)
    """
    return {layer.parameter: _matrix_table(layer, "rows") for layer in linear_layers(model, targets, exclude)}


def columns(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each input feature of each linear layer a node: :math:`X = W^\top` of shape (in, out).

    Parameters
    ----------
    model : nn.Module
        As in `node_tables`.
    targets : str or sequence of str, default "all-linear"
        As in `node_tables`.
    exclude : str or sequence of str, optional
        As in `node_tables`.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix.

    Examples
    --------
    >>> import torch
    >>> columns(torch.nn.Sequential(torch.nn.Linear(4, 8)))["0.weight"].shape
    (4, 8)
    """
    return {
        layer.parameter: _matrix_table(layer, "columns") for layer in linear_layers(model, targets, exclude)
    }


SCHEMES: dict[str, Callable[[nn.Module, Targets, Targets | None], dict[str, NodeTable]]] = {
    "rows": rows,
    "columns": columns,
}


def _matrix_table(layer: LinearLayer, scheme: str) -> NodeTable:
    # Stored rows are nodes for the rows of a Linear and the columns of a Conv1D.
    axis = 0 if (scheme == "rows") != layer.transposed else 1
    nodes = layer.shape[axis]
    bounds = ((0, layer.shape[0]), (0, layer.shape[1]))
    part = ParameterSlice(layer.parameter, layer.shape, layer.shape, bounds, (axis, 1 - axis), 1)
    index = "[{}]" if axis == 0 else "[:, {}]"
    return NodeTable(
        group=layer.parameter,
        scheme=scheme,
        slices=(part,),
        names=tuple(layer.parameter + index.format(i) for i in range(nodes)),
        layer=(layer.layer,) * nodes,
        head=(-1,) * nodes,
        role=(layer.role,) * nodes,
    )
