"""What the null models that wrap a builder have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph._checks import check_seed
from paramgraph.graphs.registry import check_inner_nodes, get_builder


@dataclass(frozen=True)
class NullModel(BaseTransform):  # type: ignore[misc]  # PyG is untyped
    """A builder that builds a graph by another one and then takes something from it at random.

    Parameters
    ----------
    builder : callable or str
        What builds the graph: a builder, or the name of one that needs no options.
    seed : int, default 0
        Seed of what is random; the global random state is not used.

    Raises
    ------
    TypeError, ValueError
        If there is no such builder, or the seed is no integer from 0 to 2^63 - 1.
    """

    registered_name: ClassVar[str] = "null model"
    is_null: ClassVar[bool] = True

    builder: Callable[[Data], Data] | str
    seed: int | np.integer = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "builder", get_builder(self.builder))
        check_seed(self.registered_name, self.seed)

    def check_nodes(self, nodes: int) -> None:
        """Ask the inner builder whether a graph of so many nodes can be built.

        Parameters
        ----------
        nodes : int
            Nodes of the graph.

        Raises
        ------
        ValueError
            If the inner builder refuses.

        Examples
        --------
        >>> from paramgraph import Permuted
        >>> Permuted("ring").check_nodes(3)
        """
        check_inner_nodes(self.builder, nodes)
