"""The null model that keeps nothing of a graph but its spectrum."""

from dataclasses import dataclass

import torch

from paramgraph.graphs import (
    Data,
    NullModel,
    dense_graph,
    graph_to_scipy,
    random_rotation,
    register,
    symmetrize,
)


@register("rotated")
@dataclass(frozen=True)
class Rotated(NullModel):
    r"""Build a graph, then turn its adjacency matrix by a random rotation.

    .. math:: A \mapsto Q A Q^T, \qquad Q \sim \text{Haar}(O(n))

    A null model: the eigenvalues of the adjacency matrix stay, its eigenvectors become random. The result is
    dense and signed, meant for `paramgraph.adjacency`, with the diagonal in `node_weight`. `x` is untouched.

    Parameters
    ----------
    builder : callable or str
        What builds the graph: a builder, or the name of one that needs no options.
    seed : int, default 0
        Seed of the rotation; the global random state is not used.

    References
    ----------
    .. [1] F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the
       AMS 54 (2007), arXiv:math-ph/0609050.

    Examples
    --------
    >>> from paramgraph import Ring
    >>> graph = Rotated(Ring(), seed=0)(Data(num_nodes=4))
    >>> torch.linalg.eigvalsh(torch.tensor(graph_to_scipy(graph).toarray())).round(decimals=4) + 0.0
    tensor([-2.,  0.,  0.,  2.], dtype=torch.float64)
    """

    def forward(self, data: Data) -> Data:
        """Build the graph of `data` and rotate its matrix.

        Edges and `node_weight` have the inner dtype, computed in float64; O(nodes^3) time and O(nodes^2) memory. Raises
        ValueError if the inner builder refuses the data, or its graph breaks the contract.
        """
        graph = self.inner(data)
        matrix = torch.from_numpy(graph_to_scipy(graph).toarray())
        generator = torch.Generator().manual_seed(int(self.seed))
        orthogonal = random_rotation(len(matrix), len(matrix), generator)
        turned = orthogonal @ matrix @ orthogonal.T
        turned = (turned + turned.T) / 2
        like = symmetrize(graph).edge_weight  # of the inner dtype, wherever that builder keeps its weights
        return dense_graph(graph, turned.to(like.device, like.dtype))
