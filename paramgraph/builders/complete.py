"""The null model in which all nodes are alike."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph.graphs import count_nodes, register, undirected_graph, unit_weights


@register("complete")
@dataclass(frozen=True)
class Complete(BaseTransform):  # type: ignore[misc]  # PyG is untyped
    r"""Link all nodes with each other by weight 1.

    .. math:: L = n I - 1 1^T

    A null model: features play no part. The combinatorial Laplacian has the eigenvalue 0 once and n else, so
    every filter only tells the mean from what deviates from it.

    Examples
    --------
    >>> Complete()(Data(num_nodes=3)).edge_index.tolist()
    [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    """

    equivariant: ClassVar[bool] = True
    reads_features: ClassVar[bool] = False
    is_null: ClassVar[bool] = True

    def forward(self, data: Data) -> Data:
        """Build the complete graph of the nodes of `data`.

        Parameters
        ----------
        data : torch_geometric.data.Data
            With `num_nodes` or `x`.

        Returns
        -------
        torch_geometric.data.Data
            With `edge_index` and `edge_weight` (float64 where `x` is, else float32); O(nodes^2) time and
            memory, 20 bytes for each of nodes x (nodes - 1) entries: 8 GB at 20,000 nodes.

        Raises
        ------
        ValueError
            If the number of nodes is not known.

        Examples
        --------
        >>> Complete()(Data(num_nodes=5)).num_edges
        20
        """
        nodes = count_nodes(data)
        weight = unit_weights(data, nodes * (nodes - 1) // 2)
        pairs = torch.triu_indices(nodes, nodes, offset=1, device=weight.device)
        return undirected_graph(data, pairs, weight)
