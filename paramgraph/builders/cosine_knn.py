"""Nearest neighbours by cosine similarity."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph.affinity import neighbour_edges, node_features, unit_rows
from paramgraph.graph_contract import undirected_graph
from paramgraph.options import check_count
from paramgraph.registry import register


@register("cosine_knn")
@dataclass(frozen=True)
class CosineKNN(BaseTransform):  # type: ignore[misc]  # PyG is untyped
    r"""Link each node with the k nodes of largest cosine.

    .. math:: W_{ij} = \cos(x_i, x_j) \quad \text{if } j \in N_k(i) \text{ or } i \in N_k(j)

    Neighbours are exact; a tie goes to the lower index. Negative cosines are no edges unless `signed`. A zero
    row has no edges, and one NumericalWarning says how many there are.

    Parameters
    ----------
    k : int, default 10
        Neighbours per node, below the number of nodes.
    signed : bool, default False
        Rank by the absolute cosine and keep the sign in the weight.
    mutual : bool, default False
        Keep an edge only if each node is a neighbour of the other ("and" in place of "or").

    Examples
    --------
    >>> import torch
    >>> graph = CosineKNN(k=1)(Data(x=torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])))
    >>> graph.edge_index.tolist()
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    >>> graph.edge_weight
    tensor([1.0000, 0.7071, 1.0000, 0.7071])
    """

    equivariant: ClassVar[bool] = True

    k: int | np.integer = 10
    signed: bool = False
    mutual: bool = False

    def __post_init__(self) -> None:
        check_count("cosine_knn", "k", self.k)

    def forward(self, data: Data) -> Data:
        """Build the graph of the rows of `data.x`.

        Parameters
        ----------
        data : torch_geometric.data.Data
            With `x` of shape (nodes, width), any real dtype.

        Returns
        -------
        torch_geometric.data.Data
            With `edge_index` and `edge_weight` (float64 where `x` is, else float32); O(nodes^2 x width) time,
            O(nodes x (width + k)) memory and 64 MB.

        Raises
        ------
        ValueError
            If `x` is missing or not finite, or k is not below the number of nodes.
        """
        features = node_features(data, "cosine_knn")
        pairs, similarity = neighbour_edges(
            unit_rows(features), int(self.k), signed=self.signed, mutual=self.mutual
        )
        return undirected_graph(data, pairs, similarity.to(features.dtype), signed=self.signed)
