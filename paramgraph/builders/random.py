"""The null model that keeps nothing of a graph but its degrees and weights."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from paramgraph._checks import check_count
from paramgraph.errors import NumericalWarning
from paramgraph.graphs import (
    Data,
    NullModel,
    check_graph,
    count_nodes,
    is_signed,
    register,
    rewired_pairs,
    undirected_graph,
)

_ATTEMPTS = 10  # two edges on four nodes are the same again once in three times


@register("random")
@dataclass(frozen=True)
class RandomRewired(NullModel):
    r"""Build a graph, then rewire its edges at random, degrees kept.

    .. math:: (a, b), (c, d) \mapsto (a, d), (c, b)

    A null model: the number of edges of each node and the multiset of weights stay, everything else goes;
    weighted degrees do not stay. An edge takes its weight, and its sign, along. `x` and `node_weight` are
    untouched. The result says what share of its edges the graph did not have before: `rewired_share`. Where
    degrees leave no choice (complete graphs, stars) it is 0, the graph is the same, and a NumericalWarning
    says so: take `permuted` or `rotated` there.

    Parameters
    ----------
    builder : callable or str
        What builds the graph: a builder, or the name of one that needs no options.
    seed : int, default 0
        Seed of the rewiring; the global random state is not used.
    sweeps : int, default 20
        How often each edge is proposed a swap; small graphs get more. After about 10 the share of edges that
        are new no longer grows.

    References
    ----------
    .. [1] R. Milo et al., "On the uniform generation of random graphs with prescribed degree sequences",
       arXiv:cond-mat/0312028.

    Examples
    --------
    >>> from paramgraph import Ring
    >>> graph = RandomRewired(Ring(), seed=0)(Data(num_nodes=30))
    >>> graph.edge_index[0].bincount().unique(), graph.rewired_share > 0.5
    (tensor([2]), True)
    """

    sweeps: int | np.integer = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("random", "sweeps", self.sweeps)

    def forward(self, data: Data) -> Data:
        """Build the graph of `data` and rewire it; `rewired_share` goes from 0 to 1.

        O(sweeps x edges log edges) time on top of the inner builder, O(edges) memory. Raises ValueError if that one
        refuses the data, or its graph breaks the contract.
        """
        graph = check_graph(self.inner(data))
        nodes = count_nodes(graph)
        once = graph.edge_index[0] < graph.edge_index[1]
        before = graph.edge_index[:, once].cpu().numpy()
        pairs, share = _new_pairs(before, nodes, int(self.sweeps), int(self.seed))
        if share == 0.0 and before.size:
            warnings.warn(
                f"random: the graph of {nodes} nodes and {before.shape[1]} edges came back as it was, as its "
                "degrees leave no choice (complete or star-like); take `permuted` or `rotated` as its null",
                NumericalWarning,
                stacklevel=2,
            )
        rewired = undirected_graph(
            graph,
            torch.from_numpy(pairs).to(graph.edge_index.device),
            graph.edge_weight[once],
            signed=is_signed(graph),
            node_weight=graph.get("node_weight"),
        )
        rewired.rewired_share = share
        return rewired


def _new_pairs(before: np.ndarray, nodes: int, sweeps: int, seed: int) -> tuple[np.ndarray, float]:
    """Rewire, again where chance led a tiny graph back to where it was; tell the share of new edges."""
    rng = np.random.default_rng(seed)
    pairs, share = before, 0.0
    for _ in range(_ATTEMPTS):
        pairs = rewired_pairs(pairs, nodes, sweeps, rng)
        low, high = np.sort(pairs, axis=0)
        known = np.isin(low * nodes + high, before[0] * nodes + before[1])
        share = float((~known).mean()) if len(known) else 0.0
        if share > 0.0:
            break
    return pairs, share
