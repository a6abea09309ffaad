"""The flow of data from layer to layer."""

from dataclasses import dataclass

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph._checks import check_choice
from paramgraph.graphs import layer_places, pairs_apart, register, undirected_graph, unit_weights
from paramgraph.graphs.affinity import GRID, node_features, pair_similarity, unit_rows

WEIGHTS = ("uniform", "cosine")


@register("layer_adjacency")
@dataclass(frozen=True)
class LayerAdjacency(BaseTransform):  # type: ignore[misc]  # PyG is untyped
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
    weight: str = "uniform"

    def __post_init__(self) -> None:
        check_choice("layer_adjacency", "weight", self.weight, WEIGHTS)

    @property
    def reads_features(self) -> bool:
        """Whether the graph depends on the features of the nodes."""
        return self.weight != "uniform"

    @staticmethod
    def scheme_refusal(scheme: str) -> str:
        """Say why there is no such graph on the nodes of a scheme.

        Parameters
        ----------
        scheme : str
            Name of a scheme.

        Returns
        -------
        str
            The reason; "" where there is one.

        Examples
        --------
        >>> LayerAdjacency.scheme_refusal("heads")
        ''
        """
        if scheme in ("rows", "columns", "blocks"):
            return (
                f"layer_adjacency links layers, and all nodes of a table of {scheme!r} lie in one: take 'heads' or "
                "'layers'"
            )
        return ""

    def forward(self, data: Data) -> Data:
        """Build the graph of the layers of `data`.

        Parameters
        ----------
        data : torch_geometric.data.Data
            With `layer`, as the tables of the schemes "heads" and "layers" give; `role` where the model has
            two stacks; `x` for cosine weights.

        Returns
        -------
        torch_geometric.data.Data
            With `edge_index` and `edge_weight` (float64 where `x` is, else float32); O(pairs) time and
            memory, times the width for cosine weights, where pairs is at most 2 x nodes x nodes per layer.

        Raises
        ------
        ValueError
            If `layer` (or `x`, for cosine weights) is missing, a node has no layer (-1), or no two layers of
            one stack are there.

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
        unit, pairs = unit_rows(features), pairs.to(features.device)
        cosine = pair_similarity(unit, pairs)
        kept = cosine * GRID >= 1.0  # below is the rounding of zero
        return undirected_graph(data, pairs[:, kept], cosine[kept].to(features.dtype))
