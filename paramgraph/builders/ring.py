"""The null model that knows nothing but the order of the nodes."""

from dataclasses import dataclass

import torch

from paramgraph.graphs import Data, GraphBuilder, count_nodes, register, undirected_graph, unit_weights


@register("ring")
@dataclass(frozen=True)
class Ring(GraphBuilder):
    r"""Link each node with the next one, and the last with the first, by weight 1.

    A null model: features play no part. The eigenvalues of its combinatorial Laplacian are
    :math:`2 - 2 \cos(2 \pi k / n)`. Two nodes have one edge, one node has none.

    Examples
    --------
    >>> Ring()(Data(num_nodes=3)).edge_index.tolist()
    [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    """

    reads_features = False
    is_null = True

    def forward(self, data: Data) -> Data:
        """Build the ring of the nodes of `data`, with weights as `unit_weights` makes them; O(nodes) time.

        Raises ValueError if neither `num_nodes` nor `x` is there.
        """
        nodes = count_nodes(data)
        weight = unit_weights(data, nodes if nodes > 2 else max(nodes - 1, 0))
        first = torch.arange(len(weight), device=weight.device)
        return undirected_graph(data, torch.stack([first, (first + 1) % max(nodes, 1)]), weight)
