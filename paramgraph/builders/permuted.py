"""The null model that keeps a graph and forgets which node is which."""

from dataclasses import dataclass

import torch

from paramgraph.graphs import Data, NullModel, check_graph, count_nodes, is_signed, register, undirected_graph


@register("permuted")
@dataclass(frozen=True)
class Permuted(NullModel):
    r"""Build a graph, then give its nodes to each other at random.

    .. math:: A \mapsto P A P^T

    A null model: degrees, weights and spectrum stay, the match of graph and signal goes. `x` is untouched.

    Parameters
    ----------
    builder : callable or str
        What builds the graph: a builder, or the name of one that needs no options.
    seed : int, default 0
        Seed of the permutation; the global random state is not used.

    Examples
    --------
    >>> from paramgraph import Ring
    >>> Permuted(Ring(), seed=0)(Data(num_nodes=4)).edge_index.shape
    torch.Size([2, 8])
    """

    def forward(self, data: Data) -> Data:
        """Build the graph of `data` and permute its nodes, and its `node_weight` with them.

        O(edges log edges) time on top of the inner builder. Raises ValueError if that one refuses the data, or its
        graph breaks the contract.
        """
        graph = check_graph(self.inner(data))
        nodes = count_nodes(graph)
        generator = torch.Generator().manual_seed(int(self.seed))
        new_label = torch.randperm(nodes, generator=generator, device="cpu").to(graph.edge_index.device)
        once = graph.edge_index[0] < graph.edge_index[1]
        node_weight = graph.get("node_weight")
        if node_weight is not None:
            node_weight = torch.empty_like(node_weight).index_copy_(0, new_label, node_weight)
        return undirected_graph(
            graph,
            new_label[graph.edge_index[:, once]],
            graph.edge_weight[once],
            signed=is_signed(graph),
            node_weight=node_weight,
        )
