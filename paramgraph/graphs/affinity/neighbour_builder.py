"""What builders of nearest neighbours share: their number, and who looks for them and joins what stays apart."""

from dataclasses import dataclass
from typing import get_args

import numpy as np

from paramgraph._checks import check_choice, check_count
from paramgraph.graphs import GraphBuilder
from paramgraph.graphs.affinity._candidates import check_search
from paramgraph.graphs.affinity.component_links import Connect
from paramgraph.graphs.affinity.inner_product import check_neighbours


@dataclass(frozen=True)
class NeighbourBuilder(GraphBuilder):
    """A builder that links each node with k others; its class is registered, and its name stands in its messages.

    Neighbours are exact and relabelled along with the nodes. k must be below the number of nodes.
    """

    equivariant = True

    k: int | np.integer = 10

    def __post_init__(self) -> None:
        check_count(self.short_name, "k", self.k)

    def check_nodes(self, nodes: int) -> None:
        """Raise ValueError if k is not below the number of nodes."""
        check_neighbours(int(self.k), nodes)

    def _check_ways(self, connect: str, search: str) -> None:
        check_choice(self.short_name, "connect", connect, get_args(Connect))
        check_search(f"{self.short_name}: search", search)
