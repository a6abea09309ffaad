"""Linear layers of a model: their weights, their places in depth, and the stacks they are part of."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from paramgraph.nodes.wrapping import bare_names

# Weights of nn.MultiheadAttention that belong to no layer of their own.
PACKED_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer of a model and its weight matrix."""

    module: str  # bare name: as it was before the model was wrapped
    parameter: str  # in `model.named_parameters()`; for a tied weight, its first name there
    shape: tuple[int, int]  # as stored
    transposed: bool  # stored as (in, out), as Conv1D does, and not as (out, in)
    stack: str = ""  # as "encoder" or "decoder"; "" where the model has only one

    @property
    def layer(self) -> int:
        """The first number in the module's name, -1 where none."""
        return depth_of(self.module)

    @property
    def role(self) -> str:
        """The stack and what follows that number, as "attention.self.query"; else the whole name."""
        return role_of(self.module, self.stack)


def depth_of(module: str) -> int:
    """Read the index of the layer off a module's name: its first number, -1 where there is none."""
    return next((int(part) for part in module.split(".") if part.isdecimal()), -1)


def role_of(module: str, stack: str = "") -> str:
    """Name what a module is in its layer: the stack, if any, and what follows the layer's index.

    Where no index is in the name, or nothing follows, it is the whole name.

    >>> role_of("encoder.layer.3.output.dense"), role_of("encoder.block.0.layer.0.SelfAttention.q", "encoder")
    ('output.dense', 'encoder.layer.0.SelfAttention.q')
    """
    _, rest = _split_at_depth(module)
    return ".".join([stack, *rest] if stack else rest) if rest else module


class WeightedLayer(NamedTuple):
    """A linear layer with its module's name in the model as it is, and the weight itself."""

    raw: str
    weight: Tensor
    layer: LinearLayer


def storage_key(parameter: Tensor) -> tuple[object, ...]:
    """Identify the memory of a parameter, so that tied weights are found even under two `Parameter` objects.

    Equal for two parameters exactly when they are the same entries in the same layout. A parameter without memory
    (on the meta device, or lazy) has its identity as the key.
    """
    # Without memory yet, the pointer is null or an error; it must not tie all such weights together.
    pointer = 0 if parameter.is_meta or nn.parameter.is_lazy(parameter) else parameter.data_ptr()
    if pointer == 0:
        return (id(parameter),)
    return parameter.device, pointer, tuple(parameter.shape), parameter.stride()


def weighted_layers(model: nn.Module, packed: bool = False) -> dict[str, WeightedLayer]:
    """Find every linear layer of a model that has a weight of its own, under its bare name, in the order of modules.

    Adapters are no layers of the model; layers that share a weight are all there. `packed` counts the weights that
    `nn.MultiheadAttention` keeps outside of layers too, each under the name of its parameter. The shape is the one
    that the layer was made for: whether its weight is stored so is not looked at.
    """
    first_name: dict[tuple[object, ...], str] = {}
    for name, parameter in model.named_parameters():
        first_name.setdefault(storage_key(parameter), name)
    modules = dict(model.named_modules())
    found: dict[str, tuple[str, Tensor, tuple[int, int], bool]] = {}
    for raw, bare in bare_names(model).items():
        module: Any = modules[raw]
        if _has_weight(module):
            transposed = isinstance(module, Conv1D)
            sizes = ("nx", "nf") if transposed else ("out_features", "in_features")
            shape = getattr(module, sizes[0]), getattr(module, sizes[1])
            found[bare] = raw, module.weight, shape, transposed
        elif packed and isinstance(module, nn.MultiheadAttention):
            for name in PACKED_WEIGHTS:
                weight = module._parameters.get(name)
                if weight is not None:
                    found[f"{bare}.{name}" if bare else name] = (
                        raw,
                        weight,
                        (weight.shape[0], weight.shape[1]),
                        False,
                    )
    stacks = _stacks(found)
    return {
        bare: WeightedLayer(
            raw,
            weight,
            LinearLayer(bare, first_name[storage_key(weight)], shape, transposed, stacks[bare]),
        )
        for bare, (raw, weight, shape, transposed) in found.items()
    }


def _has_weight(module: nn.Module) -> bool:
    # A parametrized layer (weight norm) computes its weight, which is then no parameter of the model.
    return isinstance(module, nn.Linear | Conv1D) and module._parameters.get("weight") is not None


def _split_at_depth(module: str) -> tuple[tuple[str, ...], list[str]]:
    """Split a name before and after its first number; nothing follows where there is none."""
    parts = module.split(".")
    index = next((i for i, part in enumerate(parts) if part.isdecimal()), len(parts))
    return tuple(parts[:index]), parts[index + 1 :]


def _stacks(modules: Collection[str]) -> dict[str, str]:
    """Label the stack of each module by what its path has and the paths of other stacks have not."""
    split = {module: _split_at_depth(module) for module in modules}
    paths = {path for path, rest in split.values() if rest}
    if len(paths) < 2:
        return dict.fromkeys(modules, "")
    lead = _common_start(paths)
    trail = _common_start([path[lead:][::-1] for path in paths])
    return {
        module: ".".join(path[lead : len(path) - trail]) if rest else ""
        for module, (path, rest) in split.items()
    }


def _common_start(paths: Collection[tuple[str, ...]]) -> int:
    """Count the leading parts that all paths have in common."""
    return next(
        (i for i, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1),
        min(len(path) for path in paths),
    )
