"""Agreement of attention heads, within layers and between neighbouring ones."""

from dataclasses import dataclass

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph._checks import check_count
from paramgraph.graphs import layer_places, node_field, pairs_apart, register, undirected_graph
from paramgraph.graphs.affinity import GRID, node_features, pair_similarity, unit_rows


@register("attention_head")
@dataclass(frozen=True)
class AttentionHead(BaseTransform):  # type: ignore[misc]  # PyG is untyped
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
        >>> AttentionHead.scheme_refusal("heads")
        ''
        """
        if scheme in ("rows", "columns", "blocks", "layers"):
            return f"attention_head links attention heads, and {scheme!r} has none: take 'heads'"
        return ""

    def forward(self, data: Data) -> Data:
        """Build the graph of the heads of `data`.

        Parameters
        ----------
        data : torch_geometric.data.Data
            With `x` of shape (nodes, width), `layer` and `head`, as a table of the scheme "heads" gives;
            `role` where the model has two stacks.

        Returns
        -------
        torch_geometric.data.Data
            With `edge_index` and `edge_weight` (float64 where `x` is, else float32); O(pairs x width) time
            and O(pairs + nodes x width) memory, where pairs is at most nodes x heads per layer x (reach + 1).

        Raises
        ------
        ValueError
            If `x`, `layer` or `head` is missing, `x` is not finite, or a node has no layer or head (-1).

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
        unit = unit_rows(features)
        pairs = torch.cat([pairs_apart(places, gap) for gap in range(int(self.reach) + 1)], dim=1)
        pairs = pairs.to(unit.device)
        cosine = pair_similarity(unit, pairs)
        kept = (cosine.abs() if self.signed else cosine) * GRID >= 1.0  # below is the rounding of zero
        return undirected_graph(data, pairs[:, kept], cosine[kept].to(features.dtype), signed=self.signed)
