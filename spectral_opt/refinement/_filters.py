"""The filters of a refinement: one for each table, config and response, made when they are first needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from paramgraph.filters import EXACT_NODES, Response, get_response, pairs_for_rank
from paramgraph.measures import second_moments
from paramgraph.sources import Batches, Loss
from paramgraph.spectra import Null, ShiftOperator, Spectrum, eigenpairs, null_operator
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import (
    EntryOperator,
    PreparedTable,
    is_moment_gram,
    listed,
    make_filter,
    match_tables,
    prepare_tables,
    source_of,
    told_texts,
)

# A layer of a transformer has four different inputs.
KEPT = 4


class RefinementFilters:
    """Operators of every table of every config, built in one pass over its batches, and the filters on them.

    Memory 8 nodes^2 bytes for each dense graph, one for all layers that read the same input; as much again for
    eigenvectors, which are computed at the first response that needs them and kept.
    """

    def __init__(
        self, configs: Sequence[SpectralConfig], tables: Sequence[Mapping[str, PreparedTable]]
    ) -> None:
        self.configs = tuple(configs)
        self.tables = tuple(tables)
        self._spectra: dict[int, Spectrum | None] = {}

    @classmethod
    def build(
        cls,
        model: nn.Module,
        configs: Sequence[SpectralConfig],
        sets: Mapping[str, Batches],
        loss: Loss | None = None,
    ) -> "RefinementFilters":
        """Build the operators of every table from the calibration sets."""
        return cls(configs, [_operators(model, config, sets, loss) for config in configs])

    def null(self, kind: Null, seed: int) -> "RefinementFilters":
        """Give the same tables with a null of each operator; tables that share one share its null."""
        made: dict[int, ShiftOperator | EntryOperator] = {}
        tables = []
        for of_config in self.tables:
            found = {}
            for group, ready in of_config.items():
                operator = ready.operator
                assert operator is not None, "a refinement has no config without a builder"
                if id(operator) not in made:
                    made[id(operator)] = _null_of(operator, kind, seed)
                found[group] = replace(
                    ready, operator=made[id(operator)], reason=f"{ready.reason}; {kind}, seed {seed}"
                )
            tables.append(found)
        return RefinementFilters(self.configs, tables)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of what the graphs were measured from, each once."""
        found = (remark for tables in self.tables for ready in tables.values() for remark in ready.remarks)
        return tuple(dict.fromkeys(found))

    def of(self, responses: Sequence[Any] | None = None) -> "ResponseFilters":
        """Give the filters of one strength: one response for each config, or the configs' own."""
        if isinstance(responses, str) or not isinstance(responses, Sequence | None):
            raise TypeError(f"responses is {responses!r}; give a list with one response for each config")
        if responses is not None and len(responses) != len(self.configs):
            raise ValueError(f"{len(responses)} responses for {len(self.configs)} configs; give one for each")
        chosen = [config.make_response() for config in self.configs]
        if responses is not None:
            chosen = [get_response(response) for response in responses]
        return ResponseFilters(self, chosen)

    def spectrum(self, operator: Any, config: SpectralConfig) -> Spectrum | None:
        """Give the eigenpairs that a config's filter needs, computed once for each operator; None: it needs none."""
        if not isinstance(operator, ShiftOperator):
            return None
        method = config.filter_method
        complete = method == "exact" or (method == "auto" and operator.nodes <= EXACT_NODES)
        if not complete and method != "lowrank":
            return None
        if id(operator) not in self._spectra:
            pairs = (
                operator.nodes
                if complete
                else pairs_for_rank(min(config.rank, operator.nodes), operator.nodes, config.tail)
            )
            self._spectra[id(operator)] = eigenpairs(operator, k=pairs or None, seed=config.seed)
        return self._spectra[id(operator)]


class ResponseFilters:
    """Filters of all tables for one response each; the filter of an operator that tables share is kept."""

    def __init__(self, filters: RefinementFilters, responses: Sequence[Any]) -> None:
        self.owner = filters
        self._responses = responses
        self._last: dict[tuple[int, int], Any] = {}

    def acting(self, parameters: Sequence[str]) -> Iterator[tuple[SpectralConfig, PreparedTable, Any]]:
        """Yield config, table and filter for what acts on some parameters, in the order of the configs."""
        wanted = set(parameters)
        for place, (config, tables) in enumerate(zip(self.owner.configs, self.owner.tables, strict=True)):
            for ready in tables.values():
                if wanted.issuperset(ready.table.parameters):
                    yield config, ready, self._filter(place, config, ready.operator)

    def _filter(self, place: int, config: SpectralConfig, operator: Any) -> Any:
        key = place, id(operator)
        if key not in self._last:
            # Tables that share an operator are near each other; a factor of every one would fill the memory.
            for old in list(self._last)[: max(0, len(self._last) + 1 - KEPT)]:
                del self._last[old]
            self._last[key] = self._make(config, operator, self._responses[place])
        return self._last[key]

    def _make(self, config: SpectralConfig, operator: Any, response: Any) -> Any:
        # A factor costs a twentieth of all eigenpairs of 1,536 nodes, so it wins for any sweep of usual length.
        if config.filter_method == "auto" and _is_solved_best(operator, response):
            return make_filter(operator, replace(config, filter_method="solve"), response)
        return make_filter(operator, config, response, self.owner.spectrum(operator, config))


def _null_of(operator: ShiftOperator | EntryOperator, kind: Null, seed: int) -> ShiftOperator | EntryOperator:
    if isinstance(operator, EntryOperator):
        return EntryOperator(null_operator(operator.operator, kind, seed))
    return null_operator(operator, kind, seed)


def _is_solved_best(operator: Any, response: Any) -> bool:
    linear = isinstance(response, Response) and response.name in ("tikhonov", "identity")
    return linear and isinstance(operator, ShiftOperator) and operator.is_dense


def _operators(
    model: nn.Module, config: SpectralConfig, sets: Mapping[str, Batches], loss: Loss | None
) -> dict[str, PreparedTable]:
    """Build operators alone: no filter, and no check of a penalty that is not used."""
    bare = replace(config, penalty=0.0, placement=None)
    tables, _ = match_tables(model, bare)
    if not is_moment_gram(config, config.scheme):
        ready = prepare_tables(model, bare, tables, sets, loss)
        return {table.table.group: table for table in ready if table.operator is not None}
    source, options = source_of(model, config, config.scheme)
    assert isinstance(source, str), "moments are of a source by name"
    batches = listed(sets[config.batches])
    moments = second_moments(model, tables, source, batches, loss, options)
    remarks = told_texts(model, config, batches)
    # A layer of which every input is zero is a mistake of the user's; one that no gradient reaches is a head.
    live = [group for group in tables if source == "activations" or not moments.is_zero(group)]
    operators = {group: moments.operator(group) for group in live}
    return {
        group: PreparedTable(
            tables[group],
            operator.nodes,
            operator.nodes * (operator.nodes - 1) // 2,
            operator.components,
            operator,
            None,
            0.0,
            "Gram matrix of the layer's inputs"
            if source == "activations"
            else "Gram matrix of output gradients",
            remarks=remarks,
        )
        for group, operator in operators.items()
    }
