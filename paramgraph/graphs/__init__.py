"""Graphs: the contract of a graph of parameters, its checks and repairs, and the names of builders."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.graphs._weight_matrix import (
        GraphLike as GraphLike,
        Matrix as Matrix,
        compact as compact,
        edge_part as edge_part,
        weight_matrix as weight_matrix,
    )
    from paramgraph.graphs.builder_arguments import (
        arguments_of as arguments_of,
        check_arguments as check_arguments,
    )
    from paramgraph.graphs.contract import (
        check_graph as check_graph,
        count_nodes as count_nodes,
        dense_graph as dense_graph,
        undirected_graph as undirected_graph,
        unit_weights as unit_weights,
    )
    from paramgraph.graphs.conversion import (
        graph_from_networkx as graph_from_networkx,
        graph_from_scipy as graph_from_scipy,
        graph_to_networkx as graph_to_networkx,
        graph_to_scipy as graph_to_scipy,
    )
    from paramgraph.graphs.layer_order import (
        layer_places as layer_places,
        node_field as node_field,
        pairs_apart as pairs_apart,
    )
    from paramgraph.graphs.neighbourhood import strongest_neighbourhood as strongest_neighbourhood
    from paramgraph.graphs.null_model import NullModel as NullModel
    from paramgraph.graphs.registry import (
        builder_options as builder_options,
        check_inner_nodes as check_inner_nodes,
        find_builder as find_builder,
        get_builder as get_builder,
        list_builders as list_builders,
        name_of as name_of,
        register as register,
    )
    from paramgraph.graphs.repair import (
        connected_components as connected_components,
        symmetrize as symmetrize,
    )
    from paramgraph.graphs.rewiring import rewired_pairs as rewired_pairs

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
