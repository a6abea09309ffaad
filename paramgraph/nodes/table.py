"""Nodes of a parameter graph: which slice of which parameter each node is.

A scheme cuts the parameters of a model into `NodeTable`s. A table reads the parameters
as one matrix `X` with a row per node (`gather`) and writes such a matrix back (`scatter`, its adjoint).
Everything later, graphs, spectra, penalties and filters, works on `X` and never on the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.display import graph_html, table_html
from paramgraph.nodes.slices import ParameterSlice


class ParameterGraph(Data):  # type: ignore[misc]  # PyG is read as Any
    """A PyG `Data` that a notebook shows as a card of facts; in all else a `Data`.

    Copies, transforms, batches and pickles keep the class. `NodeTable.to_data` makes one, so every graph that is
    built from a table is one. A plain `Data` is as good wherever this package takes a graph.

    Examples
    --------
    >>> graph = ParameterGraph(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    >>> graph.clone()
    ParameterGraph(edge_index=[2, 2], num_nodes=2)
    >>> "components" in graph._repr_html_()
    True
    """

    def _repr_html_(self) -> str:
        # Nodes, edges, components, weights, degrees and origin; O(nodes + edges).
        return graph_html(self)


@dataclass(frozen=True)
class NodeTable:
    r"""The nodes of one graph, as slices of a model's parameters.

    `gather` stacks the slices into :math:`X` of shape (nodes, width); `scatter` is its adjoint,
    :math:`\langle \mathrm{gather}(p), X \rangle = \langle p, \mathrm{scatter}(X) \rangle`. No slice of a
    scheme of this package overlaps another, so :math:`\mathrm{scatter}(\mathrm{gather}(p)) = p` on the
    covered entries.

    Parameters
    ----------
    group : str
        Key of the table; for one matrix, the name of its parameter.
    scheme : str
        Name of the scheme that made it, as "rows".
    slices : tuple of ParameterSlice
        Where the nodes' features lie.
    names : sequence of str
        One name per node, unique in the table: a tuple, or what writes them when they are read.
    layer, head : tuple of int
        Index of the layer and of the attention head per node, -1 where none.
    role : tuple of str
        Which matrix a node belongs to, as "attention.self.query".

    Raises
    ------
    ValueError
        If the columns of the table are not of one length, or a slice exceeds the nodes.

    See Also
    --------
    paramgraph.node_tables : Make the tables of a model.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import columns
    >>> model = torch.nn.Linear(3, 2, bias=False)
    >>> table = columns(torch.nn.Sequential(model))["0.weight"]
    >>> table
    NodeTable('0.weight', scheme='columns', nodes=3, width=2)
    >>> X = table.gather({"0.weight": model.weight})
    >>> bool((table.scatter(X)["0.weight"] == model.weight).all())
    True
    """

    group: str
    scheme: str
    slices: tuple[ParameterSlice, ...]
    names: Sequence[str]
    layer: tuple[int, ...]
    head: tuple[int, ...]
    role: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {field: len(getattr(self, field)) for field in ("names", "layer", "head", "role")}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"table {self.group!r}: one entry per node is needed in each of {lengths}")
        for part in self.slices:
            if part.at[0] + part.nodes > len(self.names):
                raise ValueError(
                    f"table {self.group!r} has {len(self.names)} nodes; its slice of {part.parameter!r} "
                    f"ends at node {part.at[0] + part.nodes}"
                )

    def __repr__(self) -> str:
        nodes, width = self.shape
        return f"NodeTable({self.group!r}, scheme={self.scheme!r}, nodes={nodes}, width={width})"

    def _repr_html_(self) -> str:
        return table_html(self)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of nodes and of parameter entries per node."""
        return len(self.names), max((part.at[1] + part.width for part in self.slices), default=0)

    @property
    def expert(self) -> int:
        """The expert of a stack of them that all nodes are of; -1 where they lie in whole parameters, or in several."""
        return self.slices[0].expert if len(self.slices) == 1 else -1

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the table touches, each once, in order of their first slice."""
        return tuple(dict.fromkeys(part.parameter for part in self.slices))

    def gather(self, parameters: Mapping[str, Tensor]) -> Shaped[Tensor, "nodes width"]:
        """Stack the nodes' slices of the parameters into one matrix of shape (nodes, width).

        `parameters` has at least those of the table, as `dict(model.named_parameters())`, or gradients or updates of
        their shapes. The result has their dtype and device; gradients flow through. It is a view of the parameter
        where the table is one slice of it: clone it before writing into it. Entries that no slice covers are 0. A
        parameter that is missing raises a KeyError, one of another shape a ValueError.
        """
        missing = [name for name in self.parameters if name not in parameters]
        if missing:
            raise KeyError(
                f"table {self.group!r} needs the parameters {missing}; {len(parameters)} were given: "
                f"{', '.join(list(parameters)[:5])}{', ...' if len(parameters) > 5 else ''}"
            )
        blocks = [part.take(parameters[part.parameter]) for part in self.slices]
        if len(blocks) == 1 and blocks[0].shape == self.shape:
            return blocks[0]
        dtype = reduce(torch.promote_types, (block.dtype for block in blocks))
        X = blocks[0].new_zeros(self.shape, dtype=dtype)
        for part, block in zip(self.slices, blocks, strict=True):
            node, column = part.at
            X[node : node + part.nodes, column : column + part.width] += block
        return X

    def scatter(self, X: Tensor) -> dict[str, Tensor]:
        """Write a matrix of shape (nodes, width) back into parameters, the exact adjoint of `gather`.

        There is one tensor of the full shape per parameter of the table, zero where no node lies, in the dtype and
        on the device of `X`, whose memory it shares where the table is one whole parameter. Another shape raises a
        ValueError.
        """
        if not isinstance(X, Tensor):
            raise TypeError(f"X must be a torch tensor, got {type(X).__name__}")
        if tuple(X.shape) != self.shape:
            raise ValueError(
                f"table {self.group!r} has the shape {self.shape} (nodes, width); X has {tuple(X.shape)}"
            )
        parts: dict[str, list[ParameterSlice]] = {}
        for part in self.slices:
            parts.setdefault(part.parameter, []).append(part)
        blocks = {part: X[part.at[0] :][: part.nodes, part.at[1] :][:, : part.width] for part in self.slices}
        return {
            # Experts are slices of one stack: each is added in its place, and not as a stack of zeros around it.
            name: several[0].put(blocks[several[0]])
            if len(several) == 1
            else reduce(
                lambda value, part: part.add_(value, blocks[part]), several, X.new_zeros(several[0].shape)
            )
            for name, several in parts.items()
        }

    def to_data(self, features: Tensor) -> Data:
        """Make the PyG graph without edges that builders connect.

        `features` has the shape (nodes, features), from any source or of your own. The graph has `x` (the features
        as given), `num_nodes`, `layer` and `head` (int64, -1 where none) and `role` (list of str), on the device of
        the features, and `parameter`: the name of the parameter it is of, or of the group where there are several. What
        is no tensor raises a TypeError, what has no row per node a ValueError.
        """
        nodes = len(self.names)
        if not isinstance(features, Tensor):
            raise TypeError(f"features must be a torch tensor, got {type(features).__name__}")
        if features.ndim != 2 or features.shape[0] != nodes:
            raise ValueError(
                f"table {self.group!r} has {nodes} nodes, so features must have the shape ({nodes}, "
                f"features); these have {tuple(features.shape)}"
            )
        return ParameterGraph(
            x=features,
            num_nodes=nodes,
            layer=torch.tensor(self.layer, dtype=torch.int64, device=features.device),
            head=torch.tensor(self.head, dtype=torch.int64, device=features.device),
            role=list(self.role),
            parameter=self.group,
        )


def one_table(table: object) -> dict[str, NodeTable]:
    """Put one table under the name of its group, as `collect` takes tables; a TypeError for all tables or a name."""
    if not isinstance(table, NodeTable):
        raise TypeError(
            f"expected one NodeTable, got {type(table).__name__}: pick one, as node_tables(model)[name]"
        )
    return {table.group: table}
