"""Scheme "layers": the same-named matrices across depth as the nodes of one graph."""

from torch import nn

from paramgraph.nodes.slices import ParameterSlice
from paramgraph.nodes.table import NodeTable
from paramgraph.nodes.targets import LinearLayer, Targets, linear_layers


def layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each whole matrix a node, in one table per role: :math:`x_l = \mathrm{vec}(W_l)`.

    Matrices have one role when their parameters' names are equal but for the first number in them, the index
    of the layer. A matrix without such a number has a table of its own, of one node.

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
        Under the parameter's name with "*" for the index, as "encoder.layer.*.output.dense.weight". Where
        the matrices of one role differ in shape, nothing is cut or padded: there is one table per stored
        shape, with the shape behind the name, as "*.weight[8x4]".

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(3)])
    >>> layers(model)
    {'*.weight': NodeTable('*.weight', scheme='layers', nodes=3, width=16)}
    """
    by_role: dict[str, dict[tuple[int, int], list[LinearLayer]]] = {}
    for layer in linear_layers(model, targets, exclude):
        by_role.setdefault(_without_depth(layer.parameter), {}).setdefault(layer.shape, []).append(layer)
    tables = {}
    for role, by_shape in by_role.items():
        for shape, members in by_shape.items():
            key = role if len(by_shape) == 1 else f"{role}[{shape[0]}x{shape[1]}]"
            tables[key] = _depth_table(key, members)
    return tables


def _without_depth(parameter: str) -> str:
    parts = parameter.split(".")
    index = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    return parameter if index is None else ".".join([*parts[:index], "*", *parts[index + 1 :]])


def _depth_table(group: str, members: list[LinearLayer]) -> NodeTable:
    slices = []
    for node, layer in enumerate(members):
        entries = layer.shape[0] * layer.shape[1]
        slices.append(
            ParameterSlice(
                layer.parameter, layer.shape, (entries,), ((0, entries),), (0,), node_axes=0, at=(node, 0)
            )
        )
    return NodeTable(
        group=group,
        scheme="layers",
        slices=tuple(slices),
        names=tuple(layer.parameter for layer in members),
        layer=tuple(layer.layer for layer in members),
        head=(-1,) * len(members),
        role=tuple(layer.role for layer in members),
    )
