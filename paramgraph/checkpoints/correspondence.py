"""Which tensor here is that tensor there: the names of a base and of a fine-tuned checkpoint, one to one or refused."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import nn

from paramgraph.checkpoints.names_on_disk import in_module_names
from paramgraph.checkpoints.weight_mapping import WeightMapping, plain_name

# Leading parts of a name by which a bare model and one around it differ, as "bert." or "model.language_model.".
LEADING_PARTS = 2
# Buffers that older versions of transformers saved and that models no longer have, by the last part of their names.
OLD_BUFFERS = frozenset(
    {
        "inv_freq",
        "original_inv_freq",
        "cos_cached",
        "sin_cached",
        "masked_bias",
        "position_ids",
        "token_type_ids",
        "relative_position_index",
        "num_batches_tracked",
        "version",
    }
)
# Parts of names by which PEFT keeps an adapter beside a weight, which without it is not what the model computes with.
ADAPTER_PARTS = re.compile(
    r"(^|\.)(lora_|ia3_|hada_|lokr_|oft_|boft_|vera_|randlora_|adaption_|modules_to_save\.)"
)
# More names of one kind are told by the module that they are in.
NAMED = 6


class _Prefixes(NamedTuple):
    """What leads the names of the part that both checkpoints have, in the base and in tuned."""

    base: str
    tuned: str


SAME = _Prefixes("", "")


@dataclass(frozen=True)
class Correspondence:
    """Names of a base beside those of a checkpoint that was tuned from it, one to one.

    Tied weights are found by each of their names. What only one side has is told: `strays` is what no task makes anew,
    so that the two are hardly states of one model, and `ignored` are old buffers, which `from_pretrained` leaves out.
    """

    base: WeightMapping
    tuned: WeightMapping  # under the names of its module, also where it was given under those on disk
    pairs: Mapping[str, str]  # from any name in the base to the one in tuned; shapes may differ
    base_only: tuple[str, ...]
    tuned_only: tuple[str, ...]
    ignored: tuple[str, ...]
    strays: tuple[str, ...]
    remarks: tuple[str, ...]

    def partners(self, name: str) -> tuple[str, ...]:
        """Name the tensors of tuned that belong to one of the base: none or one, or several if only the base ties."""
        aliases = self.base.names_of(self.base.resolve(name))
        return _each_once(self.tuned.all_names[self.pairs[alias]] for alias in aliases if alias in self.pairs)

    def origins(self, name: str) -> tuple[str, ...]:
        """Name the tensors of the base that belong to one of tuned: none or one, or several if only tuned ties."""
        aliases = self.tuned.names_of(self.tuned.resolve(name))
        return _each_once(
            self.base.all_names[self._backwards[alias]] for alias in aliases if alias in self._backwards
        )

    @cached_property
    def _backwards(self) -> dict[str, str]:
        return {after: before for before, after in self.pairs.items()}

    def partner(self, name: str) -> str:
        """Name the one tensor of tuned that belongs to a weight of the base.

        A KeyError says that tuned has none; a ValueError, that the base ties what are different weights in tuned.
        """
        found = self.partners(name)
        if not found:
            raise self.tuned.lacks(name)
        first = self.tuned[found[0]] if len(found) > 1 else None
        if first is not None and not all(torch.equal(first, self.tuned[other]) for other in found[1:]):
            raise ValueError(
                f"{' and '.join(map(repr, self.base.names_of(self.base.resolve(name))))} are one tied weight in "
                f"{self.base.source}, and different ones in {self.tuned.source}: which update is meant cannot be "
                "told; load the base untied (tie_word_embeddings=False), so that each has its own"
            )
        return found[0]


def correspond(base: WeightMapping, tuned: WeightMapping) -> Correspondence:
    """Find which tensor of a fine-tuned checkpoint belongs to which of its base, by their names alone.

    Names on disk are translated where one side has a module. Then names are equal, or those of the part that both have
    are led by one prefix on each side, such as "bert." and none; of the rest, equal names belong together. A ValueError
    says that a part fits several parts equally well, that each side has embeddings of its own, or that one has an
    adapter beside its weights.
    """
    found = tuned.correspondences.get(id(base))
    if found is None:  # the answer holds on to the base, so that no other one gets its id
        found = tuned.correspondences[id(base)] = base, _found(base, tuned)
    answer: Correspondence = found[1]
    return answer


def _found(base: WeightMapping, tuned: WeightMapping) -> Correspondence:
    tuned = in_module_names(tuned, base.model, prefixed=False)
    base = in_module_names(base, tuned.model, prefixed=False)
    here, there = _plain(base), _plain(tuned)
    prefixes = _common_part(here, there, base.source, tuned.source)
    pairs = {}
    for plain, name in here.items():
        other = prefixes.tuned + plain.removeprefix(prefixes.base) if plain.startswith(prefixes.base) else ""
        if other in there:
            pairs[name] = there[other]
    taken = set(pairs.values())
    pairs |= {
        name: there[plain]
        for plain, name in here.items()
        if name not in pairs and plain in there and there[plain] not in taken
    }
    return _described(base, tuned, pairs, prefixes)


def _plain(weights: WeightMapping) -> dict[str, str]:
    """Take out of all names what wrappers put into them; a ValueError where two tensors are then called the same."""
    found: dict[str, str] = {}
    for name, kept in weights.all_names.items():
        plain = plain_name(name)
        if plain in found and weights.all_names[found[plain]] != kept:
            raise ValueError(
                f"{weights.source} has both {found[plain]!r} and {name!r}, which are one name without what wrappers "
                "add: take one of them out"
            )
        found.setdefault(plain, name)
    return found


def _common_part(here: Mapping[str, str], there: Mapping[str, str], base: str, tuned: str) -> _Prefixes:
    """Choose the prefixes under which most names are equal; equal names go before others that are as many."""
    equal = sum(name in there for name in here)
    if equal == min(len(here), len(there)):
        return SAME
    counts = _counted_prefixes(here, there)
    counts[SAME] = equal
    most = max(counts.values())
    best = [prefixes for prefixes, count in counts.items() if count == most]
    if SAME in best:
        return SAME
    if len(best) > 1:
        examples = [_example(here, there, prefixes) for prefixes in best[:3]]
        raise ValueError(
            f"{' or '.join(repr(there) for there in _each_once(there for _, there in examples))} of {tuned} could be "
            f"{' or '.join(repr(here) for here in _each_once(here for here, _ in examples))} of {base}: give the part "
            "that was tuned as the base, or both under the same names"
        )
    return best[0]


def _example(here: Iterable[str], there: Collection[str], prefixes: _Prefixes) -> tuple[str, str]:
    """Find two names that are equal behind some prefixes."""
    return next(
        (name, other)
        for name in here
        if name.startswith(prefixes.base)
        and (other := prefixes.tuned + name.removeprefix(prefixes.base)) in there
    )


def _counted_prefixes(here: Iterable[str], there: Iterable[str]) -> Counter[_Prefixes]:
    """Count, for each pair of prefixes, the names that are equal behind them."""
    endings: dict[str, list[_Cut]] = {}
    for name in there:
        for rest, cut in _cuts(name):
            endings.setdefault(rest, []).append(cut)
    counts: Counter[_Prefixes] = Counter()
    for name in here:
        for rest, before in _cuts(name):
            for after in endings.get(rest, ()):
                one_sided = not before.prefix or not after.prefix
                # A common end of both belongs to the names behind them, and one layer is no prefix of another.
                if one_sided or not (before.of_a_layer or after.of_a_layer or before.last == after.last):
                    counts[_Prefixes(before.prefix, after.prefix)] += 1
    return counts


class _Cut(NamedTuple):
    prefix: str
    last: str

    @property
    def of_a_layer(self) -> bool:
        return self.last.isdecimal()


def _cuts(name: str) -> list[tuple[str, _Cut]]:
    """Cut a name behind none, one and two of its leading parts, as far as two parts remain: what is left, the cut."""
    parts = name.split(".")
    cuts = [(name, _Cut("", ""))]
    for length in range(1, min(LEADING_PARTS, len(parts) - 2) + 1):
        prefix = ".".join(parts[:length])
        cuts.append((".".join(parts[length:]), _Cut(f"{prefix}.", parts[length - 1])))
    return cuts


def _numbered(prefix: str) -> bool:
    return any(part.isdecimal() for part in prefix.split("."))


def _described(
    base: WeightMapping, tuned: WeightMapping, pairs: Mapping[str, str], prefixes: _Prefixes
) -> Correspondence:
    """Tell what only one side has, and whether a task makes it anew."""
    paired = {base.all_names[name] for name in pairs}
    paired_there = {tuned.all_names[name] for name in pairs.values()}
    base_only = [name for name in base if name not in paired]
    tuned_only = [name for name in tuned if name not in paired_there]
    for weights, names in ((base, base_only), (tuned, tuned_only)):
        beside = [name for name in names if ADAPTER_PARTS.search(name)]
        if beside:
            raise ValueError(
                f"{weights.source} has an adapter beside its weights ({told(beside)}), so these are not what it "
                "computes with: give the PeftModel or the folder of the adapter, or merge it (merge_and_unload)"
            )
    buffers = _buffers(base.model) | _buffers(tuned.model)
    patterns = _ignored_patterns(base.model) + _ignored_patterns(tuned.model)
    starts, starts_there = _starts(pairs), _starts(pairs.values())

    def parted(names: Iterable[str], weights: WeightMapping, starts: set[str]) -> tuple[list[str], list[str]]:
        read = [name for name in names if not _ends_with(name, buffers)]
        old = [name for name in read if _is_old_buffer(name, weights, starts, patterns)]
        return [name for name in read if name not in set(old)], old

    base_only, old = parted(base_only, base, starts)
    tuned_only, old_there = parted(tuned_only, tuned, starts_there)
    ignored = _each_once((*old, *old_there))
    inputs = [
        [name for name in names if _is_embedding(name, prefix)]
        for names, prefix in ((base_only, prefixes.base), (tuned_only, prefixes.tuned))
    ]
    if all(inputs):  # images here and words there
        raise ValueError(
            f"base and tuned are not two states of one model: {base.source} embeds by {told(inputs[0])}, and "
            f"{tuned.source} by {told(inputs[1])}; give the model from which the fine-tuning started"
        )
    strays = (
        *(name for name in base_only if _is_stray(name, starts, prefixes.base)),
        *(name for name in tuned_only if _is_stray(name, starts_there, prefixes.tuned)),
    )
    if not pairs or 2 * len(paired_there) < min(len(base), len(tuned)):
        strays = (*base_only, *tuned_only)
    remarks = []
    if prefixes != SAME:
        remarks.append(f"'{prefixes.base}*' of the base is '{prefixes.tuned}*' of tuned")
    if ignored:
        remarks.append(f"buffers of an older version, which the model does not read: {told(ignored)}")
    return Correspondence(
        base, tuned, pairs, tuple(base_only), tuple(tuned_only), ignored, strays, tuple(remarks)
    )


def told(names: Collection[str]) -> str:
    """List names, or, where they are many, the modules that they are in and how many are there."""
    if len(names) <= NAMED:
        return ", ".join(names)
    for depth in (3, 2, 1):
        modules = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(modules) <= NAMED:
            break
    shown = [f"{module} ({count})" for module, count in modules.items()]
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return ", ".join(shown[:NAMED]) + more


def _starts(names: Iterable[str]) -> set[str]:
    """Name all modules in which something of these names is."""
    found: set[str] = set()
    for name in names:
        parts = plain_name(name).split(".")
        found.update(".".join(parts[:length]) for length in range(1, len(parts)))
    return found


def _is_stray(name: str, starts: Collection[str], prefix: str) -> bool:
    """Tell whether a name lies inside of what both have: in a layer of theirs, or in a numbered one beside theirs."""
    plain = plain_name(name)
    if not plain.startswith(prefix):
        return False  # of another part: a second tower, or a head beside the part that both have
    parts = plain.split(".")
    module = next(
        (length for length in range(1, len(parts)) if ".".join(parts[:length]) not in starts), len(parts)
    )
    # A token for masks, or a temperature, is a task's; a bias beside a weight is not.
    beside = module == len(parts) and parts[-1] in ("weight", "bias")
    return beside or _numbered(".".join(parts[prefix.count(".") : module]))


def _is_embedding(name: str, prefix: str) -> bool:
    plain = plain_name(name)
    # Within the embeddings of the part that both have, and no token or scale there.
    return plain.startswith(prefix) and "embed" in plain.removeprefix(prefix) and plain.endswith(".weight")


def _buffers(model: nn.Module | None) -> set[str]:
    return set() if model is None else {plain_name(name) for name, _ in model.named_buffers()}


def _ends_with(name: str, known: Collection[str]) -> bool:
    plain = plain_name(name)
    return any(plain == each or plain.endswith(f".{each}") or each.endswith(f".{plain}") for each in known)


def _ignored_patterns(model: nn.Module | None) -> list[str]:
    """Patterns of names that a class of transformers leaves out when it loads."""
    return [str(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]


def _is_old_buffer(
    name: str, weights: WeightMapping, starts: Collection[str], patterns: Collection[str]
) -> bool:
    """Tell whether a name that the model lacks is a buffer of an older version of it, and no layer."""
    module, _, last = plain_name(name).rpartition(".")
    if last in OLD_BUFFERS:
        return True
    if last == "bias" and len(weights.shape(name)) == 4:  # a causal mask of all positions
        return True
    # In a module that is there: a pattern such as "attn.bias" would also take the bias of one layer more.
    return module in starts and any(re.search(pattern, name) for pattern in patterns)


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
