"""What refinement reads: a base that can run, and a fine-tuned checkpoint of which one weight is read at a time."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.checkpoints import AdaptedWeights, WeightMapping, open_checkpoint, open_module
from paramgraph.nodes import unwrap

ADAPTER_CONFIG = "adapter_config.json"

# A module, a state dict (whose values are looked at, not believed), a file, a folder, or a name on the hub.
ModelLike = nn.Module | Mapping[str, Any] | str | Path


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
    buffers: frozenset[str] = frozenset()  # names that are no parameters

    @property
    def adapter(self) -> AdaptedWeights | None:
        """The adapter, where the checkpoint is one."""
        return self.weights if isinstance(self.weights, AdaptedWeights) else None


def load_base(base: ModelLike, like: ModelLike | None = None) -> BaseModel:
    """Bring a base into a bare module that can run.

    A module is taken as it is; a local folder or a name on the hub is loaded with the class that its config names, in
    the dtype in which it was saved, from safetensors only; a state dict or a .safetensors file is put into a copy of
    `like`, the tuned model. ValueError if there is no such model, it has adapters in it, or no architecture is known.
    """
    if isinstance(base, nn.Module):
        model = unwrap(base)
        if any(hasattr(part, "base_layer") and hasattr(part, "active_adapters") for part in model.modules()):
            raise ValueError(
                "base has adapters in it, so it would run as the tuned model: load the base anew, or give its folder"
            )
        return BaseModel(model)
    if isinstance(base, Mapping) or (isinstance(base, str | Path) and Path(base).suffix == ".safetensors"):
        return _in_architecture_of(like, open_checkpoint(base))
    if not isinstance(base, str | Path):
        raise TypeError(
            f"base is a {type(base).__name__}; a module, a state dict, a .safetensors file, a local folder or a name "
            "on the hub is needed"
        )
    return _load_folder(base)


@contextmanager
def open_tuned(tuned: ModelLike, base: nn.Module) -> Iterator[TunedCheckpoint]:
    """Open a fine-tuned model, or an adapter on `base`, in any form, for as long as the block runs.

    ValueError if it cannot be read safely, or the adapter is of a kind whose update is not s B A.
    """
    if isinstance(tuned, nn.Module) and hasattr(unwrap(tuned), "peft_config"):
        with tempfile.TemporaryDirectory() as folder:
            _save_adapter(unwrap(tuned), folder)
            yield TunedCheckpoint(open_checkpoint(folder, open_module(base)), Path(folder))
    elif isinstance(tuned, nn.Module):
        model = unwrap(tuned)
        state = model.state_dict()
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        yield TunedCheckpoint(_of_state(state), None, model, frozenset(set(state) - parameters))
    elif isinstance(tuned, Mapping) and not isinstance(tuned, WeightMapping):
        yield TunedCheckpoint(_of_state(tuned))
    elif isinstance(tuned, str | Path | WeightMapping):
        weights = open_checkpoint(tuned, open_module(base))
        yield TunedCheckpoint(weights, None if isinstance(tuned, WeightMapping) else _local_folder(tuned))
    else:
        raise TypeError(
            f"tuned is a {type(tuned).__name__}; a module, a state dict, a .safetensors file, a local folder or a "
            "name on the hub is needed"
        )


def _of_state(state: Mapping[str, Any]) -> WeightMapping:
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise TypeError(f"{wrong[0]!r} in the state dict is a {type(state[wrong[0]]).__name__}, no tensor")
    return WeightMapping("tuned", state, lambda name: state[name].detach())


def _local_folder(source: str | Path) -> Path | None:
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent if (path.parent / "config.json").is_file() else None
    from huggingface_hub import snapshot_download

    # open_checkpoint has fetched it: this finds the folder in the cache.
    return Path(snapshot_download(str(source), allow_patterns=["*.json"], local_files_only=True))


def _save_adapter(model: Any, folder: str) -> None:
    active = list(model.active_adapters)
    if len(active) != 1:
        raise ValueError(f"tuned has the active adapters {active}: one can be refined; merge them first")
    name = active[0]
    # PEFT writes "default" into the folder itself and every other adapter into a folder of its name.
    model.save_pretrained(folder, selected_adapters=[name])
    if name != "default":
        for file in (Path(folder) / name).iterdir():
            file.rename(Path(folder) / file.name)


def _in_architecture_of(like: ModelLike | None, weights: WeightMapping) -> BaseModel:
    import copy

    if isinstance(like, nn.Module) and not hasattr(unwrap(like), "peft_config"):
        model = copy.deepcopy(unwrap(like))
    elif isinstance(like, str | Path) and (Path(like) / "config.json").is_file():
        model = _load_folder(like).model
    else:
        raise ValueError(
            "base is weights alone, and graphs are built by running a model: give base as a module or as a folder "
            "with config.json, or tuned as one of these"
        )
    fresh = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in weights:
                fresh.append(name)
            elif weights[name].shape != parameter.shape:
                raise ValueError(
                    "base and tuned are not two states of one model: shapes differ: "
                    f"{name} {tuple(weights[name].shape)} against {tuple(parameter.shape)}"
                )
            else:
                parameter.copy_(weights[name])
    return BaseModel(model, frozenset(fresh))


def _load_folder(source: str | Path) -> BaseModel:
    path = Path(source).expanduser()
    if path.exists():
        file = path / "config.json"
        if not file.is_file():
            raise ValueError(f"no model in {str(source)!r}: a local folder with config.json is needed")
        names = json.loads(file.read_text(encoding="utf-8")).get("architectures") or []
        open_checkpoint(path)  # refuses pickled, missing and truncated files in one line
    import transformers

    try:
        if not path.exists():
            open_checkpoint(str(source))
            names = transformers.AutoConfig.from_pretrained(str(source)).architectures or []
        found = getattr(transformers, names[0], None) if names else None
        if found is None:
            raise ValueError(
                f"{str(source)!r} names the architectures {names}, which transformers does not have"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, info = found.from_pretrained(
                source,
                dtype="auto",
                use_safetensors=True,
                output_loading_info=True,
                local_files_only=path.exists(),
            )
    except OSError as error:
        raise ValueError(f"cannot load {str(source)!r}: {' '.join(str(error).split())}") from None
    fresh = frozenset(info["missing_keys"])
    return BaseModel(model.eval(), fresh, path if path.exists() else _local_folder(source))
