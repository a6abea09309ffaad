"""Nearest neighbours by cosine similarity."""

from dataclasses import dataclass

import torch

from paramgraph._checks import check_flag
from paramgraph.graphs import Data, register, undirected_graph
from paramgraph.graphs.affinity import (
    Connect,
    NeighbourBuilder,
    Search,
    join_by_cosine,
    neighbour_edges,
    node_features,
    unit_rows,
)


@register("cosine_knn")
@dataclass(frozen=True)
class CosineKNN(NeighbourBuilder):
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
    connect : {"none", "mst"}, default "none"
        "mst" joins the components by a maximum spanning tree: the links of largest cosine between them. The
        graph then says which they are: `connecting_edges` of shape (2, added), each once. Components between
        which no cosine is positive (differs from zero, if `signed`) stay apart, and a NumericalWarning counts
        them; so do zero rows.
    search : {"exact", "faiss"}, default "exact"
        "faiss" lets `faiss.IndexFlatIP` propose the candidates, on the CPU; neighbours and weights are the
        same to the last bit. Needs ``pip install 'paramgraph[faiss]'``.

    Examples
    --------
    >>> graph = CosineKNN(k=1)(Data(x=torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])))
    >>> graph.edge_index.tolist()
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    >>> graph.edge_weight
    tensor([1.0000, 0.7071, 1.0000, 0.7071])
    """

    signed: bool = False
    mutual: bool = False
    connect: Connect = "none"
    search: Search = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("cosine_knn", "signed", self.signed)
        check_flag("cosine_knn", "mutual", self.mutual)
        self._check_ways(self.connect, self.search)

    def forward(self, data: Data) -> Data:
        """Build the graph of the rows of `data.x` (nodes, width), of any real dtype.

        Weights are float64 where `x` is, else float32; O(nodes^2 x width) time, O(nodes x (width + k)) memory and
        64 MB. With `connect="mst"`, each of at most log2(components) rounds takes as long again for the share of nodes
        outside the largest component. Raises ValueError if `x` is missing or not finite, or k is not below the number
        of nodes.
        """
        features = node_features(data, "cosine_knn")
        unit = unit_rows(features)
        pairs, similarity = neighbour_edges(
            unit, int(self.k), signed=self.signed, mutual=self.mutual, search=self.search
        )
        if self.connect == "none":
            return undirected_graph(data, pairs, similarity.to(features.dtype), signed=self.signed)
        added, cosine = join_by_cosine(unit, pairs, signed=self.signed)
        pairs, similarity = torch.cat([pairs, added], dim=1), torch.cat([similarity, cosine])
        graph = undirected_graph(data, pairs, similarity.to(features.dtype), signed=self.signed)
        graph.connecting_edges = added
        return graph
