r"""Deltas of a fine-tune, filtered: weight by weight, or, of a LoRA adapter, as factors of the same rank.

With :math:`\Delta = s B A` a filter on columns changes A alone, one on rows B alone:

.. math:: \Delta h(C) = s B (A h(C)), \qquad h(L) \Delta = s (h(L) B) A
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from paramgraph.checkpoints import (
    AdaptedWeights,
    ModuleWeights,
    plain_name,
    told,
    wide_weight,
)
from paramgraph.mapped_memory import MappedMemory
from paramgraph.nodes import NodeTable
from paramgraph.spectra import wide
from spectral_opt.functional import filter_in_place_of, match_norm
from spectral_opt.preparation import NUMERIC_FAILURES, PreparedTable, told_reasons
from spectral_opt.refinement._checkpoints import TunedCheckpoint
from spectral_opt.refinement._filters import RefinementFilters, ResponseFilters
from spectral_opt.refinement._matching import CheckpointMatch

# What becomes of weights that have a counterpart in the base and that no filter acts on.
Rest = Literal["tuned", "scaled", "base"]
# So many are named one by one.
FEW = 4
UNCHANGED = (
    "base and tuned are equal in all that is filtered: nothing was refined, the result is a copy of tuned"
)


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

    def in_base(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights that have a counterpart in the base, under its names."""
        for name, value in self._refined(list(self._tuned)):
            if name in self._match.origins:
                yield self._match.origins[name], value

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
                self._failures.add(place, ready, " ".join(str(error).split()))
                continue
            changed.update(table.parameters)
            for name in self._ranks.keys() & set(table.parameters) if config.scheme == "entries" else ():
                A, B, _, _ = _of_rank(filtered[name].flatten(1), self._ranks[name])
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


class Failures:
    """Why tables are left alone that a config targets: when graphs were built, or when a delta was filtered.

    Of tables of which tuned has a counterpart alone: what else the base has is told by the match.
    """

    def __init__(self, filters: RefinementFilters, match: CheckpointMatch) -> None:
        self._filters = filters
        self._found: dict[tuple[int, str], str] = {}
        for place, (tables, left) in enumerate(zip(filters.tables, filters.left, strict=True)):
            for ready in (*left.values(), *tables.values()):
                parts = {name: match.found.partners(name) for name in ready.table.parameters}
                lost = [name for name, partners in parts.items() if not partners]
                if not any(parts.values()):
                    continue
                if ready.operator is None:
                    self.add(place, ready, ready.reason)
                elif lost:
                    self.add(place, ready, f"tuned has no counterpart of {told(lost)}")

    def add(self, place: int, ready: PreparedTable, reason: str) -> None:
        """Note why the table of the config in a place has no filter."""
        group = ready.table.group
        if len(self._filters.configs) > 1:
            reason = f"on {ready.table.scheme}: {reason}"
        self._found[place, group] = reason.replace(f"table {group!r}: ", "")

    @property
    def reasons(self) -> dict[str, str]:
        """The reason for each table, by its group; those of several configs in one."""
        found: dict[str, list[str]] = {}
        for (_, group), reason in self._found.items():
            found.setdefault(group, []).append(reason)
        return {group: "; ".join(reasons) for group, reasons in found.items()}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to say, in one line."""
        return told_skipped(self.reasons)


def told_skipped(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Say which tables no filter acts on though they are targeted; nothing where there are none."""
    return (f"not filtered: {told_reasons(reasons)}",) if reasons else ()


def filtered_groups(filters: RefinementFilters, match: CheckpointMatch) -> Mapping[str, tuple[str, ...]]:
    """For each filtered parameter that has a match, list all that share tables with it, over all configs."""
    groups: dict[str, set[str]] = {}
    for tables in filters.tables:
        for ready in tables.values():
            if not match.names.keys() >= set(ready.table.parameters):
                continue  # something of it has no delta
            joined = set(ready.table.parameters).union(
                *(groups.get(name, ()) for name in ready.table.parameters)
            )
            groups |= dict.fromkeys(joined, joined)
    return {name: tuple(sorted(group)) for name, group in groups.items()}


