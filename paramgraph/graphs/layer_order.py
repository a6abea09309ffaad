"""Where nodes stand in the depth of a model, and the pairs of nodes that are some layers apart."""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from paramgraph.graphs.contract import count_nodes

# How models name stacks that stand beside each other; the first name in a role decides.
_STACKS = (
    *("encoder", "decoder"),
    *("text_model", "language_model", "vision_model", "vision_tower", "visual", "audio_model", "audio_tower"),
)


def node_field(data: Any, field: str, wanted_by: str, schemes: str) -> Int64[Tensor, " nodes"]:
    """Get a number that each node has, as its layer, checked.

    Parameters
    ----------
    data : torch_geometric.data.Data
        The nodes.
    field : str
        "layer" or "head".
    wanted_by, schemes : str
        The builder and the schemes that supply the field, for the error message.

    Returns
    -------
    Tensor of shape (nodes,), int64
        All 0 or more.

    Raises
    ------
    ValueError
        If the field is missing, of another shape or type, or -1 (none) for a node.

    Examples
    --------
    >>> from torch_geometric.data import Data
    >>> node_field(Data(num_nodes=2, layer=torch.tensor([0, 1])), "layer", "layer_adjacency", "'layers'")
    tensor([0, 1])
    """
    nodes = count_nodes(data)
    advice = f"build the Data with table.to_data(paramgraph.weights(model, table)), the table from the scheme {schemes}"
    values = data.get(field)
    if not isinstance(values, Tensor):
        raise ValueError(
            f"{wanted_by} needs data.{field}, which is missing for these {nodes} nodes: {advice}"
        )
    if values.shape != (nodes,) or values.is_floating_point() or values.is_complex():
        raise ValueError(
            f"{wanted_by} needs whole numbers of shape (nodes,) = ({nodes},) in data.{field}, got "
            f"{values.dtype} {tuple(values.shape)}"
        )
    without = int((values < 0).sum())
    if without:
        raise ValueError(f"{wanted_by}: {without} of {nodes} nodes have no {field} ({field} = -1): {advice}")
    return values.to(torch.int64)


def layer_places(data: Any, wanted_by: str, schemes: str) -> Int64[Tensor, "nodes 2"]:
    """Find the stack of each node and its place among the layers that the table has of this stack.

    The encoder and the decoder of a model are stacks of their own, told by `data.role`, and so are its towers of
    text, images and sound; all else is one stack.

    Parameters
    ----------
    data : torch_geometric.data.Data
        With `layer` and, for models of two stacks, `role`.
    wanted_by, schemes : str
        The builder and the schemes that supply the fields, for the error message.

    Returns
    -------
    Tensor of shape (nodes, 2), int64
        Stack, and rank of the layer in it, counted from 0 without gaps.

    Raises
    ------
    ValueError
        If `layer` is missing or -1 for a node.

    Examples
    --------
    >>> from torch_geometric.data import Data
    >>> roles = ["encoder.attention", "encoder.attention", "decoder.attention"]
    >>> data = Data(num_nodes=3, layer=torch.tensor([1, 4, 1]), role=roles)
    >>> layer_places(data, "layer_adjacency", "'layers'").tolist()
    [[1, 0], [1, 1], [2, 0]]
    """
    layer = node_field(data, "layer", wanted_by, schemes)
    role = data.get("role")
    roles = role if isinstance(role, list | tuple) and len(role) == len(layer) else [""] * len(layer)
    stack = torch.tensor([_stack(str(one)) for one in roles], dtype=torch.int64, device=layer.device)
    rank = torch.zeros_like(layer)
    for one in torch.unique(stack).tolist():
        inside = stack == one
        rank[inside] = torch.unique(layer[inside], return_inverse=True)[1]
    return torch.stack([stack, rank], dim=1)


def pairs_apart(places: Int64[Tensor, "nodes 2"], gap: int) -> Int64[Tensor, "2 pairs"]:
    """List the pairs of nodes of one stack that are a number of layers apart.

    Parameters
    ----------
    places : Tensor of shape (nodes, 2), int64
        Stack and rank of each node, as `layer_places` gives.
    gap : int
        Layers from one to the other, 0 or more.

    Returns
    -------
    Tensor of shape (2, pairs), int64
        Each pair once; O(nodes log nodes + pairs) time and memory.

    Examples
    --------
    >>> pairs_apart(torch.tensor([[0, 0], [0, 1], [0, 1]]), gap=1).tolist()
    [[0, 0], [1, 2]]
    """
    found = [places.new_zeros((2, 0))]
    for stack in torch.unique(places[:, 0]).tolist():
        inside = (places[:, 0] == stack).nonzero().squeeze(1)
        order = torch.argsort(places[inside, 1], stable=True)
        layers = torch.split(inside[order], torch.bincount(places[inside, 1]).tolist())
        for one, other in zip(layers, layers[gap:], strict=False):
            pairs = torch.cartesian_prod(one, other).T
            found.append(pairs[:, pairs[0] < pairs[1]] if gap == 0 else pairs)
    return torch.cat(found, dim=1)


def _stack(role: str) -> int:
    """Give the stack that a role names its number, 0 where it names none."""
    return next((_STACKS.index(part) + 1 for part in role.split(".") if part in _STACKS), 0)
