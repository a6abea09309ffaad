"""Linear layers of a model: their weights, their places in depth, and the stacks they are part of."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from paramgraph.nodes._expert_stacks import ExpertStack, expert_stacks
from paramgraph.nodes.slices import expert_key, is_quantized
from paramgraph.nodes.wrapping import bare_names

# Weights of nn.MultiheadAttention that belong to no layer of their own.
PACKED_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer of a model and its weight matrix, which may be one of a stack of experts."""

    module: str  # bare name: as it was before the model was wrapped; of the module that holds a stack
    parameter: str  # in `model.named_parameters()`; for a tied weight, its first name there
    shape: tuple[int, int]  # of the one matrix, as stored; of a quantized one, as it was before
    transposed: bool  # stored as (in, out), as Conv1D does, and not as (out, in)
    stack: str = ""  # as "encoder" or "decoder"; "" where the model has only one
    expert: int = -1  # index along the first axis of the parameter; -1 where the parameter is one matrix
    experts: int = 0  # how many matrices the parameter holds; 0 where it is one
    quantized: str = ""  # how the weight is stored; "" where it is stored as numbers
    depth_number: int = 0  # which of the numbers in the module's name counts layers

    @property
    def group(self) -> str:
        """The key of its own tables: the parameter, and for an expert its index, as "experts.down_proj[3]"."""
        return expert_key(self.parameter, self.expert)

    @property
    def layer(self) -> int:
        """The number in the module's name that counts layers, -1 where none.

        It is the first one, unless that tells apart parts that have nothing alike, as an encoder and its head.
        """
        return depth_of(self.module, self.depth_number)

    @property
    def role(self) -> str:
        """The stack and what follows that number, as "attention.self.query"; else the whole name.

        Experts of one stack have one role, which ends with its name, as "mlp.experts.down_proj".
        """
        own = self.module if self.expert < 0 else join(self.module, self.parameter.rpartition(".")[2])
        return role_of(own, self.stack, self.depth_number)


def depth_of(module: str, number: int = 0) -> int:
    """Read the index of the layer off a module's name: its first number, or a later one; -1 where there is none."""
    numbers = [int(part) for part in module.split(".") if part.isdecimal()]
    return numbers[number] if number < len(numbers) else -1


def role_of(module: str, stack: str = "", number: int = 0) -> str:
    """Name what a module is in its layer: the stack, if any, and what follows the layer's index.

    Where no index is in the name, or nothing follows, it is the whole name.

    >>> role_of("encoder.layer.3.output.dense"), role_of("encoder.block.0.layer.0.SelfAttention.q", "encoder")
    ('output.dense', 'encoder.layer.0.SelfAttention.q')
    """
    _, rest = split_at_depth(module, number)
    return ".".join([stack, *rest] if stack else rest) if rest else module


class WeightedLayer(NamedTuple):
    """A linear layer with its module's name in the model as it is, and the parameter that holds its weight."""

    raw: str
    weight: Tensor
    layer: LinearLayer


class LeftOut(NamedTuple):
    """A layer or a parameter that cannot be cut: why, how many entries it has, and the names that mean it."""

    reason: str
    entries: int
    names: tuple[str, ...]


