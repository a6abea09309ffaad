"""Nodes: which slice of which parameter each node of a graph is."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.nodes._head_scheme import heads as heads
    from paramgraph.nodes._matrix_schemes import blocks as blocks, columns as columns, rows as rows
    from paramgraph.nodes.assembly import TableAssembly as TableAssembly
    from paramgraph.nodes.graph_data import ParameterGraph as ParameterGraph
    from paramgraph.nodes.layer_scheme import layers as layers
    from paramgraph.nodes.linear_modules import (
        LinearLayer as LinearLayer,
        depth_of as depth_of,
        role_of as role_of,
        storage_key as storage_key,
        weighted_layers as weighted_layers,
    )
    from paramgraph.nodes.schemes import (
        SCHEMES as SCHEMES,
        list_schemes as list_schemes,
        node_tables as node_tables,
    )
    from paramgraph.nodes.slices import ParameterSlice as ParameterSlice
    from paramgraph.nodes.table import NodeTable as NodeTable, one_table as one_table
    from paramgraph.nodes.targets import (
        HEAD_NAMES as HEAD_NAMES,
        Targets as Targets,
        linear_layers as linear_layers,
        matched_layers as matched_layers,
    )
    from paramgraph.nodes.wrapping import WRAPPED as WRAPPED, bare_names as bare_names, unwrap as unwrap

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
