r"""Stacks of experts: parameters (experts, out, in) or (experts, in, out), one matrix of a linear layer per expert.

Nothing here knows an architecture's class. Which side of a matrix is the output is said by the module
(`is_transposed`, as transformers and PEFT have it), by its sizes, or by the shapes of the stacks beside it, as experts
read the width H of the stream and write it:

.. math:: (2 I, H) \text{ with } (H, I) \text{ is (out, in)}, \quad (H, 2 I) \text{ with } (I, H) \text{ is (in, out)}
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

# The sizes of one matrix, as modules that hold a single stack call them.
SIDES = (
    ("input_size", "output_size"),
    ("in_features", "out_features"),
    ("input_dim", "output_dim"),
    ("in_dim", "out_dim"),
)
WIDTHS = ("hidden_size", "d_model", "n_embd", "embed_dim")
# The last matrix of an expert, which writes to the stream; without a gate its shape is that of the first, turned.
LAST = ("down", "out", "w2", "fc2", "wo")


class ExpertStack(NamedTuple):
    """A stack, its name in its module, and whether its matrices are stored as (in, out)."""

    name: str
    weight: Tensor
    transposed: bool


def expert_stacks(modules: Mapping[str, nn.Module]) -> tuple[dict[str, list[ExpertStack]], dict[str, str]]:
    """Find the stacks of each module, and the reason why a parameter of three dimensions is none, by its name."""
    held = {name: weights for name, module in modules.items() if (weights := _three_dimensional(module))}
    # A square matrix has its sides from a module of the same class, whose code is the same.
    by_class: dict[type[nn.Module], set[bool]] = {}
    for name, weights in held.items():
        told = by_class.setdefault(type(modules[name]), set())
        told.update(
            found for weight in weights.values() if (found := _by_sides(modules[name], weight)) is not None
        )
    stacks: dict[str, list[ExpertStack]] = {}
    unknown: dict[str, str] = {}
    for name, weights in held.items():
        module = modules[name]
        together = _declared(module)
        if together is None:
            together = _by_shapes(module, weights)
        for parameter, weight in weights.items():
            transposed = _by_sides(module, weight)
            if transposed is None:
                transposed = together
            if transposed is None and _is_square(module, weight) and len(by_class[type(module)]) == 1:
                (transposed,) = by_class[type(module)]
            if transposed is None:
                bare = f"{name}.{parameter}" if name else parameter
                unknown[bare] = (
                    f"{tuple(weight.shape)} of {type(module).__name__}: which sides are inputs and outputs is unknown"
                )
            else:
                stacks.setdefault(name, []).append(ExpertStack(parameter, weight, transposed))
    return stacks, unknown


def _three_dimensional(module: nn.Module) -> dict[str, Tensor]:
    # PyTorch's own modules have other uses for three dimensions: convolutions, Bilinear, parametrizations. A side of 1
    # is that of a bias. FSDP2 makes a class of its own of a user's, which is then among the bases.
    if all(kind.__module__.startswith("torch.") for kind in type(module).__mro__[:-1]):
        return {}
    return {
        name: weight
        for name, weight in module._parameters.items()
        if weight is not None
        and not nn.parameter.is_lazy(weight)
        and weight.ndim == 3
        and min(weight.shape[1:]) > 1
    }


def _declared(module: nn.Module) -> bool | None:
    found = getattr(module, "is_transposed", None)
    return found if isinstance(found, bool) else None


def _sides(module: nn.Module) -> Iterator[tuple[int, int]]:
    for names in SIDES:
        inputs, outputs = (getattr(module, name, None) for name in names)
        if isinstance(inputs, int) and isinstance(outputs, int):
            yield inputs, outputs


def _by_sides(module: nn.Module, weight: Tensor) -> bool | None:
    for inputs, outputs in _sides(module):
        if inputs != outputs and tuple(weight.shape[1:]) in ((outputs, inputs), (inputs, outputs)):
            return weight.shape[1] == inputs
    return None


def _is_square(module: nn.Module, weight: Tensor) -> bool:
    return any(tuple(weight.shape[1:]) == (outputs, inputs) for inputs, outputs in _sides(module))


def _by_shapes(module: nn.Module, weights: Mapping[str, Tensor]) -> bool | None:
    """Tell the layout by which the stacks of a module follow one another, if there is only one."""
    fits: dict[bool, set[tuple[str, int]]] = {
        transposed: set(_last_matrices(weights, transposed)) for transposed in (False, True)
    }
    possible = [transposed for transposed, last in fits.items() if last]
    if len(possible) == 2:
        width = next((size for name in WIDTHS if isinstance(size := getattr(module, name, None), int)), None)
        lasts = {name for last in fits.values() for name, _ in last}
        if len(lasts) > 1:
            lasts = {name for name in lasts if any(part in LAST for part in name.split("_"))}
        possible = [
            transposed
            for transposed, last in fits.items()
            if len(lasts) == 1 and any(name in lasts and found == width for name, found in last)
        ]
    return possible[0] if len(possible) == 1 else None


def _last_matrices(weights: Mapping[str, Tensor], transposed: bool) -> Iterator[tuple[str, int]]:
    """Yield each stack that may be the last of its experts (H x I), with H, where all others (I or 2 I x H) fit."""
    sides = {name: tuple(weight.shape[1:])[:: -1 if transposed else 1] for name, weight in weights.items()}
    for name, (width, inner) in sides.items():
        others = [shape for other, shape in sides.items() if other != name]
        if others and all(shape in ((inner, width), (2 * inner, width)) for shape in others):
            yield name, width
