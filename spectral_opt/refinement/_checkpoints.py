"""What refinement reads: a base that can run, and a fine-tuned checkpoint of which one weight is read at a time."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.checkpoints import (
    AdaptedWeights,
    Located,
    ModelLike,
    WeightMapping,
    correspond,
    existing_path,
    loadable_configuration,
    locate,
    named_class,
    open_checkpoint,
    open_mapped,
    open_module,
    plain_name,
    told,
    wide_weight,
)
from paramgraph.mapped_memory import MappedMemory
from paramgraph.nodes import is_quantized, storage_key, unwrap, weighted_layers


@dataclass(frozen=True)
class BaseModel:
    """A base model that can run, with what is known of where it came from."""

    model: nn.Module  # bare
    fresh: frozenset[str] = frozenset()  # parameters that its checkpoint lacks, drawn when it was loaded
    folder: Path | None = None  # where its files are


@dataclass(frozen=True)
class TunedCheckpoint:
    """A fine-tuned checkpoint, opened."""

    weights: WeightMapping  # lazy; for an adapter, base and adapter added
    folder: Path | None = None  # where its files are
    module: nn.Module | None = None  # where it was given as one
    names: tuple[str, ...] = ()  # all names of a state dict, tied ones included; none of files
    lazy: tuple[str, ...] = ()  # parameters of a module that have no value yet

    @property
    def adapter(self) -> AdaptedWeights | None:
        """The adapter, where the checkpoint is one."""
        return self.weights if isinstance(self.weights, AdaptedWeights) else None


def place_of(model: ModelLike, argument: str) -> Path | None:
    """Find the file or folder that a model was read from: of a module too, and of weights that were opened."""
    where = locate(model, argument)
    if where.path is not None or not where.in_memory:
        return where.path
    if isinstance(model, WeightMapping):
        return existing_path(model.source)
    config: Any = getattr(unwrap(model), "config", None) if where.kind == "module" else None
    return existing_path(str(getattr(config, "name_or_path", "") or ""))


def load_base(
    base: ModelLike, like: ModelLike | None = None, memory: MappedMemory | None = None
) -> BaseModel:
    """Bring a base into a bare module that can run.

    A module is taken as it is; a local folder or a name on the hub is loaded with the class that its config names, in
    the dtype in which it was saved, from safetensors only; a state dict or a .safetensors file is put into a copy of
    `like`, the tuned model. With a `memory` the weights of a folder stay in its files. ValueError if there is no such
    model, it has adapters in it, or no architecture is known.
    """
    where = locate(base, "base")
    if where.in_memory:
        refuse_quantized(where, "base")
    if where.kind == "module":
        model = unwrap(base)
        if any(hasattr(part, "base_layer") and hasattr(part, "active_adapters") for part in model.modules()):
            raise ValueError(
                "base has adapters in it, so it would run as the tuned model: load the base anew, or give its folder"
            )
        return BaseModel(model)
    if where.kind in ("weights", "file"):
        return _in_architecture_of(like, where.weights())
    return _load_folder(where) if memory is None else _open_folder(where, memory)


@contextmanager
def open_tuned(tuned: ModelLike, base: nn.Module, mapped: bool = False) -> Iterator[TunedCheckpoint]:
    """Open a fine-tuned model, or an adapter on `base`, in any form, for as long as the block runs.

    `mapped` is for files, as in `open_files`.

    ValueError if it cannot be read safely, or the adapter is of a kind whose update is not s B A.
    """
    where = locate(tuned, "tuned")
    if where.in_memory:
        refuse_quantized(where, "tuned")
    if where.kind == "module" and hasattr(unwrap(tuned), "peft_config"):
        with tempfile.TemporaryDirectory() as folder:
            _save_adapter(unwrap(tuned), folder)
            weights = open_checkpoint(folder, _with_buffers(base))
            _check_trained_beside(unwrap(tuned), weights)
            yield TunedCheckpoint(weights, Path(folder))
    elif where.kind == "module":
        model = unwrap(tuned)
        yield _of_state(model.state_dict(), model)
    elif isinstance(tuned, WeightMapping):
        yield TunedCheckpoint(tuned)
    elif isinstance(tuned, Mapping):
        yield _of_state(tuned)
    else:
        weights = where.weights(_with_buffers(base), mapped)
        _check_quantization("tuned", weights.quantized)
        yield TunedCheckpoint(weights, _local_folder(where))


def refuse_quantized(where: Located, argument: str) -> None:
    """Refuse, before any work, a model in memory or a local folder that is quantized; an adapter is not, on any base.

    ValueError with the way out.
    """
    if where.kind == "module" and not hasattr(unwrap(where.given), "peft_config"):
        layers = weighted_layers(unwrap(where.given)).values()
        _check_quantization(
            argument, next((each.layer.quantized for each in layers if each.layer.quantized), "")
        )
    elif (
        where.kind == "weights"
        and isinstance(where.given, Mapping)
        and not isinstance(where.given, WeightMapping)
    ):
        values = where.given.values()
        stored = (str(value.dtype) for value in values if isinstance(value, Tensor) and is_quantized(value))
        _check_quantization(argument, next(stored, ""))
    elif where.kind == "folder" or isinstance(where.given, WeightMapping):
        _check_quantization(argument, where.weights().quantized)


def _check_quantization(argument: str, how: str) -> None:
    if how:
        raise ValueError(
            f"{argument} is quantized ({how}), and a delta is taken of plain weights: give it in full precision, as it "
            "was before (load it without quantization_config) or as model.dequantize() makes it"
        )


def _with_buffers(base: nn.Module) -> WeightMapping:
    """Open what an adapter is added to: a model that both are merged into computes with the base's buffers too."""
    return _of_state(base.state_dict(), base).weights


