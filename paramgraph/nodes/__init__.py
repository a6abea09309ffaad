"""Nodes: which slice of which parameter each node of a graph is.

Rules for targets choose linear layers (`matched_layers`), a scheme cuts their matrices, and each group of nodes is a
`NodeTable`, a frozen value of slices. A table gathers parameters into one matrix X with a row per node, and scatters
such a matrix back: everything later works on X and never on the model.

- Tables: `node_tables`, and `rows`, `columns`, `blocks`, `heads`, `layers`; `NodeTable`, made of `ParameterSlice`s;
  `one_table`; `TableAssembly` gathers from parameters that come one at a time; `ParameterGraph`, the `Data` they make;
  `NumberedNames` of nodes, written when they are read.
- Schemes: `SCHEMES`, the table of `Scheme` values, and `list_schemes`. A new scheme is one value in it.
- Layers: `Targets`, and `targets_of_words` of a command line; `matched_layers` and `linear_layers`; `weighted_layers`
  without a rule; `LinearLayer`; `depth_of` and `role_of` read names; `storage_key` finds tied weights, `is_quantized`
  what is stored otherwise; `expert_key` names an expert's matrix; `HEAD_NAMES` of heads that are made for a task.
- How much of a model that is: `coverage`, a `Coverage` with what is left out and why.
- Wrapped models: `unwrap`, `bare_names`, and the names of wrappers, `WRAPPED`.
- Inside, for tests: `attention_module` and `is_attention`, and the `FUSED` projections that they know.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.nodes._attention_layout import attention_module as attention_module
    from paramgraph.nodes._attention_names import FUSED as FUSED, is_attention as is_attention
    from paramgraph.nodes._numbered_names import NumberedNames as NumberedNames
    from paramgraph.nodes.assembly import TableAssembly as TableAssembly
    from paramgraph.nodes.linear_modules import (
        LinearLayer as LinearLayer,
        depth_of as depth_of,
        role_of as role_of,
        storage_key as storage_key,
        weighted_layers as weighted_layers,
    )
    from paramgraph.nodes.schemes import (
        SCHEMES as SCHEMES,
        Scheme as Scheme,
        blocks as blocks,
        columns as columns,
        heads as heads,
        layers as layers,
        list_schemes as list_schemes,
        node_tables as node_tables,
        rows as rows,
    )
    from paramgraph.nodes.slices import (
        ParameterSlice as ParameterSlice,
        expert_key as expert_key,
        is_quantized as is_quantized,
    )
    from paramgraph.nodes.table import (
        NodeTable as NodeTable,
        ParameterGraph as ParameterGraph,
        one_table as one_table,
    )
    from paramgraph.nodes.targets import (
        HEAD_NAMES as HEAD_NAMES,
        Targets as Targets,
        linear_layers as linear_layers,
        matched_layers as matched_layers,
        targets_of_words as targets_of_words,
    )
    from paramgraph.nodes.weight_coverage import Coverage as Coverage, coverage as coverage
    from paramgraph.nodes.wrapping import WRAPPED as WRAPPED, bare_names as bare_names, unwrap as unwrap

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
