"""The filters of a refinement: one for each table, config and response, made when they are first needed."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import nn

from paramgraph.filters import Response, get_response
from paramgraph.mapped_memory import MappedMemory
from paramgraph.measures import second_moments
from paramgraph.sources import Batches, Loss, checkpointed_blocks
from paramgraph.spectra import Null, ShiftOperator, Spectrum, null_operator
from paramgraph.workers import CallWorkers
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import (
    UNREACHED,
    EntryOperator,
    PreparedTable,
    filter_spectrum,
    is_moment_gram,
    listed,
    make_filter,
    match_tables,
    prepare_tables,
    source_of,
    table_left_alone,
    told_in_common,
    told_reasons,
    told_texts,
)

# A layer of a transformer has four different inputs.
KEPT = 4
Tables = Mapping[str, PreparedTable]


class RefinementFilters:
    """Operators of every table of every config, built in one pass over its batches, and the filters on them.

    Memory 8 nodes^2 bytes for each dense graph, one for all layers that read the same input; as much again for
    eigenvectors, which are computed at the first response that needs them and kept. Tables without an operator are
    `left` alone, each for its reason; a ValueError where a config has no others. With a `memory` graphs and
    eigenvectors are in its files.
    """

    def __init__(
        self, configs: Sequence[SpectralConfig], tables: Sequence[Tables], memory: MappedMemory | None = None
    ) -> None:
        self.configs = tuple(configs)
        self._memory = memory
        self.tables: tuple[Tables, ...] = tuple(
            {group: ready for group, ready in found.items() if ready.operator is not None} for found in tables
        )
        self.left: tuple[Tables, ...] = tuple(
            {group: ready for group, ready in found.items() if ready.operator is None} for found in tables
        )
        for filtered, left in zip(self.tables, self.left, strict=True):
            if left and not filtered:
                reasons = {group: ready.reason for group, ready in left.items()}
                raise ValueError(f"nothing can be filtered: {told_reasons(reasons)}")
        self._spectra: dict[int, Spectrum | None] = {}

    @classmethod
    def build(
        cls,
        model: nn.Module,
        configs: Sequence[SpectralConfig],
        sets: Mapping[str, Batches],
        loss: Loss | None = None,
        memory: MappedMemory | None = None,
        workers: CallWorkers | None = None,
    ) -> "RefinementFilters":
        """Build the operators of every table from the calibration sets; with a `memory` in that of one block."""
        with nullcontext() if memory is None else checkpointed_blocks(model):
            tables = [_operators(model, config, sets, loss, memory, workers) for config in configs]
        return cls(configs, tables, memory)

    def null(self, kind: Null, seed: int) -> "RefinementFilters":
        """Give the same tables with a null of each operator; tables that share one share its null."""
        made: dict[int, ShiftOperator | EntryOperator] = {}
        tables = []
        for of_config in self.tables:
            found = {}
            for group, ready in of_config.items():
                operator = ready.operator
                assert operator is not None, "tables without one are left alone"
                if id(operator) not in made:
                    made[id(operator)] = _null_of(operator, kind, seed)
                found[group] = replace(
                    ready, operator=made[id(operator)], reason=f"{ready.reason}; {kind}, seed {seed}"
                )
            tables.append(found)
        return RefinementFilters(
            self.configs, [found | dict(left) for found, left in zip(tables, self.left, strict=True)]
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of what the graphs were measured from, each once."""
        found = (remark for tables in self.tables for ready in tables.values() for remark in ready.remarks)
        return tuple(dict.fromkeys(found))

    @cached_property
    def acting(self) -> Mapping[str, Sequence[tuple[int, PreparedTable]]]:
        """List for each parameter the tables that act on it, in the order of the configs, with the config's place."""
        found: dict[str, list[tuple[int, PreparedTable]]] = {}
        for place, tables in enumerate(self.tables):
            for ready in tables.values():
                for name in ready.table.parameters:
                    found.setdefault(name, []).append((place, ready))
        return found

    def is_by_expert(self, parameters: Collection[str]) -> bool:
        """Whether these are one stack of experts, of which every table lies in one expert."""
        acting = [ready for name in parameters for _, ready in self.acting.get(name, ())]
        return len(parameters) == 1 and all(ready.table.expert >= 0 for ready in acting)

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
        if id(operator) not in self._spectra:
            found = filter_spectrum(operator, config)
            if found is not None and self._memory is not None:
                found = replace(found, eigenvectors=self._memory.keep(found.eigenvectors))
            self._spectra[id(operator)] = found
        return self._spectra[id(operator)]


class ResponseFilters:
    """Filters of all tables for one response each; the filter of an operator that tables share is kept."""

    def __init__(self, filters: RefinementFilters, responses: Sequence[Any]) -> None:
        self.owner = filters
        self._responses = responses
        self._last: dict[tuple[int, int], Any] = {}

    def acting(
        self, parameters: Collection[str], expert: int | None = None
    ) -> list[tuple[int, PreparedTable]]:
        """List the tables that act on these parameters alone, in the order of the configs, with the config's place.

        Of a stack of experts those of one `expert` alone.
        """
        found = {
            (place, ready.table.group): (place, ready)
            for name in parameters
            for place, ready in self.owner.acting.get(name, ())
            if set(parameters).issuperset(ready.table.parameters)
            and (expert is None or ready.table.expert == expert)
        }
        return sorted(found.values(), key=lambda each: each[0])

    def make(self, place: int, ready: PreparedTable) -> Any:
        """Make the filter of a table by the config in this place; kept for the tables that share its operator."""
        return self._filter(place, self.owner.configs[place], ready.operator)

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
    model: nn.Module,
    config: SpectralConfig,
    sets: Mapping[str, Batches],
    loss: Loss | None,
    memory: MappedMemory | None,
    workers: CallWorkers | None,
) -> dict[str, PreparedTable]:
    """Build operators alone: no filter, and no check of a penalty that is not used."""
    bare = replace(config, penalty=0.0, placement=None)
    tables, _ = match_tables(model, bare)
    if not is_moment_gram(config, config.scheme):
        ready_tables = prepare_tables(model, bare, tables, sets, loss, memory=memory, workers=workers)
        return {ready.table.group: ready for ready in ready_tables}
    source, options = source_of(model, config, config.scheme)
    assert isinstance(source, str), "moments are of a source by name"
    batches = listed(sets[config.batches])
    left: dict[str, str] = {}
    moments = second_moments(model, tables, source, batches, loss, options, left.__setitem__, memory)
    remarks = told_texts(model, config, batches) + told_in_common(workers)
    what = "the layer's inputs" if source == "activations" else "output gradients"
    # The moments hold what each null is made of, so that no two have one id; tables that share one share its null.
    nulls: dict[int, ShiftOperator] = {}
    null = config.null
    assert null != "random", "of no Gram matrix"
    how = "" if null is None else f"; {null}, seed {config.seed}"
    found = {}
    nothing = "all its inputs are zero on these texts" if source == "activations" else UNREACHED
    for group, table in tables.items():
        if group in left or moments.is_zero(group):
            found[group] = table_left_alone(table, table.shape[0], left.get(group, nothing))
            continue
        operator = moments.operator(group)
        edges = operator.nodes * (operator.nodes - 1) // 2
        if null is not None:
            if id(operator) not in nulls:
                nulls[id(operator)] = null_operator(operator, null, config.seed)
            operator = nulls[id(operator)]
        found[group] = PreparedTable(
            table,
            operator.nodes,
            edges,
            operator.components,
            operator,
            None,
            0.0,
            f"Gram matrix of {what}{how}",
            remarks=remarks,
        )
    return found
