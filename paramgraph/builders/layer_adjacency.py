"""The flow of data from layer to layer."""

from dataclasses import dataclass
from typing import Literal

import torch

from paramgraph._checks import check_choice, check_flag
from paramgraph.graphs import (
    Data,
    GraphBuilder,
    layer_places,
    pairs_apart,
    register,
    undirected_graph,
    unit_weights,
)
from paramgraph.graphs.affinity import cosine_pairs, node_features


@register("layer_adjacency")
@dataclass(frozen=True)
class LayerAdjacency(GraphBuilder):
    r"""Link every node of a layer with those of the next layer.

    .. math:: W_{ij} = 1 \text{ or } \cos(x_i, x_j) \quad \text{if } |l_i - l_j| = 1
              \text{ (or 2, if residual)}

    The layer l counts the layers that the table has, so that "next" is the next one there. An encoder and a
    decoder, and towers of text and images, told by `role`, are stacks of their own that no edge joins.

    Parameters
    ----------
    residual : bool, default False
        Link each layer with the one after the next too: the path around a layer.
    weight : {"uniform", "cosine"}, default "uniform"
        "uniform": every edge has weight 1 and features are not needed. "cosine": similarity of the features;
        a cosine that is not positive is no edge, a zero row has none, and one NumericalWarning says how many
        such rows there are.

    Examples
    --------
    >>> LayerAdjacency()(Data(num_nodes=3, layer=torch.tensor([0, 1, 5]))).edge_index.tolist()
    [[0, 1, 1, 2], [1, 0, 2, 1]]
    """

    residual: bool = False
    weight: Literal["uniform", "cosine"] = "uniform"

    def __post_init__(self) -> None:
        check_flag("layer_adjacency", "residual", self.residual)
        check_choice("layer_adjacency", "weight", self.weight, ("uniform", "cosine"))
        object.__setattr__(self, "reads_features", self.weight != "uniform")

    def scheme_refusal(self, scheme: str) -> str:
        """Say that all nodes of a table of one matrix lie in one layer."""
        if scheme in ("rows", "columns", "blocks"):
            return (
                f"layer_adjacency links layers, and all nodes of a table of {scheme!r} lie in one: take 'heads' or "
                "'layers'"
            )
        return ""

    def forward(self, data: Data) -> Data:
        """Build the graph of the layers of `data`, as tables of the schemes "heads" and "layers" give them.

        It has `layer`, `role` where the model has two stacks, and `x` for cosine weights. Weights are float64 where
        `x` is, else float32; O(pairs) time and memory, times the width for cosine weights, where pairs is at most
        2 x nodes x nodes per layer. Raises ValueError if `layer` (or `x`, for cosine weights) is missing, a node has
        no layer (-1), or no two layers of one stack are there.

        Examples
        --------
        >>> LayerAdjacency()(Data(num_nodes=2, layer=torch.tensor([0, 0])))
        Traceback (most recent call last):
        ...
        ValueError: layer_adjacency: all 2 nodes are in one layer, so none follows another: ...
        """
        places = layer_places(data, "layer_adjacency", "'heads' or 'layers'")
        nodes = len(places)
        if nodes and int(places[:, 1].max()) == 0:
            raise ValueError(
                f"layer_adjacency: all {nodes} nodes are in one layer, so none follows another: take a table "
                "of the scheme 'heads' or 'layers', which reaches over the depth of the model"
            )
        gaps = (1, 2) if self.residual else (1,)
        pairs = torch.cat([pairs_apart(places, gap) for gap in gaps], dim=1)
        if self.weight == "uniform":
            weight = unit_weights(data, pairs.shape[1])
            return undirected_graph(data, pairs.to(weight.device), weight)
        features = node_features(data, "layer_adjacency")
        pairs, cosine = cosine_pairs(features, pairs)
        return undirected_graph(data, pairs, cosine.to(features.dtype))
