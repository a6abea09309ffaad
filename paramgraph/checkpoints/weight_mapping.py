"""A model's weights by name, read one at a time, under the names that bare, task and wrapped models give them."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import WRAPPED

WRAPPER_PREFIXES = ("module.", "base_model.model.")


def plain_name(name: str) -> str:
    """Take out of a parameter's name what wrappers put into it.

    A leading "module." (data parallelism) and "base_model.model." (PEFT), and anywhere the parts "base_layer" (PEFT),
    "_orig_mod" (`torch.compile`), "_fsdp_wrapped_module" and "_checkpoint_wrapped_module".

    >>> plain_name("module.base_model.model.encoder.query.base_layer.weight")
    'encoder.query.weight'
    """
    plain = ".".join(part for part in name.split(".") if part not in WRAPPED)
    for prefix in WRAPPER_PREFIXES:
        plain = plain.removeprefix(prefix)
    return plain


class LastStack:
    """The last stack of experts that was read or computed: its experts ask for it one after the other.

    Holds one stack, and what it was made of.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._value: Tensor | None = None
        self._sources: tuple[Tensor, ...] = ()
        self._version = 0

    def of(
        self,
        key: tuple[object, ...],
        dimensions: int,
        make: Callable[[], Tensor],
        sources: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """Give what was made under this key, if it was the last; else make it, and keep it where it is a stack.

        `sources` are what it is made of: it is made anew where these are others, or where these or it have been changed
        in place.
        """
        # A tensor of inference mode does not count its changes.
        if dimensions != 3 or any(source.is_inference() for source in sources):
            return make()
        key = (*key, *((source.data_ptr(), source._version) for source in sources))
        kept = self._value
        if kept is None or self._key != key or kept._version != self._version:
            self._value, self._sources = None, ()  # before memory for the next is asked for
            kept = make()
            if not kept.is_inference():
                self._key, self._value, self._sources, self._version = key, kept, sources, kept._version
        return kept


class WeightMapping(Mapping[str, Tensor]):
    """Weights by name; a value is read when it is asked for and not kept.

    A name is looked up in three steps, and the first step that finds something decides: the name itself (or
    the name under which a tied weight was saved); the name without what wrappers add (`plain_name`); the names
    that are longer or shorter by one or two leading parts, such as "bert." or "model.", with at least two parts
    in common. A step that finds several raises.

    `source` says where the weights come from, for messages; `names` has each weight once; `read(name)` reads one;
    `aliases` are further names of tied weights, with the name in `names` that each of them has; `shape(name)` tells a
    shape without reading; `model` is the module, maybe without weights, whose names these are.

    >>> import torch
    >>> weights = WeightMapping("a model", ["bert.encoder.weight"], lambda name: torch.ones(2))
    >>> weights["encoder.weight"]
    tensor([1., 1.])
    >>> weights.resolve("module.bert.encoder.weight")
    'bert.encoder.weight'
    """

    def __init__(
        self,
        source: str,
        names: Iterable[str],
        read: Callable[[str], Tensor],
        aliases: Mapping[str, str] | None = None,
        shape: Callable[[str], tuple[int, ...]] | None = None,
        model: nn.Module | None = None,
    ) -> None:
        self.source = source
        self.model = model
        self.quantized = ""  # how, where its description says so
        # Kept by `correspond`, which is asked anew for each table. Any: the type stands above this one.
        self.correspondences: dict[int, Any] = {}
        self.last_stack = LastStack()  # of updates from here
        self._read = read
        self._shape = shape
        self._names = list(dict.fromkeys(names))
        self._exact = dict(aliases or {}) | {name: name for name in self._names}
        self._aliases: dict[str, list[str]] = {}
        self._plain: dict[str, list[str]] = {}
        self._endings: dict[str, list[str]] = {}
        for alias, name in self._exact.items():
            if alias != name:
                self._aliases.setdefault(name, []).append(alias)
            plain = plain_name(alias)
            _note(self._plain, plain, name)
            for ending in _endings(plain):
                _note(self._endings, ending, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source}, weights={len(self)})"

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __getitem__(self, name: str) -> Tensor:
        return self._read(self.resolve(name))

    @property
    def all_names(self) -> Mapping[str, str]:
        """Every name, those of tied weights included, with the one in the mapping that it stands for."""
        return self._exact

    def shape(self, name: str) -> tuple[int, ...]:
        """Give the shape of a weight; where no header knows it, the weight is read."""
        here = self.resolve(name)
        return tuple(self._read(here).shape) if self._shape is None else self._shape(here)

    def names_of(self, name: str) -> list[str]:
        """List all names of a weight: the one here that is given, and its others where it is tied."""
        return [name, *self._aliases.get(name, ())]

    def find(self, name: str) -> str | None:
        """Look up a name of this or a related model; None where nothing fits, a ValueError where several do."""
        if name in self._exact:
            return self._exact[name]
        plain = plain_name(name)
        shorter = [found for ending in _endings(plain) for found in self._plain.get(ending, [])]
        longer = self._endings.get(plain, []) if "." in plain else []
        for candidates in (self._plain.get(plain, []), list(dict.fromkeys([*shorter, *longer]))):
            if len(candidates) > 1:
                raise ValueError(
                    f"{name!r} could be {' or '.join(map(repr, candidates))} in {self.source}: give weights "
                    "whose names differ from the table's by at most one prefix"
                )
            if candidates:
                return candidates[0]
        return None

    def resolve(self, name: str) -> str:
        """Look up a name that must be there, as `find`; a KeyError lists near names."""
        found = self.find(name)
        if found is None:
            raise self.lacks(name)
        return found

    def lacks(self, name: str) -> KeyError:
        """Make the error for a name that should be there, with near names."""
        near = difflib.get_close_matches(name, self._exact, n=3)
        hint = f"near names: {', '.join(near)}" if near else f"it has {', '.join(self._names[:5]) or 'none'}"
        quantized = (
            f"; it is quantized ({self.quantized}): give dequantized weights" if self.quantized else ""
        )
        return KeyError(
            f"{self.source} has no parameter {name!r} ({len(self)} in all; {hint}); both must be checkpoints of one "
            f"architecture{quantized}"
        )


def wide_weight(weight: Tensor, name: str, source: WeightMapping) -> Tensor:
    """Give a weight in float32 (float64 for float64) to compute with; a TypeError refuses a quantized one."""
    # One byte per entry is a quantized weight: integers or float8, whose scales lie elsewhere.
    if not weight.is_floating_point() or weight.element_size() < 2:
        raise TypeError(
            f"{name!r} in {source.source} is stored as {weight.dtype}: a quantized weight has no difference; "
            "give dequantized weights"
        )
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32))


def _endings(name: str) -> list[str]:
    """Give the name without its first and without its first two parts, as far as two parts remain."""
    parts = name.split(".")
    return [".".join(parts[cut:]) for cut in (1, 2) if len(parts) - cut >= 2]


def _note(index: dict[str, list[str]], key: str, name: str) -> None:
    known = index.setdefault(key, [])
    if name not in known:
        known.append(name)
