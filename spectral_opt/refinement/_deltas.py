"""The deltas of a fine-tune, filtered table by table while the checkpoint is read."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from paramgraph.checkpoints import ModuleWeights, plain_name, told, wide_weight
from paramgraph.errors import one_line
from paramgraph.mapped_memory import MappedMemory
from paramgraph.nodes import NodeTable
from paramgraph.spectra import wide
from spectral_opt.functional import filter_in_place_of, match_norm
from spectral_opt.preparation import NUMERIC_FAILURES, told_reasons
from spectral_opt.refinement._checkpoints import TunedCheckpoint
from spectral_opt.refinement._factors import of_rank
from spectral_opt.refinement._filters import ResponseFilters
from spectral_opt.refinement._left_alone import UNCHANGED, Failures, Rest, filtered_groups, resting, told_rest
from spectral_opt.refinement._matching import CheckpointMatch


class DeltaStream:
    """Refine a checkpoint while it is read: the delta of one table is in memory at a time.

    With a `factor` every delta that has a base is multiplied by it instead (WiSE-FT), of all weights. Without one,
    `rest` says what becomes of deltas that no filter acts on. `remarks` say what is left as tuned. `ranks` are those of
    an adapter's updates, to which filters on entries are cut as where it stays an adapter. A table whose delta cannot
    be filtered is `skipped`, with its reason; a ValueError at the end where that holds for all. With a `memory` what is
    made anew is in its files, so that a shard of many weights takes no memory.
    """

    def __init__(
        self,
        checkpoint: TunedCheckpoint,
        match: CheckpointMatch,
        filters: ResponseFilters,
        factor: float | None = None,
        remarks: tuple[str, ...] = (),
        rest: Rest = "tuned",
        ranks: Mapping[str, int] | None = None,
        memory: MappedMemory | None = None,
    ) -> None:
        self._given = remarks
        self._memory = memory
        self._ranks = ranks or {}
        self._rest: Rest = rest
        self._checkpoint = checkpoint
        self._match = match
        self._base, self._tuned = match.found.base, match.found.tuned
        self._filters = filters
        self._factor = factor
        self._before = self._after = 0.0
        self._groups = filtered_groups(filters.owner, match) if factor is None else {}
        self._resting = resting(match, self._groups) if factor is None else ()
        # Remarks are read after the checkpoint was closed.
        self._dimensions = {name: len(self._tuned.shape(name)) for name in self._resting}
        self._failures = Failures(filters.owner, match) if factor is None else None
        self._has_filtered = False

    @property
    def norm_kept(self) -> float:
        """Norm of the refined deltas over that of the deltas, of what was read so far; 1 where nothing changed."""
        return math.sqrt(self._after / self._before) if self._before else 1.0

    @property
    def skipped(self) -> Mapping[str, str]:
        """The tables that no filter acts on though they are targeted, each with its reason."""
        return {} if self._failures is None else self._failures.reasons

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is left as tuned and why, and what becomes of the deltas that no filter acts on."""
        told_failures = () if self._failures is None else self._failures.remarks
        rest = told_rest(self._dimensions, self._rest, self.rest_factor)
        return (*self._given, *told_failures, *rest)

    @cached_property
    def rest_factor(self) -> float:
        """What a delta that no filter acts on is multiplied by; for "scaled" all deltas are filtered once for it."""
        if self._rest != "scaled":
            return float(self._rest == "tuned")
        for group in dict.fromkeys(self._groups.values()):
            self._filtered(group, 1.0)
        kept = self.norm_kept
        self._before = self._after = 0.0
        return kept

    @property
    def unchanged(self) -> tuple[str, ...]:
        """What to say at the end where there was no delta to filter."""
        return () if self._before or self._factor is not None else (UNCHANGED,)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and weight: of a state dict under its own names, else under those of the model."""
        if not self._checkpoint.names:
            yield from self._refined(list(self._tuned))
        elif isinstance(self._tuned, ModuleWeights):  # a state dict under names on disk
            stored = self._tuned.stored
            for name, value in self._tuned.on_disk(self._refined(list(self._tuned))):
                yield from ((alias, value) for alias in stored.names_of(name))
        else:
            yield from self._refined(self._checkpoint.names)

    def in_base(self) -> Iterator[tuple[Sequence[str], Tensor]]:
        """Yield the weights that have counterparts in the base, of which one may be tied, each with its names there."""
        for name, value in self._refined(list(self._tuned)):
            if name in self._match.origins or name in self._match.tied:
                yield self._match.uses(name), value

    def on_disk(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what is written into files: under the names on disk, without what wrappers have put into them."""
        if not self._checkpoint.names and isinstance(self._tuned, ModuleWeights):
            return self._tuned.on_disk(self)
        return ((plain_name(name), value) for name, value in self)

    def _refined(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Refine weights in this order; of a tied one all names get one tensor."""
        of_tuned = {tuned: name for name, several in self._match.names.items() for tuned in several}
        last = {self._tuned.all_names[name]: name for name in names}
        rest = dict.fromkeys(self._resting, self.rest_factor) if self._resting else {}
        of_skipped = self.rest_factor if self._groups else 1.0
        ready: dict[str, Tensor] = {}
        for name in names:
            kept = self._tuned.all_names[name]
            own = of_tuned.get(kept)
            factor = self._factor if self._factor is not None else rest.get(kept, 1.0)
            if kept not in ready and factor != 1 and kept in self._match.origins:
                ready[kept] = self._put(self._scaled(kept, self._match.origins[kept], factor))
            elif kept not in ready and own is not None and own in self._groups:
                made = self._filtered(self._groups[own], of_skipped)
                ready |= {each: self._put(value) for each, value in made.items()}
            # Held for the other names of a tied weight, and no longer.
            value = ready.get(kept, None) if last[kept] != name else ready.pop(kept, None)
            if value is None:
                value = self._tuned[kept]
            if self._checkpoint.adapter is not None:
                value = value.to(
                    self._checkpoint.adapter.dtype(kept)
                )  # base and adapter were added in float32
            yield name, value
        if self._groups and not self._has_filtered:
            raise ValueError(f"nothing can be filtered: {told_reasons(self.skipped)}")

    def _put(self, value: Tensor) -> Tensor:
        return value if self._memory is None else self._memory.keep(value)

    def _scaled(self, name: str, origin: str, factor: float) -> Tensor:
        """Go from base to tuned by a factor, a weight that the base has."""
        return self._between(self._base[origin], origin, self._tuned[name], name, factor)

    def _between(self, start: Tensor, origin: str, end: Tensor, name: str, factor: float) -> Tensor:
        """Mix two weights; as torch.lerp, 0 and 1 give base and tuned without rounding."""
        wide_end = wide_weight(end, name, self._tuned)
        wide_start = wide_weight(start, origin, self._base).to(end.device)
        dtype = torch.promote_types(wide_start.dtype, wide_end.dtype)
        if factor == 0:  # of an end that is not finite too
            return wide_start.to(end.dtype, copy=True)
        return torch.lerp(wide_start.to(dtype), wide_end.to(dtype), factor).to(end.dtype)

    def _filtered(self, group: tuple[str, ...], rest: float) -> dict[str, Tensor]:
        """Filter the deltas of parameters that share tables; what is tied in the base alone is equal in tuned."""
        ends = {name: self._tuned[self._match.names[name][0]] for name in group}
        starts = {name: self._base[name] for name in group}
        made = (
            {name: self._filtered_stack(name, starts[name], ends[name], rest) for name in group}
            if self._filters.owner.is_by_expert(group)
            else self._filtered_values(starts, ends, rest)
        )
        refined: dict[str, Tensor] = {}
        for name, value in made.items():
            first, *others = self._match.names[name]
            # Two weights of tuned have two tensors, or a file would hold one of them alone.
            refined |= {first: value} | {other: value.clone() for other in others}
        return refined

    def _filtered_stack(self, name: str, start: Tensor, end: Tensor, rest: float) -> Tensor:
        """Filter the deltas of a stack, with that of one expert in memory at a time."""
        made = torch.empty_like(end, memory_format=torch.contiguous_format)
        for expert in range(len(end)):
            one = slice(expert, expert + 1)
            made[one] = self._filtered_values({name: start[one]}, {name: end[one]}, rest, expert)[name]
        return made

    def _filtered_values(
        self,
        starts: Mapping[str, Tensor],
        ends: Mapping[str, Tensor],
        rest: float,
        expert: int | None = None,
    ) -> dict[str, Tensor]:
        """Filter deltas by the names of the base, or of one expert's; one without a filter is multiplied by `rest`."""
        delta = {
            name: wide_weight(end, self._match.names[name][0], self._tuned)
            - wide_weight(starts[name], name, self._base).to(end.device)
            for name, end in ends.items()
        }
        broken = [name for name, value in delta.items() if not bool(torch.isfinite(value).all())]
        filtered: dict[str, Tensor] = delta
        changed: set[str] = set()
        assert self._failures is not None, "nothing is filtered beside a factor"
        for place, ready in self._filters.acting(ends.keys(), expert):
            table = ready.table if expert is None else _of_one_expert(ready.table)
            before, config = filtered, self._filters.owner.configs[place]
            odd = [name for name in broken if name in table.parameters]
            if odd:
                self._failures.add(
                    place, ready, f"{told(odd)} has numbers that are not finite, here or in the base"
                )
                continue
            try:
                graph_filter = self._filters.make(place, ready)
                filtered = before | filter_in_place_of(before, table, graph_filter, config.norm_matching)
            except NUMERIC_FAILURES as error:
                self._failures.add(place, ready, one_line(error))
                continue
            changed.update(table.parameters)
            for name in self._ranks.keys() & set(table.parameters) if config.scheme == "entries" else ():
                A, B, _, _ = of_rank(filtered[name].flatten(1), self._ranks[name])
                cut = (B @ A).to(filtered[name].dtype).view_as(filtered[name])
                filtered[name] = match_norm(cut, before[name]) if config.norm_matching else cut
        made = {}
        for name, end in ends.items():
            tuned_name = self._match.names[name][0]
            if name not in changed:
                whole = expert is None
                self._dimensions[tuned_name if whole else f"{tuned_name}[{expert}]"] = end.ndim
                made[name] = end if rest == 1 else self._between(starts[name], name, end, tuned_name, rest)
                continue
            self._has_filtered = True
            self._before += float(delta[name].double().square().sum())
            self._after += float(filtered[name].double().square().sum())
            change = filtered[name] - delta[name]
            # Where the filter changes nothing, tuned stays tuned bit for bit.
            made[name] = torch.where(change == 0, end, (wide(end.detach()) + change).to(end.dtype))
        return made


def _of_one_expert(table: NodeTable) -> NodeTable:
    """Make the table of one expert on its own matrix, as a stack of one."""
    (part,) = table.slices
    alone = replace(
        part,
        shape=(1, *part.shape[1:]),
        view=(1, *part.view[1:]),
        bounds=((0, 1), *part.bounds[1:]),
    )
    return replace(table, slices=(alone,))
