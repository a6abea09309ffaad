"""Agreement of attention heads, within layers and between neighbouring ones."""

from dataclasses import dataclass

import numpy as np
import torch

from paramgraph._checks import check_count, check_flag
from paramgraph.graphs import (
    Data,
    GraphBuilder,
    layer_places,
    node_field,
    pairs_apart,
    register,
    undirected_graph,
)
from paramgraph.graphs.affinity import cosine_pairs, node_features


@register("attention_head")
@dataclass(frozen=True)
class AttentionHead(GraphBuilder):
    r"""Link the attention heads of a layer and of neighbouring layers by how much they agree.

    .. math:: W_{ij} = \cos(x_i, x_j) \quad \text{if } |l_i - l_j| \le \text{reach}

    The features are what the heads are compared by: attention maps (`source="attention_maps"`), weights or
    gradients. The layer l counts the layers that the table has; an encoder and a decoder, told by `role`, are
    stacks of their own that no edge joins. Negative cosines are no edges unless `signed`. A zero row has no
    edges, and one NumericalWarning says how many there are.

    Parameters
    ----------
    reach : int, default 1
        How many layers apart linked heads may be; at least 1. Heads of one layer are always linked.
    signed : bool, default False
        Keep negative cosines as negative weights.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    >>> data = Data(x=x, layer=torch.tensor([0, 1, 2]), head=torch.tensor([0, 0, 0]))
    >>> AttentionHead()(data).edge_index.tolist()
    [[0, 1, 1, 2], [1, 0, 2, 1]]
    """

    reach: int | np.integer = 1
    signed: bool = False

    def __post_init__(self) -> None:
        check_count("attention_head", "reach", self.reach)
        check_flag("attention_head", "signed", self.signed)

    def scheme_refusal(self, scheme: str) -> str:
        """Say that schemes other than "heads" have no heads."""
        if scheme in ("rows", "columns", "blocks", "layers"):
            return f"attention_head links attention heads, and {scheme!r} has none: take 'heads'"
        return ""

    def forward(self, data: Data) -> Data:
        """Build the graph of the heads of `data`, as a table of the scheme "heads" gives them.

        It has `x` (nodes, width), `layer`, `head` and, where the model has two stacks, `role`. Weights are float64
        where `x` is, else float32; O(pairs x width) time and O(pairs + nodes x width) memory, where pairs is at most
        nodes x heads per layer x (reach + 1). Raises ValueError if `x`, `layer` or `head` is missing, `x` is not
        finite, or a node has no layer or head (-1).

        Examples
        --------
        >>> data = Data(x=torch.eye(2), layer=torch.tensor([0, 0]), head=torch.tensor([-1, -1]))
        >>> AttentionHead()(data)
        Traceback (most recent call last):
        ...
        ValueError: attention_head: 2 of 2 nodes have no head (head = -1): ... from the scheme 'heads'
        """
        features = node_features(data, "attention_head")
        places = layer_places(data, "attention_head", "'heads'")
        node_field(data, "head", "attention_head", "'heads'")
        pairs = torch.cat([pairs_apart(places, gap) for gap in range(int(self.reach) + 1)], dim=1)
        pairs, cosine = cosine_pairs(features, pairs, signed=self.signed)
        return undirected_graph(data, pairs, cosine.to(features.dtype), signed=self.signed)
