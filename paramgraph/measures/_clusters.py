"""Whether two graphs, or a graph and given labels, part the nodes alike."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from paramgraph.errors import NumericalWarning
from paramgraph.graphs import GraphLike
from paramgraph.spectra import eigenpairs, laplacian


@dataclass(frozen=True, eq=False)
class ClusteringAgreement:
    """Hold how far two partitions of the same nodes agree, both corrected for chance.

    Parameters
    ----------
    adjusted_rand : float
        Adjusted Rand index: 1 for the same partition, 0 in expectation for random ones of the same sizes.
    adjusted_mutual_information : float
        The same for mutual information; the better one where clusters are of very different sizes.
    first, second : int array of shape (nodes,)
        Cluster of each node.
    """

    adjusted_rand: float
    adjusted_mutual_information: float
    first: Int[np.ndarray, " nodes"]
    second: Int[np.ndarray, " nodes"]


def clustering_agreement(
    first: GraphLike,
    second: GraphLike | Sequence[object],
    clusters: int | None = None,
    seed: int = 0,
) -> ClusteringAgreement:
    r"""Compare the spectral clusters of a graph with those of another one, or with labels.

    Clusters are those of k-means on the rows of the lowest k eigenvectors of :math:`L_{rw} = I - D^{-1} W` [1]_.
    What it cannot tell: whether the graphs have clusters at all (any graph is cut into k; look at its
    eigenvalues), or what happens within them; and another k may give another answer.

    Parameters
    ----------
    first : Data, SciPy sparse array, ndarray, Tensor or networkx.Graph
        Undirected graph of weights that are not negative.
    second : graph, or sequence or Tensor of shape (nodes,)
        A graph on the same nodes, or one label a node, such as `graph.head` or `graph.role`; -1 is a label like
        any other.
    clusters : int, optional
        Number of clusters k, from 2 to the number of nodes; by default the number of different labels.
    seed : int, default 0
        Of the starts of k-means.

    Returns
    -------
    ClusteringAgreement
        Adjusted Rand index, adjusted mutual information, and the clusters. Cost of `eigenpairs` for k modes.

    Raises
    ------
    ValueError
        If numbers of nodes differ, `clusters` is out of range, or missing for two graphs.

    Warns
    -----
    NumericalWarning
        If a graph has more components than clusters, so that some of them are thrown together at will.

    References
    ----------
    .. [1] J. Shi, J. Malik, "Normalized cuts and image segmentation", IEEE TPAMI 22(8), 2000.
    .. [2] N. X. Vinh, J. Epps, J. Bailey, "Information theoretic measures for clusterings comparison", JMLR 11, 2010.

    Examples
    --------
    >>> import networkx as nx
    >>> found = clustering_agreement(nx.barbell_graph(5, 0), [0] * 5 + [1] * 5)
    >>> found.adjusted_rand
    1.0
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    labels = _labels(second)
    if clusters is not None:
        count = clusters
    elif labels is not None:
        count = len(np.unique(labels))
    else:
        raise ValueError("two graphs need the number of clusters: clustering_agreement(a, b, clusters=8)")
    parts = [_spectral_clusters(first, count, seed)]
    parts.append(_spectral_clusters(second, count, seed) if labels is None else labels)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(f"both must be on the same nodes, got {len(parts[0])} and {len(parts[1])}")
    return ClusteringAgreement(
        float(adjusted_rand_score(*parts)), float(adjusted_mutual_info_score(*parts)), *parts
    )


def _labels(second: GraphLike | Sequence[object]) -> Int[np.ndarray, " nodes"] | None:
    """Labels as integers, or None of a graph: anything else than one value a node is one."""
    if isinstance(second, Tensor | np.ndarray) and second.ndim == 1:
        values = np.asarray(second.tolist())  # of any dtype of torch, which NumPy has not all of
    elif isinstance(second, list | tuple):
        values = np.asarray(second)
    else:
        return None
    if values.dtype == object:
        raise TypeError(f"labels are numbers or text, one for each node; got {second!r:.80}")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _spectral_clusters(
    graph: GraphLike | Sequence[object], clusters: int, seed: int
) -> Int[np.ndarray, " nodes"]:
    from sklearn.cluster import KMeans

    L = laplacian(graph, "rw")
    if not 2 <= clusters <= L.nodes:
        raise ValueError(f"the {L.nodes} nodes can be cut into 2 to {L.nodes} clusters, got {clusters}")
    if L.components > clusters:
        warnings.warn(
            f"a graph of {L.components} components is cut into {clusters} clusters: which components go "
            "together is arbitrary; take at least as many clusters, or connect the components",
            NumericalWarning,
            stacklevel=3,
        )
    embedding = eigenpairs(L, k=clusters).eigenvectors.numpy()
    # Eigenvectors of small components are large there: nodes of one component get equal rows, whatever its size.
    labels = KMeans(clusters, n_init=10, random_state=seed).fit_predict(embedding)
    return np.asarray(labels, dtype=np.int64)
