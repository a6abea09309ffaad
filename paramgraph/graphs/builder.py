"""What a builder of graphs is and declares: the class to inherit from, and how a plain callable becomes one."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from paramgraph._checks import check_seed
from paramgraph.digests import readable
from paramgraph.graphs.registry import BuilderLike, find_builder, get_builder, list_builders, name_of


class GraphBuilder(BaseTransform):  # type: ignore[misc]  # PyG is untyped
    """A way to link nodes: the extension point of this package.

    Inherit from it as a frozen dataclass whose fields are the options, write `forward`, and give it a name by
    `register`; nothing else need be said. It is a PyG transform too, so that `Compose` takes it. What else a builder
    declares has the defaults below; set these class attributes without an annotation, as a dataclass makes an option
    of an annotated one.

    Attributes
    ----------
    reads_features : bool, default True
        Whether the graph depends on `data.x`. Where it does not, no source runs and no calibration batches are
        needed, and a comparison builds the graph once, whatever its sources are.
    is_null : bool, default False
        Whether it is a null model, which tables and figures mark.
    equivariant : bool, default False
        Whether it promises that relabelled nodes give the relabelled graph; the contract suite then asks.
    example_options : mapping of str to object
        For options that the contract suite cannot guess, values that suit a small graph.

    Examples
    --------
    >>> import torch
    >>> from paramgraph.graphs import undirected_graph, unit_weights
    >>> @dataclass(frozen=True)
    ... class Star(GraphBuilder):
    ...     centre: int = 0
    ...     reads_features = False
    ...     def forward(self, data):
    ...         others = torch.tensor([node for node in range(data.num_nodes) if node != self.centre])
    ...         pairs = torch.stack([torch.full_like(others, self.centre), others])
    ...         return undirected_graph(data, pairs, unit_weights(data, len(others)))
    >>> Star()(Data(num_nodes=3)).edge_index.tolist()
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    """

    reads_features: bool = True
    is_null: bool = False
    equivariant: bool = False
    example_options: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def forward(self, data: Data) -> Data:
        """Build the graph of some nodes: a `Data` that keeps the graph contract, as `undirected_graph` makes it."""

    if TYPE_CHECKING:

        def __call__(self, data: Data) -> Data: ...  # noqa: D102  # PyG's, which copies `data` and calls `forward`

    def check_nodes(self, nodes: int) -> None:
        """Raise ValueError if there is no graph of so many nodes; asked before features are collected."""

    def scheme_refusal(self, scheme: str) -> str:
        """Say why there is no such graph on the nodes of a scheme; "" where there is one."""
        return ""

    @property
    def short_name(self) -> str:
        """What tables call it: its registered name, else that of its class."""
        return name_of(self)


@dataclass(frozen=True)
class NullModel(GraphBuilder):
    """A builder that builds a graph by another one and then takes something from it at random.

    `builder` is a builder, or the name of one that needs no options; `seed`, an integer from 0 to 2^63 - 1, is all that
    its chance depends on. It reads features, and refuses nodes and schemes, where that builder does.
    """

    is_null = True

    builder: BuilderLike
    seed: int | np.integer = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "builder", get_builder(self.builder))
        object.__setattr__(self, "reads_features", self.inner.reads_features)
        check_seed(name_of(self), self.seed)

    @property
    def inner(self) -> GraphBuilder:
        """The builder whose graph is taken."""
        return as_builder(self.builder)

    def check_nodes(self, nodes: int) -> None:
        """Raise ValueError if the inner builder refuses so many nodes."""
        self.inner.check_nodes(nodes)

    def scheme_refusal(self, scheme: str) -> str:
        """Say why the inner builder has no graph on the nodes of a scheme."""
        return self.inner.scheme_refusal(scheme)

    @property
    def short_name(self) -> str:
        """Its name and that of the builder it takes its graph from."""
        return f"{name_of(self)} {self.inner.short_name}"


# Any as in `get_builder`.
def as_builder(builder: str | Callable[..., Any], /, **options: Any) -> GraphBuilder:
    """Find a builder as `get_builder` does; what is no `GraphBuilder`, as a function or a PyG transform, becomes one.

    A plain callable reads features, is no null model and refuses nothing, unless it says otherwise by attributes of
    these names. Its `repr` is that of the callable, without an address. A PyG transform of positions, as KNNGraph,
    takes the features for them.
    """
    found = get_builder(builder, **options)
    return found if isinstance(found, GraphBuilder) else _PlainBuilder(found)


def list_nulls() -> list[str]:
    """List the names of builders that are null models, in alphabetical order."""
    return [name for name in list_builders() if _declared(find_builder(name), "is_null")]


class _PlainBuilder(GraphBuilder):
    """A callable `Data -> Data`: the one place that asks a foreign object what it declares."""

    def __init__(self, function: Callable[[Data], Any]) -> None:
        self.function = function
        for name in ("reads_features", "is_null", "equivariant"):
            setattr(self, name, bool(_declared(function, name)))

    # Not by way of PyG's `__call__`, which copies `data`: a callable is given, and gives back, the very objects.
    def __call__(self, data: Data) -> Any:
        if not isinstance(self.function, BaseTransform):
            return self.function(data)
        # Transforms of point clouds, as KNNGraph: here the features are the positions.
        points = "pos" not in data and data.get("x") is not None
        if points:
            data = copy.copy(data)
            data.pos = data.x
        try:
            made = self.function(data)
        except ImportError as error:
            raise ImportError(
                f"builder {self!r}: {error}; `cosine_knn` and `gaussian_knn` need no further library"
            ) from error
        except AssertionError as error:  # how PyG asks for a field
            said = f" ({error})" if str(error) else ""
            raise ValueError(
                f"builder {self!r} stopped at an assertion of PyG{said}: the data has the fields "
                f"{', '.join(sorted(data.keys()))}; what else it needs is set by a transform before it, in a Compose"
            ) from error
        if points and isinstance(made, Data) and "pos" in made:
            made = copy.copy(made)
            del made.pos
        return made

    forward = __call__

    def check_nodes(self, nodes: int) -> None:
        getattr(self.function, "check_nodes", super().check_nodes)(nodes)

    def scheme_refusal(self, scheme: str) -> str:
        return str(getattr(self.function, "scheme_refusal", super().scheme_refusal)(scheme) or "")

    @property
    def short_name(self) -> str:
        return name_of(self.function)

    def __repr__(self) -> str:
        return readable(self.function)


def _declared(of: Any, name: str) -> Any:
    return getattr(of, name, getattr(GraphBuilder, name))
