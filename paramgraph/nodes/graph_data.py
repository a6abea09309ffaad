"""The `Data` that node tables make and builders connect, with a summary for notebooks."""

from torch_geometric.data import Data

from paramgraph.display import graph_html


class ParameterGraph(Data):  # type: ignore[misc]  # PyG is read as Any
    """A PyG `Data` that a notebook shows as a card of facts; in all else a `Data`.

    Copies, transforms, batches and pickles keep the class. `NodeTable.to_data` makes one, so every graph that is
    built from a table is one. A plain `Data` is as good wherever this package takes a graph.

    Examples
    --------
    >>> import torch
    >>> graph = ParameterGraph(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    >>> graph.clone()
    ParameterGraph(edge_index=[2, 2], num_nodes=2)
    >>> "components" in graph._repr_html_()
    True
    """

    def _repr_html_(self) -> str:
        """Show nodes, edges, components, weights, degrees and origin; O(nodes + edges)."""
        return graph_html(self)
