r"""Nodes of an adapter's parameters: the graph is that of the frozen matrix beside which they are trained.

With the update :math:`s B A` of a frozen W (out, in), the rows of B (out, rank) are the output features of W and the
columns of A (rank, in) its input features: the graph of W's rows acts on B, that of its columns on A. A vector with one
entry per output or input feature (a bias, a scale of IA3, the magnitude of DoRA) is a signal of width 1 on them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from torch import Tensor

from paramgraph.nodes import NodeTable, NumberedNames, ParameterSlice, expert_key
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.adapter_layers import AdapterPart

# So many times the rank of a low-rank filter make a complete basis that is no longer small beside a factor.
MANY_MODES = 4


@dataclass(frozen=True, repr=False)
class FactorTable(NodeTable):
    """Nodes of one factor, or of one vector, beside a frozen matrix.

    `measured` is the table of the frozen matrix from which the graph is built, and its scheme says which side. The
    adapter's layer has `layer_name` in `model.named_modules()`; `adapter` is "" for a bias of the model itself;
    `factors` are the names of B and A, and of E in AdaLoRA, empty for a vector. Two tables that differ in `text` alone
    are equal. The factors of the adapter of a stack of experts hold all of them: B is (out, rank x experts) and A
    (experts x rank, in), as PEFT has them, and `expert` says which of the `experts` this table is of.
    """

    measured: NodeTable
    layer_name: str
    adapter: str
    factors: tuple[str, ...] = ()
    text: str = field(default="", compare=False)
    expert: int = -1
    experts: int = 0

    def carrier(self, side: int) -> str:
        """Give the key of the table of a factor, B or A, of the same update."""
        return expert_key(self.factors[side], self.expert)

    def of_expert(self, B: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
        """View the factors of one update in what holds those of all experts, or of something of their shapes."""
        if self.expert < 0:
            return B, A
        of_all = B.view(len(B), -1, self.experts), A.view(self.experts, -1, A.shape[1])
        return of_all[0][..., self.expert], of_all[1][self.expert]

    def penalizes(self, config: SpectralConfig) -> bool:
        """Say whether the penalty of a config is taken with this table's graph.

        For a vector always; of two factors, for B with "rows", for A with "columns", for both with "entries", of whose
        tensor product B alone carries it.
        """
        if not self.factors or config.scheme == self.scheme:
            return True
        return config.scheme == "entries" and (config.product == "cartesian" or self.scheme == "rows")

    def carries_entries(self, config: SpectralConfig) -> bool:
        """Say whether this factor carries a penalty on all entries of the update, of a tensor product."""
        is_of_product = config.scheme == "entries" and config.product == "tensor"
        return config.penalty > 0 and bool(self.factors) and is_of_product and self.scheme == "rows"


def factor_table(
    measured: NodeTable, part: AdapterPart, shape: Sequence[int], layer_name: str
) -> FactorTable:
    """Make the table, of shape (nodes, rank) or (nodes, 1), of a factor or a vector on the nodes of a frozen matrix.

    `shape` is that of the factor: (nodes, rank) on rows, (rank, nodes) on columns; any shape of a vector. A ValueError
    where it has not equally many entries for each node.
    """
    if part.expert >= 0:
        return _expert_table(measured, part, tuple(shape), layer_name)
    nodes, size = measured.shape[0], tuple(shape)
    view = (nodes, 1) if not part.factors and prod(size) == nodes else size
    across = measured.scheme == "columns" and view != (nodes, 1)
    if len(view) != 2 or view[int(across)] != nodes:
        raise ValueError(
            f"{part.parameter!r} has the shape {size}, which does not fit the {nodes} "
            f"{measured.scheme} of {measured.group!r}"
        )
    entries = ParameterSlice(
        part.parameter, size, view, ((0, view[0]), (0, view[1])), (1, 0) if across else (0, 1), node_axes=1
    )
    return _of_part(measured, part, layer_name, entries, "[:, " if across else "[")


def _expert_table(
    measured: NodeTable, part: AdapterPart, shape: tuple[int, ...], layer_name: str
) -> FactorTable:
    """Cut the factor of one expert out of that of all: B (out, rank x experts), A (experts x rank, in)."""
    nodes, across, experts = measured.shape[0], measured.scheme == "columns", part.experts
    ranks, rest = divmod(shape[0] if across else shape[1], experts)
    if rest or nodes != (shape[1] if across else shape[0]):
        raise ValueError(
            f"{part.parameter!r} has the shape {shape}, which does not fit {experts} experts with {nodes} "
            f"{measured.scheme} as those of {measured.group!r}"
        )
    one = (part.expert, part.expert + 1)
    if across:
        entries = ParameterSlice(
            part.parameter,
            shape,
            (experts, ranks, nodes),
            (one, (0, ranks), (0, nodes)),
            (2, 0, 1),
            node_axes=1,
        )
    else:
        entries = ParameterSlice(
            part.parameter,
            shape,
            (nodes, ranks, experts),
            ((0, nodes), (0, ranks), one),
            (0, 1, 2),
            node_axes=1,
        )
    return _of_part(measured, part, layer_name, entries, "[")


def _of_part(
    measured: NodeTable, part: AdapterPart, layer_name: str, entries: ParameterSlice, before: str
) -> FactorTable:
    """Make the table of a part from its slice; `before` is what comes before the number of a node in its name."""
    key = expert_key(part.parameter, part.expert)
    return FactorTable(
        group=key,
        scheme=measured.scheme,
        slices=(entries,),
        names=NumberedNames(key + before, "]", range(measured.shape[0])),
        layer=measured.layer,
        head=measured.head,
        role=measured.role,
        measured=measured,
        layer_name=layer_name,
        adapter=part.adapter,
        factors=part.factors,
        text=part.text,
        expert=part.expert,
        experts=part.experts,
    )


def measured_table(table: NodeTable) -> NodeTable:
    """Give the table whose features a graph is built from: for a factor that of the frozen matrix, else itself."""
    return table.measured if isinstance(table, FactorTable) else table


def config_on(config: SpectralConfig, table: NodeTable) -> SpectralConfig:
    """Write a config as it acts on one table.

    The same one, but for a factor: scheme and source are those of its nodes, whose graph alone acts on it, and there is
    no penalty where that is taken with the other factor's graph. With scheme "entries" both have it, and B alone the
    ridge; of a tensor product B has the config as it is.
    """
    if not isinstance(table, FactorTable) or table.carries_entries(config):
        return config
    has_ridge = config.scheme != "entries" or not table.factors or table.scheme == "rows"
    source, options = config.source_on(table.scheme)
    return replace(
        config,
        scheme=table.scheme,
        source=source,
        source_options=options,
        column_source=None,
        column_source_options={},
        product="cartesian",
        energy=None,
        penalty=config.penalty if table.penalizes(config) else 0.0,
        ridge=config.ridge if has_ridge else 0.0,
    )


def keeps_few_modes(config: SpectralConfig, table: NodeTable) -> bool:
    """Say whether "auto" keeps `rank` modes beside a factor, where all modes are many times as large as it is.

    A factor of rank 8 on 1,536 nodes has 12 thousand entries, a complete basis 2.4 million. For smooth low-passes of a
    Laplacian alone, whose other modes are damped about as much as the last one that is kept.
    """
    return (
        isinstance(table, FactorTable)
        and config.has_filter
        and not config.runs_in_basis
        and config.filter_method == "auto"
        and config.shift == "laplacian"
        and config.response in ("tikhonov", "heat")
        and table.shape[0] > MANY_MODES * config.rank
    )


def told_factors(config: SpectralConfig, tables: Iterable[NodeTable]) -> tuple[str, ...]:
    """Say that a filter on all entries is another one on the factors of an adapter; nothing where there is none."""
    factors = any(isinstance(table, FactorTable) and table.factors for table in tables)
    if not (factors and config.scheme == "entries" and config.has_filter):
        return ()
    return (
        "of an adapter each factor is filtered by the graph of its own side, h(b_i) on B and h(a_j) on A: the joined "
        "eigenvalues, or measured energies, of the update's entries play no part in its filter",
    )
