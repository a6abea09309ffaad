"""Sample correlation of the features of nodes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph.affinity import neighbour_edges, node_features, threshold_edges, unit_rows
from paramgraph.graph_contract import undirected_graph
from paramgraph.options import check_count
from paramgraph.registry import register


@register("correlation")
@dataclass(frozen=True)
class Correlation(BaseTransform):  # type: ignore[misc]  # PyG is untyped
    r"""Link nodes whose features correlate, by rank or by threshold.

    .. math:: W_{ij} = r_{ij} = \cos(x_i - \bar x_i, x_j - \bar x_j)

    with the mean of each row over its features: the columns of `x` are the observations of each node.
    Negative correlations are no edges unless `signed`. A constant row has no edges, and one NumericalWarning
    says how many there are.

    Parameters
    ----------
    k : int, default 10
        Neighbours per node, below the number of nodes, united over both ends. Not used with a threshold.
    threshold : float, optional
        Link all pairs with :math:`|r| \ge` threshold instead, 0 to 1.
    signed : bool, default False
        Rank by the absolute correlation and keep the sign in the weight.

    Examples
    --------
    >>> import torch
    >>> data = Data(x=torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]]))
    >>> Correlation(threshold=0.5)(data).edge_index.tolist()
    [[0, 1], [1, 0]]
    >>> Correlation(threshold=0.5, signed=True)(data).edge_weight
    tensor([ 1., -1.,  1., -1., -1., -1.])
    """

    equivariant: ClassVar[bool] = True

    k: int | np.integer = 10
    threshold: float | None = None
    signed: bool = False

    def __post_init__(self) -> None:
        check_count("correlation", "k", self.k)
        if self.threshold is None:
            return
        if not isinstance(self.threshold, int | float) or not 0.0 <= self.threshold <= 1.0:
            raise ValueError(
                f"correlation: threshold must be a number from 0 to 1, or None, got {self.threshold!r}"
            )

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
            O(nodes x width + edges) memory and 64 MB.

        Raises
        ------
        ValueError
            If `x` is missing or not finite, or k is not below the number of nodes.
        """
        features = node_features(data, "correlation")
        unit = unit_rows(features, centred=True)
        if self.threshold is None:
            pairs, similarity = neighbour_edges(unit, int(self.k), signed=self.signed)
        else:
            pairs, similarity = threshold_edges(unit, float(self.threshold), signed=self.signed)
        return undirected_graph(data, pairs, similarity.to(features.dtype), signed=self.signed)
