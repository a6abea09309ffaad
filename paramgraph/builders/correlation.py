"""Correlation of the features of nodes: sample, shrunk, or partial."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from paramgraph._checks import check_choice, check_count, check_flag, check_number, is_number
from paramgraph.graphs import Data, register, undirected_graph
from paramgraph.graphs.affinity import (
    NeighbourBuilder,
    matrix_edges,
    neighbour_edges,
    node_features,
    partial_correlations,
    shrunk_rows,
    threshold_edges,
    unit_rows,
)

Estimator = Literal["sample", "ledoit_wolf", "partial"]


@register("correlation")
@dataclass(frozen=True)
class Correlation(NeighbourBuilder):
    r"""Link nodes whose features correlate, by rank or by threshold.

    .. math:: W_{ij} = r_{ij} = \cos(x_i - \bar x_i, x_j - \bar x_j)

    with the mean of each row over its features: the columns of `x` are the observations of each node. With few
    observations, r is better estimated by shrinkage [1]_,

    .. math:: \hat\Sigma = (1 - s) S + s \mu I, \qquad
              r_{ij} = \hat\Sigma_{ij} / \sqrt{\hat\Sigma_{ii} \hat\Sigma_{jj}}

    and what two nodes share beyond what all others explain is their partial correlation, from the precision
    matrix P of the graphical lasso [2]_ of the sample correlations,

    .. math:: r_{ij} = -P_{ij} / \sqrt{P_{ii} P_{jj}}

    Negative correlations are no edges unless `signed`. A constant row has no edges, and one NumericalWarning
    says how many there are.

    Parameters
    ----------
    k : int, default 10
        Neighbours per node, below the number of nodes. Not used with a threshold.
    threshold : float, optional
        Link all pairs with :math:`|r| \ge` threshold instead, 0 to 1.
    signed : bool, default False
        Rank by the absolute correlation and keep the sign in the weight.
    estimator : {"sample", "ledoit_wolf", "partial"}, default "sample"
        How r is estimated.
    alpha : float, default 0.1
        Penalty of the graphical lasso on entries of P, above 0 and at most 1. Only for "partial".
    max_nodes : int, default 600
        What "partial" accepts: it takes O(nodes^3) time per iteration, minutes beyond this number.
    mutual : bool, default False
        Keep an edge only if each node is a neighbour of the other ("and" in place of "or"). Not used with a
        threshold, where both ends agree.

    References
    ----------
    .. [1] O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
       Journal of Multivariate Analysis 88 (2004).
    .. [2] J. Friedman, T. Hastie, R. Tibshirani, "Sparse inverse covariance estimation with the graphical
       lasso", Biostatistics 9 (2008).

    Examples
    --------
    >>> import torch
    >>> data = Data(x=torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]]))
    >>> Correlation(threshold=0.5)(data).edge_index.tolist()
    [[0, 1], [1, 0]]
    >>> Correlation(threshold=0.5, signed=True)(data).edge_weight
    tensor([ 1., -1.,  1., -1., -1., -1.])
    """

    threshold: float | np.floating | None = None
    signed: bool = False
    estimator: Estimator = "sample"
    alpha: float = 0.1
    max_nodes: int | np.integer = 600
    mutual: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("correlation", "estimator", self.estimator, get_args(Estimator))
        check_number("correlation", "alpha", self.alpha, low=0.0, high=1.0)
        check_count("correlation", "max_nodes", self.max_nodes)
        check_flag("correlation", "signed", self.signed)
        check_flag("correlation", "mutual", self.mutual)
        if self.threshold is None:
            return
        if not is_number(self.threshold) or not 0.0 <= self.threshold <= 1.0:
            raise ValueError(
                f"correlation: threshold must be a number from 0 to 1, or None, got {self.threshold!r}"
            )

    def check_nodes(self, nodes: int) -> None:
        """Raise ValueError if k is not below the number of nodes, or they are too many for partial correlations.

        Examples
        --------
        >>> Correlation(estimator="partial").check_nodes(1000)
        Traceback (most recent call last):
        ...
        ValueError: correlation: partial correlations of 1000 nodes take very long; ... max_nodes=1000, ...
        """
        if self.threshold is None:
            super().check_nodes(nodes)
        if self.estimator == "partial" and nodes > self.max_nodes:
            raise ValueError(
                f"correlation: partial correlations of {nodes} nodes take very long; up to {self.max_nodes} are "
                f"done without asking. Allow them with max_nodes={nodes}, or take estimator='ledoit_wolf'"
            )

    def forward(self, data: Data) -> Data:
        """Build the graph of the rows of `data.x` (nodes, width), of any real dtype.

        Weights are float64 where `x` is, else float32; O(nodes^2 x width) time, O(nodes x width + edges) memory and
        64 MB. "partial" takes O(nodes^3) time per iteration and O(nodes^2) memory. Raises ValueError if `x` is missing
        or not finite, or as `check_nodes` does; NotConvergedError, with advice, if the graphical lasso does not
        converge.

        Examples
        --------
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]])
        >>> Correlation(k=1, estimator="ledoit_wolf")(Data(x=x)).edge_weight  # 0.8 before
        tensor([0.4875, 0.4875])
        """
        features = node_features(data, "correlation")
        self.check_nodes(len(features))
        pairs, similarity = self._edges(features)
        return undirected_graph(data, pairs, similarity.to(features.dtype), signed=self.signed)

    def _edges(self, features: Tensor) -> tuple[Tensor, Tensor]:
        if self.estimator == "partial":
            matrix = partial_correlations(features, float(self.alpha))
            if self.threshold is None:
                return matrix_edges(matrix, k=int(self.k), signed=self.signed, mutual=self.mutual)
            return matrix_edges(matrix, threshold=float(self.threshold), signed=self.signed)
        shrunk = self.estimator == "ledoit_wolf"
        rows = shrunk_rows(features) if shrunk else unit_rows(features, centred=True)
        if self.threshold is None:
            return neighbour_edges(rows, int(self.k), signed=self.signed, mutual=self.mutual)
        return threshold_edges(rows, float(self.threshold), signed=self.signed)
