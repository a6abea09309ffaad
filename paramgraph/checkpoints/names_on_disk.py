"""Names on disk: what transformers renames, merges and splits between a model's files and its modules.

Its own rules are followed, as `from_pretrained` and `save_pretrained` do: they are looked up for the model's class, and
no architecture is named here.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.checkpoints.weight_mapping import LastStack, WeightMapping, plain_name
from paramgraph.nodes import storage_key, unwrap

# How a tensor is converted: transformers' own class, which it leaves untyped.
Converter = Any


@dataclass(frozen=True)
class _Conversion:
    """Some tensors on disk that together make some of a module, as the experts of a layer make one."""

    converter: Converter
    first: str  # the name by which transformers calls its result
    sources: Mapping[str, tuple[str, ...]]  # by the converter's pattern, in transformers' order
    between: Mapping[str, str]  # from a source's name after renaming alone, to its name on disk
    targets: Mapping[str, tuple[int, ...]]  # names in the module, with their shapes
    reversible: bool


class ModuleWeights(WeightMapping):
    """Weights of a file, under the names that the module has into which `from_pretrained` loads them.

    `stored` are those of the file. A tensor that is merged of several is read part by part, and the last one is kept
    where it is a stack of experts, which ask for theirs one by one. `on_disk` goes the other way.
    """

    def __init__(self, stored: WeightMapping, model: nn.Module, prefixed: bool = True) -> None:
        found = _Names(stored, model, prefixed)
        self.stored = stored
        self._renamed = found.renamed
        self._of_target = {name: one for one in found.conversions for name in one.targets}
        self._config = getattr(model, "config", None)
        self._merged = LastStack()
        super().__init__(
            stored.source,
            (*found.order,),
            self._value,
            found.aliases,
            self._known_shape,
            model,
        )
        self.quantized = stored.quantized

    def on_disk(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Give back tensors under their names on disk, merged ones split; what has no name there keeps its own.

        Held are the tensors of one conversion until all of them have come. Where transformers has no way back, the
        module's names stay, which `from_pretrained` reads as well.
        """
        waiting: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors:
            conversion = self._of_target.get(name)
            if conversion is None:
                yield self._renamed.get(name, name), value
                continue
            held = waiting.setdefault(conversion.first, {})
            held[name] = value
            if len(held) == len(conversion.targets):
                del waiting[conversion.first]
                yield from (
                    _reversed(conversion, held, self.model, self._config)
                    if conversion.reversible
                    else held.items()
                )
        for held in waiting.values():
            yield from held.items()

    def stored_name(self, name: str) -> str | None:
        """Name a tensor as the file does; None where the file has it in parts."""
        return self._renamed.get(name)

    def _known_shape(self, name: str) -> tuple[int, ...]:
        if name in self._of_target:
            return self._of_target[name].targets[name]
        return self.stored.shape(self._renamed[name])

    def _value(self, name: str) -> Tensor:
        conversion = self._of_target.get(name)
        if conversion is None:
            return self.stored[self._renamed[name]]
        return self._merged.of((name,), len(conversion.targets[name]), lambda: self._merge(conversion, name))

    def _merge(self, conversion: _Conversion, name: str) -> Tensor:
        tensors = {
            pattern: [self.stored[source] for source in sources]
            for pattern, sources in conversion.sources.items()
        }
        return _converted(conversion.converter, conversion.first, tensors, self.model, self._config)[name]


def in_module_names(stored: WeightMapping, model: nn.Module | None, prefixed: bool = True) -> WeightMapping:
    """Give weights the names of a model's modules, where transformers saves such a model under others.

    `prefixed` puts the base model's prefix in front of names, or takes it off, as the model has it. Weights that have
    the names of a module already, and those for a model that is not of transformers, come back as they are.
    """
    bare = None if model is None else _of_transformers(model)
    if bare is None or stored.model is not None:
        return stored
    return ModuleWeights(stored, bare, prefixed)


def _of_transformers(model: nn.Module) -> Any:
    import transformers  # slow to import, and plain weights need none of it

    bare = unwrap(model)
    inner = getattr(bare, "get_base_model", None)  # of a PeftModel
    bare = inner() if callable(inner) else bare
    return bare if isinstance(bare, transformers.PreTrainedModel) else None