def _of_state(state: Mapping[str, Any], model: nn.Module | None = None) -> TunedCheckpoint:
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise TypeError(f"{wrong[0]!r} in the state dict is a {type(state[wrong[0]]).__name__}, no tensor")
    lazy = tuple(name for name, value in state.items() if nn.parameter.is_lazy(value))
    state = {name: value for name, value in state.items() if name not in lazy}
    first: dict[tuple[object, ...], str] = {}
    kept = {
        name: first.setdefault(storage_key(value), name) for name, value in state.items() if value.numel()
    }
    empty = [name for name, value in state.items() if value.is_meta]
    if empty:
        raise ValueError(f"{empty[0]!r} of tuned is on the meta device: load it")
    weights = WeightMapping(
        "tuned",
        [name for name in state if kept.get(name, name) == name],
        lambda name: state[name].detach(),
        {name: one for name, one in kept.items() if one != name},
        lambda name: tuple(state[name].shape),
        model,
    )
    return TunedCheckpoint(weights, None, model, tuple(state), lazy)


def _local_folder(where: Located) -> Path | None:
    path = where.files("*.json")  # of a model on the hub, the folder in the cache
    if where.kind != "file":
        return path
    return path.parent if (path.parent / "config.json").is_file() else None


def _save_adapter(model: Any, folder: str) -> None:
    # transformers' own, by add_adapter or from_pretrained, has a method of this name.
    is_of_peft = not callable(model.active_adapters)
    try:
        active = list(model.active_adapters if is_of_peft else model.active_adapters())
    except ValueError:  # it knows of no adapter
        raise ValueError(
            "tuned is the model inside of a PeftModel, which knows nothing of its adapter: give the PeftModel"
        ) from None
    if len(active) != 1:
        raise ValueError(f"tuned has the active adapters {active}: one can be refined; merge them first")
    name = active[0]
    _check_as_saved(model, name)
    if not is_of_peft:
        model.save_pretrained(folder)  # the active adapter alone
        return
    # PEFT writes "default" into the folder itself and every other adapter into a folder of its name.
    model.save_pretrained(folder, selected_adapters=[name])
    if name != "default":
        for file in (Path(folder) / name).iterdir():
            file.rename(Path(folder) / file.name)


def _check_as_saved(model: Any, name: str) -> None:
    """Refuse an adapter that computes something else than what PEFT writes of it."""
    is_rank_stable = getattr(model.peft_config[name], "use_rslora", False)
    for layer in model.modules():
        if not hasattr(layer, "active_adapters") or not hasattr(layer, "base_layer"):
            continue
        if layer.disable_adapters:
            raise ValueError(
                "tuned has its adapter disabled, so that it runs as its base: enable it (enable_adapter_layers), or "
                "refine outside of disable_adapter"
            )
        if hasattr(layer, "lora_A") and name in layer.scaling:
            rank, alpha, found = layer.r[name], layer.lora_alpha[name], layer.scaling[name]
            configured = alpha / (math.sqrt(rank) if is_rank_stable else rank)
            if not math.isclose(found, configured):
                raise ValueError(
                    f"tuned has its adapter scaled by {found:g}, {configured:g} in its configuration, which alone PEFT "
                    "saves: scale it back (unscale_layer), or merge it (merge_and_unload) and refine that"
                )


