"""Nearest neighbours by distance, with a Gaussian kernel of self-tuned width."""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from paramgraph._checks import check_flag, check_number
from paramgraph.errors import NumericalWarning
from paramgraph.graphs import Data, register, undirected_graph
from paramgraph.graphs.affinity import (
    Connect,
    NeighbourBuilder,
    Search,
    distance_outside,
    joining_pairs,
    linked_pairs,
    nearest_by_distance,
    node_features,
    pair_distance,
    scaled_rows,
)


@register("gaussian_knn")
@dataclass(frozen=True)
class GaussianKNN(NeighbourBuilder):
    r"""Link each node with the k nearest nodes, by a Gaussian of the distance.

    .. math:: W_{ij} = \exp\left(-\frac{|x_i - x_j|^2}{\sigma_i \sigma_j}\right)
              \quad \text{if } j \in N_k(i) \text{ or } i \in N_k(j)

    with the width :math:`\sigma_i` of a node its distance to its k-th neighbour [1]_, or one fixed width for
    all. Neighbours are exact; a tie goes to the lower index. A zero row is a point like any other. A node of
    which k duplicates exist has width zero; it gets the smallest width that is not zero, and one
    NumericalWarning says how many such nodes there are. Duplicates have weight 1.

    Parameters
    ----------
    k : int, default 10
        Neighbours per node, below the number of nodes.
    sigma : float, optional
        Fixed width of all nodes, :math:`W_{ij} = \exp(-d^2 / \sigma^2)`, in the unit of the features.
    mutual : bool, default False
        Keep an edge only if each node is a neighbour of the other ("and" in place of "or").
    connect : {"none", "mst"}, default "none"
        "mst" joins the components by a minimum spanning tree: the shortest links between them. The graph then
        says which they are: `connecting_edges` of shape (2, added), each once. Components so far apart that the
        weight between them underflows to zero stay apart, and the NumericalWarning about such weights says so.
    search : {"exact", "faiss"}, default "exact"
        "faiss" lets `faiss.IndexFlatIP` propose the candidates, on the CPU; neighbours and weights are the
        same to the last bit. Needs ``pip install 'paramgraph[faiss]'``.

    References
    ----------
    .. [1] L. Zelnik-Manor, P. Perona, "Self-tuning spectral clustering", NIPS 2004.

    Examples
    --------
    >>> graph = GaussianKNN(k=1)(Data(x=torch.tensor([[0.0], [1.0], [3.0]])))
    >>> graph.edge_index.tolist()
    [[0, 1, 1, 2], [1, 0, 2, 1]]
    >>> graph.edge_weight  # exp(-1 / (1 x 1)), exp(-4 / (1 x 2))
    tensor([0.3679, 0.3679, 0.1353, 0.1353])
    """

    sigma: float | None = None
    mutual: bool = False
    connect: Connect = "none"
    search: Search = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma is not None:
            check_number("gaussian_knn", "sigma", self.sigma, low=0.0)
        check_flag("gaussian_knn", "mutual", self.mutual)
        self._check_ways(self.connect, self.search)

    def forward(self, data: Data) -> Data:
        """Build the graph of the rows of `data.x` (nodes, width), of any real dtype.

        Weights are float64 where `x` is, else float32; O(nodes^2 x width) time, O(nodes x (width + k)) memory and
        64 MB. Weights that underflow to zero are no edges, and one NumericalWarning says how many. Raises ValueError
        if `x` is missing or not finite, or k is not below the number of nodes.

        Examples
        --------
        >>> GaussianKNN(k=1, sigma=2.0)(Data(x=torch.tensor([[0.0], [2.0]]))).edge_weight
        tensor([0.3679, 0.3679])
        """
        features = node_features(data, "gaussian_knn")
        rows, exponent = scaled_rows(features)
        indices, squared = nearest_by_distance(rows, int(self.k), search=self.search)
        pairs, distance = linked_pairs(
            indices, squared, torch.ones_like(squared, dtype=torch.bool), mutual=self.mutual
        )
        added = pairs[:, :0]
        if self.connect == "mst":
            added = joining_pairs(pairs, len(rows), distance_outside(rows))
            pairs = torch.cat([pairs, added], dim=1)
            distance = torch.cat([distance, pair_distance(rows, added)])
        width = self._widths(squared, exponent)
        # Divided one after the other: the product of two small widths would underflow.
        weight = torch.exp(-(distance / width[pairs[0]] / width[pairs[1]])).to(features.dtype)
        kept = weight > 0
        if not bool(kept.all()):
            lost = int((~kept[len(kept) - added.shape[1] :]).sum())
            apart = f"; {lost} of them were to join components, which stay apart" if lost else ""
            warnings.warn(
                f"gaussian_knn: {int((~kept).sum())} of {len(kept)} weights underflow to zero and are no edges: "
                f"the width is far below these distances{apart}",
                NumericalWarning,
                stacklevel=2,
            )
        graph = undirected_graph(data, pairs[:, kept], weight[kept])
        if self.connect == "mst":
            joined = len(kept) - added.shape[1]
            graph.connecting_edges = added[:, kept[joined:]]
        return graph

    def _widths(self, squared: Tensor, exponent: int) -> Tensor:
        """Give each node its width, in the unit of the scaled rows."""
        if self.sigma is not None:
            return squared.new_full((len(squared),), _scaled_width(float(self.sigma), exponent))
        width = squared[:, -1].sqrt()
        without = width == 0
        if bool(without.any()):
            smallest = width[~without].min() if bool((~without).any()) else width.new_ones(())
            width = torch.where(without, smallest, width)
            warnings.warn(
                f"{int(without.sum())} of {len(width)} nodes have {self.k} duplicates or more, and so width "
                "zero: they get the smallest width of the others",
                NumericalWarning,
                stacklevel=3,
            )
        return width


def _scaled_width(sigma: float, exponent: int) -> float:
    try:
        width = math.ldexp(sigma, -exponent)
    except OverflowError:  # every feature is zero beside this width
        return math.inf
    return max(width, 5e-324)  # so that duplicates divide zero by something
