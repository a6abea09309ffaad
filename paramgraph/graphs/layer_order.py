"""Where nodes stand in the depth of a model, and the pairs of nodes that are some layers apart."""

from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.graphs.contract import count_nodes, roles_of

# How models name stacks that stand beside each other; the first name in a role decides.
_STACKS = (
    *("encoder", "decoder"),
    *("text_model", "language_model", "vision_model", "vision_tower", "visual", "audio_model", "audio_tower"),
)


def node_field(
    data: Data, field: Literal["layer", "head"], wanted_by: str, schemes: str
) -> Int64[Tensor, " nodes"]:
    """Get the whole number that each node has in `field`, "layer" or "head", 0 or more.

    Raises ValueError, naming the builder `wanted_by` and the `schemes` that supply the field, if it is missing, of
    another shape or type, or -1 (none) for a node.
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


def layer_places(data: Data, wanted_by: str, schemes: str) -> Int64[Tensor, "nodes 2"]:
    """Find the stack of each node, and the rank of its layer in it, from 0 without gaps.

    The encoder and the decoder of a model are stacks of their own, told by `data.role`, and so are its towers of
    text, images and sound; all else is one stack. Raises as `node_field` does.

    >>> roles = ["encoder.attention", "encoder.attention", "decoder.attention"]
    >>> data = Data(num_nodes=3, layer=torch.tensor([1, 4, 1]), role=roles)
    >>> layer_places(data, "layer_adjacency", "'layers'").tolist()
    [[1, 0], [1, 1], [2, 0]]
    """
    layer = node_field(data, "layer", wanted_by, schemes)
    roles = roles_of(data) or [""] * len(layer)
    stack = torch.tensor([_stack(one) for one in roles], dtype=torch.int64, device=layer.device)
    rank = torch.zeros_like(layer)
    for one in torch.unique(stack).tolist():
        inside = stack == one
        rank[inside] = torch.unique(layer[inside], return_inverse=True)[1]
    return torch.stack([stack, rank], dim=1)


def pairs_apart(places: Int64[Tensor, "nodes 2"], gap: int) -> Int64[Tensor, "2 pairs"]:
    """List, each once, the pairs of nodes of one stack that are `gap` layers apart, 0 or more.

    `places` is what `layer_places` gives; O(nodes log nodes + pairs) time and memory.
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
