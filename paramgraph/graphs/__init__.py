"""Graphs: what a graph of parameters is, and how one comes to be.

Nodes with their features come as a PyG `Data`; a builder gives them edges; what comes out is undirected, both
directions stored and sorted, without loops (`paramgraph.graphs.contract` says all of it, `check_graph` holds it).
How strongly two nodes are linked is computed in `paramgraph.graphs.affinity`.

- To write a builder: `GraphBuilder` says what it declares and `NullModel` is one around another; `register` names it;
  `count_nodes`, `undirected_graph`, `dense_graph` and `unit_weights` make its result from a `Data`, and `with_edges`
  of edges that are complete already.
- To find one: `list_builders`, `list_nulls`, `get_builder`, `builder_options`, `find_builder`, and `as_builder`, which
  makes any callable, a `BuilderLike`, a `GraphBuilder`.
- A graph: `is_signed`, `roles_of` its nodes, `stated_weights` of its edges, `check_graph`, `symmetrize`,
  `connected_components`, `component_labels`, `strongest_neighbourhood`.
- As a matrix, or for networkx: `graph_to_scipy`, `graph_from_scipy`, `graph_to_networkx`, `graph_from_networkx`;
  `weight_matrix` of whatever is a `GraphLike`, its `edge_part`, a `compact` `Matrix`, and its `narrow_indices`.
- What several builders share: `layer_places`, `node_field`, `pairs_apart`, `rewired_pairs`, `random_rotation`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from torch_geometric.data import Data as Data

    from paramgraph.graphs.builder import (
        GraphBuilder as GraphBuilder,
        NullModel as NullModel,
        as_builder as as_builder,
        list_nulls as list_nulls,
    )
    from paramgraph.graphs.contract import (
        check_graph as check_graph,
        count_nodes as count_nodes,
        dense_graph as dense_graph,
        is_signed as is_signed,
        roles_of as roles_of,
        stated_weights as stated_weights,
        undirected_graph as undirected_graph,
        unit_weights as unit_weights,
        with_edges as with_edges,
    )
    from paramgraph.graphs.conversion import (
        GraphLike as GraphLike,
        Matrix as Matrix,
        compact as compact,
        edge_part as edge_part,
        graph_from_networkx as graph_from_networkx,
        graph_from_scipy as graph_from_scipy,
        graph_to_networkx as graph_to_networkx,
        graph_to_scipy as graph_to_scipy,
        narrow_indices as narrow_indices,
        weight_matrix as weight_matrix,
    )
    from paramgraph.graphs.layer_order import (
        layer_places as layer_places,
        node_field as node_field,
        pairs_apart as pairs_apart,
    )
    from paramgraph.graphs.parts import (
        component_labels as component_labels,
        connected_components as connected_components,
        strongest_neighbourhood as strongest_neighbourhood,
    )
    from paramgraph.graphs.registry import (
        BuilderLike as BuilderLike,
        builder_options as builder_options,
        find_builder as find_builder,
        get_builder as get_builder,
        list_builders as list_builders,
        register as register,
    )
    from paramgraph.graphs.repair import symmetrize as symmetrize
    from paramgraph.graphs.rewiring import rewired_pairs as rewired_pairs
    from paramgraph.graphs.rotation import random_rotation as random_rotation

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