def _check_trained_beside(model: nn.Module, weights: WeightMapping) -> None:
    """Refuse weights of the base that were trained beside an adapter, where PEFT saves nothing of them."""
    kept = [weights.base, weights] if isinstance(weights, AdaptedWeights) else [weights]
    lost = [
        plain_name(name)
        for name, value in model.named_parameters()
        if value.requires_grad
        and all(plain_name(name) in one for one in kept)
        and not any(torch.equal(one[plain_name(name)].to(value), value) for one in kept)
    ]
    if lost:
        raise ValueError(
            f"tuned has weights that were trained beside its adapter, and that PEFT does not save ({told(lost)}): "
            "merge it (merge_and_unload) and refine that"
        )


def _in_architecture_of(like: ModelLike | None, weights: WeightMapping) -> BaseModel:
    import copy

    where = None if like is None else locate(like, "tuned")
    if where and where.kind == "module" and not hasattr(unwrap(like), "peft_config"):
        model = copy.deepcopy(unwrap(like))
    elif where and where.path and (where.path / "config.json").is_file():
        model = _load_folder(where).model
    else:
        raise ValueError(
            "base is weights alone, and graphs are built by running a model: give base as a module or as a folder "
            "with config.json, or tuned as one of these"
        )
    own, state, parameters = _with_buffers(model), model.state_dict(), {*open_module(model)}
    found = correspond(weights, own)
    fresh = []
    with torch.no_grad():
        for name in own:
            before = found.origins(name)
            if not before:
                if name in parameters:
                    fresh.append(name)
                continue
            if len(before) > 1 and not all_equal(found.base, before):
                raise ValueError(
                    f"{' and '.join(map(repr, before))} are several weights in base, and one tied weight in the "
                    "architecture of tuned: give base as a module or as a folder with config.json"
                )
            # A buffer, of any type; one of an older version may have another shape.
            if name not in parameters:
                buffer = found.base[before[0]]
                if buffer.shape == state[name].shape:
                    state[name].copy_(buffer)
                continue
            parameter = state[name]
            value = wide_weight(found.base[before[0]], before[0], found.base)
            if value.shape != parameter.shape:
                raise ValueError(
                    f"base and tuned are not two states of one model: shapes differ: {name} {tuple(value.shape)} "
                    f"against {tuple(parameter.shape)}; where only heads or embeddings do, give base as a module or as "
                    "a folder"
                )
            parameter.copy_(value)
    return BaseModel(model, frozenset(fresh))


def all_equal(weights: WeightMapping, names: Sequence[str]) -> bool:
    """Tell whether several weights are the same numbers, as copies of one that was tied are."""
    first = weights[names[0]]
    return all(torch.equal(first, weights[name]) for name in names[1:])


def _open_folder(where: Located, memory: MappedMemory) -> BaseModel:
    """Leave the weights of a model in the files of its folder."""
    _check_folder(where)
    _check_quantization("base", where.weights().quantized)
    return BaseModel(open_mapped(where, memory), frozenset(), where.path or _local_folder(where))


def _check_folder(where: Located) -> None:
    if where.path and not (where.path / "config.json").is_file():
        raise ValueError(f"no model in {str(where.given)!r}: a local folder with config.json is needed")


def _load_folder(where: Located) -> BaseModel:
    source, local = str(where.given), where.path
    _check_folder(where)
    config = loadable_configuration(where)
    found = named_class(config)
    if found is None:
        raise ValueError(
            f"{source!r} names the architectures {config.architectures}, which transformers does not have"
        )
    _check_quantization("base", where.weights().quantized)  # those on the hub are fetched here: never pickled
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, info = found.from_pretrained(
                local or source,
                dtype="auto",
                use_safetensors=True,
                output_loading_info=True,
                local_files_only=local is not None,
                trust_remote_code=False,
            )
    except Exception as error:  # it raises what the broken file makes of it
        raise ValueError(f"cannot load {source!r}: {' '.join(str(error).split())}") from None
    fresh = frozenset(info["missing_keys"])
    return BaseModel(model.eval(), fresh, local or _local_folder(where))
