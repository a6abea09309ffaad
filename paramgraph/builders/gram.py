"""The dense Gram matrix of the features of nodes."""

from dataclasses import dataclass

import torch

from paramgraph.graphs import Data, GraphBuilder, dense_graph, register
from paramgraph.graphs.affinity import node_features, symmetric_product


@register("gram")
@dataclass(frozen=True)
class Gram(GraphBuilder):
    r"""Link all nodes by the inner products of their features.

    .. math:: G = \frac{n}{\operatorname{tr}(X X^T)} X X^T

    so that the mean of the diagonal is 1. Dense, signed and positive semidefinite, meant for
    `paramgraph.adjacency`. The diagonal is the node attribute `node_weight`; products that are exactly zero
    are no edges.

    Examples
    --------
    >>> graph = Gram()(Data(x=torch.tensor([[1.0, 0.0], [1.0, 1.0]])))
    >>> graph.node_weight, graph.edge_weight
    (tensor([0.6667, 1.3333]), tensor([0.6667, 0.6667]))
    """

    equivariant = True

    def forward(self, data: Data) -> Data:
        """Build the graph of the rows of `data.x` (nodes, width), of any real dtype.

        Weights are float64 where `x` is, else float32, computed in float64; O(nodes^2 x width) time, O(nodes^2)
        memory. Raises ValueError if `x` is missing, not finite, or zero everywhere.
        """
        features = node_features(data, "gram")
        nodes = features.shape[0]
        largest = features.abs().max().double() if features.numel() else torch.zeros(())
        if nodes and not largest > 0:
            raise ValueError(
                f"gram: all features of the {nodes} nodes are zero, so their Gram matrix cannot be "
                "normalized to mean diagonal 1: check the source, or leave this table out with `exclude`"
            )
        scaled = features.double() / largest  # no product overflows or underflows as a whole
        product = symmetric_product(scaled)
        return dense_graph(data, product.mul_(nodes / product.diagonal().sum()).to(features.dtype))
