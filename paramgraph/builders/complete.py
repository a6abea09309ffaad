"""The null model in which all nodes are alike."""

from dataclasses import dataclass

import torch

from paramgraph.graphs import Data, GraphBuilder, count_nodes, register, undirected_graph, unit_weights


@register("complete")
@dataclass(frozen=True)
class Complete(GraphBuilder):
    r"""Link all nodes with each other by weight 1.

    .. math:: L = n I - 1 1^T

    A null model: features play no part. The combinatorial Laplacian has the eigenvalue 0 once and n else, so
    every filter only tells the mean from what deviates from it.

    Examples
    --------
    >>> Complete()(Data(num_nodes=3)).edge_index.tolist()
    [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    """

    equivariant = True
    reads_features = False
    is_null = True

    def forward(self, data: Data) -> Data:
        """Build the complete graph of the nodes of `data`, with weights as `unit_weights` makes them.

        O(nodes^2) time and memory, 20 bytes for each of nodes x (nodes - 1) entries: 8 GB at 20,000 nodes. Raises
        ValueError if neither `num_nodes` nor `x` is there.
        """
        nodes = count_nodes(data)
        weight = unit_weights(data, nodes * (nodes - 1) // 2)
        pairs = torch.triu_indices(nodes, nodes, offset=1, device=weight.device)
        return undirected_graph(data, pairs, weight)