class _Names:
    """Where each tensor on disk goes, found from names and shapes alone."""

    def __init__(self, stored: WeightMapping, model: Any, prefixed: bool) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key

        self._model = model
        self._known = set(map(plain_name, model.state_dict()))
        self._prefix = model.base_model_prefix or None
        self._prefixed = prefixed
        rules = get_model_conversion_mapping(model)
        self._renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        self._converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
        of_pattern = {pattern: rule for rule in self._converters for pattern in rule.source_patterns}
        self.renamed: dict[str, str] = {}
        self.conversions: list[_Conversion] = []
        self.order: dict[str, None] = {}
        parts: dict[str, tuple[Converter, dict[str, list[str]], dict[str, str]]] = {}
        # transformers' order: some of its rules depend on what they have met before.
        for name in sorted(stored, key=dot_natural_key):
            target, pattern, between = self._target(name)
            if pattern is None or not self._is_known(target):
                if target in self.renamed:
                    raise ValueError(
                        f"{stored.source} has both {self.renamed[target]!r} and {name!r}, which are one tensor of "
                        f"{type(model).__name__}, {target!r}: take one of them out"
                    )
                self.renamed[target] = name
                continue
            _, sources, named = parts.setdefault(target, (of_pattern[pattern], {}, {}))
            sources.setdefault(pattern, []).append(name)
            named[between] = name
        firsts: dict[str, list[str]] = {}
        for first, (rule, sources, named) in parts.items():
            conversion = self._conversion(stored, first, rule, sources, named)
            self.conversions.append(conversion)
            for name in named.values():
                firsts.setdefault(name, []).extend(conversion.targets)
        on_disk = {name: target for target, name in self.renamed.items()}
        for name in stored:  # in the order of the file
            self.order |= dict.fromkeys(firsts.get(name) or [on_disk[name]])
        self.aliases = self._aliases(stored, on_disk)

    def _is_known(self, name: str) -> bool:
        start = f"{self._prefix}."
        return name in self._known or (
            self._prefix is not None
            and (start + name in self._known or name.removeprefix(start) in self._known)
        )

    def _target(self, name: str) -> tuple[str, str | None, str]:
        """Give a tensor's name in the module, the converter's pattern that it matches, and its name before that."""
        from transformers.core_model_loading import apply_converters, apply_renamings

        plain = plain_name(name)
        between = apply_renamings(plain, self._renamings)
        target, pattern = apply_converters(between, self._converters)
        if not self._is_known(target) and self._is_known(plain):  # saved under the module's own name
            target, pattern, between = plain, None, plain
        if self._prefixed and self._prefix is not None and target not in self._known:
            start = f"{self._prefix}."
            if target.removeprefix(start) in self._known:
                target = target.removeprefix(start)
            elif start + target in self._known:
                target = start + target
        # What wrappers have added stays where nothing was renamed.
        return (name if target == plain else target), pattern, between

    def _conversion(
        self,
        stored: WeightMapping,
        first: str,
        rule: Converter,
        sources: Mapping[str, list[str]],
        between: Mapping[str, str],
    ) -> _Conversion:
        """Follow a conversion with tensors that have shapes alone."""
        config = self._model.config
        empty = {
            pattern: [torch.empty(stored.shape(name), device="meta") for name in names]
            for pattern, names in sources.items()
        }
        try:
            made = _converted(rule, first, empty, self._model, config)
        except Exception as error:  # transformers raises what the step trips over
            raise ValueError(
                f"{stored.source}: transformers cannot make {first!r} of {sorted(between.values())[:3]}: {error}"
            ) from error
        conversion = _Conversion(
            rule,
            first,
            {pattern: tuple(names) for pattern, names in sources.items()},
            dict(between),
            {name: tuple(value.shape) for name, value in made.items()},
            False,
        )
        try:
            back = dict(_reversed(conversion, made, self._model, config))
        except Exception:  # a conversion without a way back is no mistake of the user's
            return conversion
        shapes = {name: tuple(value.shape) for name, value in back.items()}
        return replace(
            conversion, reversible=shapes == {name: stored.shape(name) for name in between.values()}
        )

    def _aliases(self, stored: WeightMapping, on_disk: Mapping[str, str]) -> dict[str, str]:
        """Name tied weights by all their names: those noted in the file, and those of which it has only one."""
        aliases = {
            self._target(alias)[0]: on_disk[name]
            for alias, name in stored.all_names.items()
            if alias != name and name in on_disk
        }
        tied: dict[tuple[object, ...], list[str]] = {}
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            tied.setdefault(storage_key(parameter), []).append(plain_name(name))
        for names in tied.values():
            here = [name for name in names if name in self.order]
            if len(here) == 1:
                aliases |= {name: here[0] for name in names if name != here[0]}
        return aliases


def _converted(
    rule: Converter, first: str, tensors: Mapping[str, list[Tensor]], model: Any, config: Any
) -> dict[str, Tensor]:
    """Run a conversion of transformers on a copy of it, as it collects tensors in itself."""
    converter = copy.deepcopy(rule)
    for pattern, values in tensors.items():
        for value in values:
            converter.add_tensor(first, pattern, pattern, value)
    made = converter.convert(first, model=model, config=config)
    return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


def _reversed(
    conversion: _Conversion, tensors: Mapping[str, Tensor], model: Any, config: Any
) -> Iterator[tuple[str, Tensor]]:
    from transformers.core_model_loading import apply_converters, dot_natural_key

    back = conversion.converter.reverse_transform()
    collected: dict[str, list[Tensor]] = {}
    first = ""
    for name in sorted(tensors, key=dot_natural_key):
        first, pattern = apply_converters(name, [back])
        collected.setdefault(pattern, []).append(tensors[name])
    for name, value in _converted(back, first, collected, model, config).items():
        yield conversion.between[name], value