class Survey(NamedTuple):
    """The linear layers of a model, and its weights of two or more dimensions that are in none, by bare names."""

    layers: dict[str, WeightedLayer]
    left_out: dict[str, LeftOut]


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

    Adapters are no layers of the model; layers that share a weight are all there. Each expert of a stack is a layer,
    under the name of the stack and its index. `packed` counts the weights that `nn.MultiheadAttention` keeps outside
    of layers too, each under the name of its parameter. The shape is the one that the layer was made for.
    """
    return survey(model, packed).layers


def survey(model: nn.Module, packed: bool = False) -> Survey:
    """Find the layers of `weighted_layers`, and say of every other weight of two or more dimensions why it is in none.

    Embeddings are no layers, and are not named.
    """
    first_name: dict[tuple[object, ...], str] = {}
    for name, parameter in model.named_parameters():
        first_name.setdefault(storage_key(parameter), name)
    named = dict(model.named_modules())
    # A wrapper and what it wraps have one bare name; the innermost module comes last and is the one meant.
    raws = {bare: raw for raw, bare in bare_names(model).items()}
    modules = {bare: named[raw] for bare, raw in raws.items()}
    stacks, unknown = expert_stacks(modules)
    found: dict[str, list[_Matrix]] = {}
    left_out: dict[str, LeftOut] = {}
    for bare, module in modules.items():
        if isinstance(module, nn.Linear | Conv1D):
            matrix = _matrix(bare, module)
            if isinstance(matrix, str):
                left_out[bare] = LeftOut(matrix, prod(_sizes(module)), (bare, raws[bare]))
            else:
                found[bare] = [matrix]
        elif entries := _entries_in_buffers(module):
            reason = f"its weight lies in buffers of {type(module).__name__}, as of a quantized layer"
            left_out[bare] = LeftOut(reason, entries, (bare, raws[bare]))
        elif packed and isinstance(module, nn.MultiheadAttention):
            for name in PACKED_WEIGHTS:
                weight = module._parameters.get(name)
                if weight is not None:
                    shape = weight.shape[0], weight.shape[1]
                    found[join(bare, name)] = [_Matrix(bare, weight, shape, False)]
        for stack in stacks.get(bare, ()):
            found[join(bare, stack.name)] = _experts(bare, stack)
    numbers = _depth_numbers(found, modules)
    labels = _stacks(found, numbers)
    layers: dict[str, WeightedLayer] = {}
    for key, matrices in found.items():
        for matrix in matrices:
            first = first_name[storage_key(matrix.weight)]
            module_name = key if matrix.expert < 0 else matrix.owner
            layer = LinearLayer(
                module_name,
                first,
                matrix.shape,
                matrix.transposed,
                labels[key],
                matrix.expert,
                matrix.experts,
                matrix.quantized,
                numbers[key],
            )
            layers[expert_key(key, matrix.expert)] = WeightedLayer(raws[matrix.owner], matrix.weight, layer)
    seen = {storage_key(layer.weight) for layer in layers.values()}
    return Survey(layers, left_out | _others(modules, raws, unknown, left_out, seen))


class _Matrix(NamedTuple):
    """A matrix: the bare name of the module that owns its parameter, the parameter, and how it lies there."""

    owner: str
    weight: Tensor
    shape: tuple[int, int]
    transposed: bool
    expert: int = -1
    experts: int = 0
    quantized: str = ""


def _matrix(bare: str, module: Any) -> _Matrix | str:
    """Read the weight of a layer, or say why it has none that can be cut."""
    weight, shape = module._parameters.get("weight"), _sizes(module)
    if weight is None:
        return "its weight is computed in each forward pass (weight norm or another parametrization)"
    if nn.parameter.is_lazy(weight):
        return "it has no weight yet: run one batch through the model first"
    quantized = _quantized(weight)
    if weight.is_complex() or (not quantized and tuple(weight.shape) != shape):
        return f"its weight is stored as {weight.dtype} {tuple(weight.shape)}, not as a real matrix {shape}"
    return _Matrix(bare, weight, shape, isinstance(module, Conv1D), quantized=quantized)


def _entries_in_buffers(module: nn.Module) -> int:
    """Count the entries of what has the sizes of a linear layer, matrices for buffers, and no parameter at all."""
    sizes = [getattr(module, name, None) for name in ("in_features", "out_features")]
    has_buffers = any(buffer is not None and buffer.ndim > 1 for buffer in module._buffers.values())
    if not has_buffers or any(True for _ in module.parameters()):
        return 0
    return prod(size for size in sizes if isinstance(size, int)) if None not in sizes else 0


def _sizes(module: Any) -> tuple[int, int]:
    names = ("nx", "nf") if isinstance(module, Conv1D) else ("out_features", "in_features")
    return getattr(module, names[0]), getattr(module, names[1])


def _experts(bare: str, stack: ExpertStack) -> list[_Matrix]:
    experts, rows, columns = stack.weight.shape
    quantized = _quantized(stack.weight)
    return [
        _Matrix(bare, stack.weight, (rows, columns), stack.transposed, expert, experts, quantized)
        for expert in range(experts)
    ]


def _quantized(weight: Tensor) -> str:
    """Say how a quantized weight is stored: whole numbers, or what has scales beside it."""
    if weight.is_complex() or (weight.is_floating_point() and not is_quantized(weight)):
        return ""
    return f"{type(weight).__name__} of {weight.dtype}"


def _others(
    modules: Mapping[str, nn.Module],
    raws: Mapping[str, str],
    unknown: Mapping[str, str],
    odd: Collection[str],
    seen: set[tuple[object, ...]],
) -> dict[str, LeftOut]:
    """Say of each weight that is in no layer, nor inside of one that cannot be cut, what it is."""
    found = {}
    for bare, module in modules.items():
        if any(bare == name or bare.startswith(f"{name}.") for name in odd):
            continue
        for name, weight in module._parameters.items():
            key = join(bare, name)
            # The biases of a stack of experts have two dimensions, one of which counts experts.
            if weight is None or nn.parameter.is_lazy(weight) or _is_embedding(key, module) or "bias" in name:
                continue
            if sum(size > 1 for size in weight.shape) > 1 and storage_key(weight) not in seen:
                seen.add(storage_key(weight))
                reason = unknown.get(key) or _reason(module)
                # By its module as well: a convolution is called by that, and so is a router.
                found[key] = LeftOut(reason, weight.numel(), (key, bare, raws[bare]))
    return found


def _is_embedding(parameter: str, module: nn.Module) -> bool:
    """Tell embeddings, and what is looked up or learnt like one: positions, and tokens without a text."""
    own = parameter.rpartition(".")[2]
    return (
        isinstance(module, nn.Embedding | nn.EmbeddingBag)
        or "embed" in f"{parameter} {type(module).__name__}".lower()
        or "position" in own
        or "token" in own
    )


def _reason(module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        return f"kept outside of layers by {kind}: only the scheme 'heads' cuts it"
    if type(module).__module__.startswith("torch."):
        return f"of {kind}, which is no linear layer"
    return f"a parameter of {kind} itself, in no linear layer"


def join(name: str, part: str) -> str:
    """Name a part of a module, the model itself having the name ""."""
    return f"{name}.{part}" if name else part


def split_at_depth(module: str, number: int = 0) -> tuple[tuple[str, ...], list[str]]:
    """Split a name before and after the number that counts layers; nothing follows where there is none."""
    parts = module.split(".")
    places = [at for at, part in enumerate(parts) if part.isdecimal()]
    at = places[number] if number < len(places) else len(parts)
    return tuple(parts[:at]), parts[at + 1 :]


def _depth_numbers(names: Collection[str], modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """Say which of the numbers in each name counts layers.

    The first one, unless it counts parts of which no two have layers of the same names, and a later one does not: so
    the encoder and the head of a chain are counted. A list of one layer counts layers still, and not its experts.
    """
    above: dict[str, list[str]] = {}
    alike: Counter[tuple[str, ...]] = Counter()
    for name in names:
        parts = name.split(".")
        places = [at for at, part in enumerate(parts) if part.isdecimal()]
        above[name] = [".".join(parts[:at]) for at in places]
        alike.update((".".join(parts[:at]), *parts[at + 1 :]) for at in places)
    counting = {owner for (owner, *rest), count in alike.items() if rest and count > 1}
    found = {}
    for name, owners in above.items():
        number = next((number for number, owner in enumerate(owners) if owner in counting), 0)
        passed = [modules[owner] for owner in owners[:number]]
        unlike = all(isinstance(one, nn.Sequential) or len(one._modules) > 1 for one in passed)
        found[name] = number if unlike else 0
    return found


def _stacks(modules: Collection[str], numbers: Mapping[str, int]) -> dict[str, str]:
    """Label the stack of each module by what its path has and the paths of other stacks have not."""
    split = {module: split_at_depth(module, numbers[module]) for module in modules}
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
