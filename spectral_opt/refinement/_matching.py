"""Which weights of a fine-tuned checkpoint have a delta from the base, and what is left as it was tuned, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from paramgraph.checkpoints import Correspondence, WeightMapping, correspond, plain_name, told
from paramgraph.nodes import weighted_layers
from spectral_opt.refinement._checkpoints import BaseModel, TunedCheckpoint, all_equal


@dataclass(frozen=True)
class CheckpointMatch:
    """Names of a tuned checkpoint beside those of its base."""

    found: Correspondence
    # From a parameter of the base, as tables call it, to the weights of the tuned checkpoint that are filtered as it.
    names: Mapping[str, tuple[str, ...]]
    # From each weight of the tuned checkpoint that has a delta to the weight of the base from which it is taken.
    origins: Mapping[str, str]
    # Weights of the tuned checkpoint that are several in the base, which would have several deltas.
    tied: frozenset[str]
    remarks: tuple[str, ...]  # what is left as it was tuned, and why

    def uses(self, name: str) -> tuple[str, ...]:
        """List the names in the base for which a weight of the tuned checkpoint stands; several where it is tied."""
        found = self.found
        names: list[str] = []
        for origin in found.origins(name):
            is_alone = len(found.partners(origin)) == 1
            for each in found.base.names_of(origin):
                partner = found.tuned.all_names[found.pairs[each]] if each in found.pairs else None
                if partner == name or (is_alone and partner is None):
                    names.append(each)
        return tuple(names)


def match_checkpoints(
    base: BaseModel, weights: WeightMapping, checkpoint: TunedCheckpoint, targeted: Iterable[str]
) -> CheckpointMatch:
    """Match a tuned checkpoint with the weights of its base, and refuse two states of different models.

    Heads may be on one side only, and heads and embeddings may differ in shape, as with other classes or added tokens:
    these have no base, and stay as they were tuned; so do weights of the base that were drawn when it was loaded, and
    those that only the tuned checkpoint ties, and what is odd in some layers, most of which fit (:func:`_odd`).
    ValueError if anything else is missing, is too much, or has another shape, or if a weight of several targeted layers
    is tied in the base alone.
    """
    found = correspond(weights, checkpoint.weights)
    tuned = found.tuned
    drawn = {weights.all_names[name] for name in base.fresh if name in weights.all_names}
    origins: dict[str, str] = {}
    shapes, fresh, tied = [], [], []
    for name in tuned:
        before = found.origins(name)
        if not before:
            continue
        if tuned.shape(name) != weights.shape(before[0]):
            shapes.append((before[0], name))
        elif before[0] in drawn:
            fresh.append(name)
        elif len(before) > 1 and not all_equal(weights, before):
            tied.append(name)
        else:
            origins[name] = before[0]
    _refuse(found, shapes, origins)
    names = {}
    for name in dict.fromkeys(targeted):
        partners = tuple(each for each in found.partners(name) if each in origins)
        if len(partners) > 1 and not all_equal(tuned, partners):
            partners = tuple(each for each in _of_the_layer(found, name, base.model) if each in origins)
        if partners:
            names[name] = partners
    remarks = _remarks(found, shapes, fresh, tied)
    if checkpoint.adapter is not None:
        remarks = (*checkpoint.adapter.remarks, *remarks)
    if checkpoint.lazy:
        remarks += (f"not in the result, as they have no value yet: {', '.join(checkpoint.lazy)}",)
    return CheckpointMatch(found, names, origins, frozenset(tied), remarks)


def untie(model: nn.Module, names: Sequence[str]) -> None:
    """Give these names a parameter of their own, where the model has it under others too; its value stays."""
    parameter = model.get_parameter(names[0])
    known = {name for name, other in model.named_parameters(remove_duplicate=False) if other is parameter}
    if known <= {*names}:
        return
    own = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
    for name in known & {*names}:
        layer, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(layer), attribute, own)


def _of_the_layer(found: Correspondence, name: str, model: nn.Module) -> tuple[str, ...]:
    """Choose, of the weights that only the base ties, the one of the linear layer, as tables are of no embedding."""
    layers = {plain_name(f"{layer.raw}.weight") for layer in weighted_layers(model).values()}
    own = [
        alias for alias in found.base.names_of(name) if alias in found.pairs and plain_name(alias) in layers
    ]
    return (found.tuned.all_names[found.pairs[own[0]]] if len(own) == 1 else found.partner(name),)


def _refuse(found: Correspondence, shapes: list[tuple[str, str]], origins: Mapping[str, str]) -> None:
    strays = set(found.strays)
    # Heads and embeddings change with a task; of a layer among others another size is another model.
    sized = [pair for pair in shapes if _is_of_a_layer(pair[0]) or len(shapes) > len(origins)]
    missing = [name for name in found.base_only if name in strays]
    extra = [name for name in found.tuned_only if name in strays]
    odd = _odd([*missing, *(before for before, _ in sized)], origins.values()) | _odd(extra, origins)
    missing, extra = ([name for name in names if name not in odd] for names in (missing, extra))
    sized = [pair for pair in sized if pair[0] not in odd]
    told_shapes = ", ".join(_sizes(found, *pair) for pair in sized[:3])
    parts = [
        f"tuned lacks {missing[:3]}" if missing else "",
        f"base lacks {extra[:3]}" if extra else "",
        f"shapes differ: {told_shapes}" if sized else "",
    ]
    if not any(parts):
        return
    raise ValueError(
        f"base and tuned are not two states of one model: {'; '.join(filter(None, parts))}; give the model from which "
        "the fine-tuning started"
    )


def _odd(names: Sequence[str], fitting: Iterable[str]) -> set[str]:
    """Choose what is odd in some numbered layers of a model, and not of another model.

    Its layer has something that fits, and as many layers beside are without such an oddity: a layer more, or another
    size in every layer, is another model.
    """
    layers: dict[str, set[str]] = {}
    for name in fitting:
        if _is_of_a_layer(name):
            stack, number, _ = _place(name)
            layers.setdefault(stack, set()).add(number)
    alike: dict[tuple[str, str], set[str]] = {}
    for name in filter(_is_of_a_layer, names):
        stack, number, role = _place(name)
        alike.setdefault((stack, role), set()).add(number)
    odd = set()
    for name in filter(_is_of_a_layer, names):
        stack, number, role = _place(name)
        around, same = layers.get(stack, set()), alike[stack, role]
        if number in around and 2 * len(same) <= len(around):
            odd.add(name)
    return odd


def _place(name: str) -> tuple[str, str, str]:
    """Split a name at its first number: what leads to it, the number, what follows."""
    parts = plain_name(name).split(".")
    at = next(place for place, part in enumerate(parts) if part.isdecimal())
    return ".".join(parts[:at]), parts[at], ".".join(parts[at + 1 :])


def _is_of_a_layer(name: str) -> bool:
    return any(part.isdecimal() for part in name.split("."))


def _sizes(found: Correspondence, before: str, after: str) -> str:
    return f"{after} {found.base.shape(before)} against {found.tuned.shape(after)}"


def _remarks(
    found: Correspondence, shapes: list[tuple[str, str]], fresh: list[str], tied: list[str]
) -> tuple[str, ...]:
    sized = ", ".join(_sizes(found, *pair) for pair in shapes)
    untied = [each for name in found.base if len(parts := found.partners(name)) > 1 for each in parts]
    remarks = {
        "left as tuned, without a counterpart in the base": told(found.tuned_only),
        "left as tuned, of another shape in the base": sized,
        "left as tuned, drawn at random in the base": told(fresh),
        "left as tuned, where it is one tied weight and the base has several": told(tied),
        "weights of their own, where the base ties them": told(untied),
        "in the base alone": told(found.base_only),
    }
    return (*found.remarks, *(f"{reason}: {names}" for reason, names in remarks.items() if names))