def resting(match: CheckpointMatch, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Name the weights of tuned that have a counterpart in the base and that no filter acts on."""
    filtered = {tuned for name in groups for tuned in match.names[name]}
    return tuple(sorted(name for name in match.origins if name not in filtered))


def told_rest(dimensions: Mapping[str, int], rest: Rest, factor: float) -> tuple[str, ...]:
    """Say what becomes of the weights that no filter acts on, by their names; nothing where there are none."""
    done = {
        "tuned": "left as tuned, as no filter acts on it",
        "scaled": f"change scaled by {factor:.4g}, as the norm of the filtered ones was",
        "base": "given back to the base, as no filter acts on it",
    }[rest]
    # By their modules they would read as if the layers that are filtered were left out.
    vectors = [name for name, number in dimensions.items() if number < 2]
    if len(vectors) <= FEW:
        return (f"{done}: {told(list(dimensions))}",) if dimensions else ()
    others = told([name for name in dimensions if name not in vectors])
    vector_count = f"{len(vectors)} vectors, such as biases and norms"
    return (f"{done}: {vector_count}; {others}" if others else f"{done}: {vector_count}",)


def scale_tensors(tensors: Mapping[str, Tensor], names: Collection[str], factor: float) -> dict[str, Tensor]:
    """Multiply some tensors by a factor, as updates s B A are by multiplying B; all others are handed through."""
    chosen = set(names) if factor != 1 else set()
    return {
        name: (wide(value) * factor).to(value.dtype) if name in chosen else value
        for name, value in tensors.items()
    }


class RefinedFactors(NamedTuple):
    """An adapter's tensors, squared norms of its filtered updates before and after, and what a lower rank left out."""

    tensors: dict[str, Tensor]
    before: float
    after: float
    lost: float  # norm of what the rank could not hold over that of the filtered updates
    filtered: frozenset[str]  # weights on which a filter acts, whether there was an update to change or not
    rested: frozenset[str]  # weights of which no filter has changed anything, as each has failed


def refine_factors(
    adapter: AdaptedWeights, groups: Iterable[str], filters: ResponseFilters, failures: Failures
) -> RefinedFactors:
    r"""Filter the factors of an adapter, by weight; what fails is noted, and the weight has its factors.

    Tensors that no filter changes keep every bit. A filter on entries takes the product B A to any rank: kept is its
    best approximation of the rank that there was, :math:`\min_{\text{rank } r} |X - h(B A)|`.
    """
    tensors = {name: adapter.stored[name] for name in adapter.stored}
    before = after = lost = whole = 0.0
    acted, rested = set(), set()
    for weight in groups:
        pair = adapter.factor_names(weight)
        if pair is None:
            continue
        A, B = (wide(tensors[name]) for name in pair)
        scale = adapter.scaling(weight) ** 2
        start = _squared_norm(A, B)
        has_filter = False
        for place, ready in filters.acting([weight]):
            config = filters.owner.configs[place]
            if not math.isfinite(start):
                failures.add(place, ready, f"the factors of {weight} have numbers that are not finite")
                continue
            length = _squared_norm(A, B)
            try:
                graph_filter = filters.make(place, ready)
                if not graph_filter.is_identity:
                    A, B, all_of_it, left_out = _filtered(A, B, config.scheme, graph_filter)
                    whole, lost = whole + scale * all_of_it, lost + scale * left_out
            except NUMERIC_FAILURES as error:
                failures.add(place, ready, " ".join(str(error).split()))
                continue
            has_filter = True
            left = _squared_norm(A, B)
            if config.norm_matching and left > 0:
                A = A * math.sqrt(length / left)
        if not has_filter:
            rested.add(weight)
            continue
        acted.add(weight)
        before, after = before + scale * start, after + scale * _squared_norm(A, B)
        for name, value in zip(pair, (A, B), strict=True):
            old = tensors[name]
            tensors[name] = torch.where(wide(old) == value, old, value.to(old.dtype))
    share_lost = math.sqrt(lost / whole) if whole else 0.0
    return RefinedFactors(tensors, before, after, share_lost, frozenset(acted), frozenset(rested))


def _filtered(A: Tensor, B: Tensor, scheme: str, graph_filter: Any) -> tuple[Tensor, Tensor, float, float]:
    """Filter two factors; give with them the squared norm of the result before its rank was cut, and what was cut."""
    if scheme == "columns":
        return graph_filter(A.T.contiguous()).T.contiguous(), B, 0.0, 0.0
    if scheme == "rows":
        return A, graph_filter(B), 0.0, 0.0
    new_A, new_B, whole, lost = _of_rank(graph_filter(B.double() @ A.double()), len(A))
    A, B = torch.zeros_like(A), torch.zeros_like(B)  # a rank may be more than the smaller side
    A[: len(new_A)], B[:, : len(new_A)] = new_A.to(A), new_B.to(B)
    return A, B, whole, lost


def _of_rank(X: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    r"""Cut a matrix into factors A and B of a rank; give with them its squared norm, and what was cut of it.

    Of the smaller side, :math:`X X^T = U S^2 U^T`, the leading directions are kept: :math:`U_r U_r^T X`.
    Eigenvectors of that side took a quarter of the time of singular vectors of both (384 x 1536); sums are in float64.
    """
    is_tall = X.shape[0] > X.shape[1]
    wide_X = X.double().T if is_tall else X.double()
    squares, U = torch.linalg.eigh(wide_X @ wide_X.T)
    squares, U = squares.clamp(min=0).flip(0), U.flip(1)
    # The roots of the singular values on both sides.
    roots = squares[:rank].pow(0.25)
    first, second = U[:, :rank] * roots, U[:, :rank].T @ wide_X
    second = torch.where(roots > 0, 1 / roots, 0)[:, None] * second
    A, B = (first.T, second.T) if is_tall else (second, first)
    return A, B, float(squares.sum()), float(squares[rank:].sum())


def _squared_norm(A: Tensor, B: Tensor) -> float:
    """Compute |B A|^2 = tr(B^T B A A^T), rank x rank."""
    wide_A, wide_B = A.double(), B.double()
    return float(((wide_B.T @ wide_B) * (wide_A @ wide_A.T)).sum())
