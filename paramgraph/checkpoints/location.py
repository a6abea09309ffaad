"""What a model argument is, told once: a module, weights in memory, a file, a folder, an adapter, a name on the hub.

Names that other packages know ("embedded") come in through `paramgraph.inputs.locate_model`.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from paramgraph.checkpoints.lora_adapters import ADAPTER_CONFIG, AdaptedWeights
from paramgraph.checkpoints.module_weights import open_module
from paramgraph.checkpoints.names_on_disk import in_module_names
from paramgraph.checkpoints.safetensors_files import open_files, read_json
from paramgraph.checkpoints.weight_mapping import WeightMapping
from paramgraph.nodes import unwrap

# What is fetched of a model on the hub when its weights are asked for: never a pickled file.
WEIGHTS = ("*.safetensors", "*.json")
CONFIG = "config.json"


@dataclass(frozen=True)
class Located:
    """What was given as a model, and where it is.

    A "module" runs and "weights" are a mapping in memory; a "file", a "folder" and an "adapter" (a folder with
    adapter_config.json) have a `path`; what is "hub" should be a name there, and is looked up when its files are
    asked for, at a branch, tag or commit where a `revision` is given.
    """

    kind: Literal["module", "weights", "file", "folder", "adapter", "hub"]
    given: Any  # as it came: `kind` says what it is
    path: Path | None = None
    revision: str | None = None

    @property
    def in_memory(self) -> bool:
        """Whether it was given as an object, and not by a path or a name."""
        return self.kind in ("module", "weights")

    @property
    def name(self) -> str:
        """What tables call it: the last part of a path or name, or the class of the object."""
        if self.in_memory:
            return type(_bare(self.given)).__name__
        last = Path(self.given).name
        # "." and ".." name no folder by themselves.
        return last if self.path is None or last not in ("", "..") else self.path.resolve().name

    def files(self, *patterns: str) -> Path:
        """Find its file or folder; of a model on the hub, what matches `patterns` is fetched into the cache.

        By default these are its weights; without a connection, it is what the cache has. A ValueError says that there
        is no such path and no such name.
        """
        if self.in_memory:
            raise ValueError(f"{self.name} was given in memory: it has no files")
        if self.path is not None:
            return self.path
        return fetch_from_hub(str(self.given), patterns or WEIGHTS, self.revision)

    def weights(
        self, base: WeightMapping | None = None, mapped: bool = False, skeleton: nn.Module | None = None
    ) -> WeightMapping:
        """Open its weights without loading them; `base` is what an adapter is added to. As `open_checkpoint`.

        Of files, the names are those of the modules of `skeleton`, where it has been made already.
        """
        if isinstance(self.given, WeightMapping):
            return self.given
        if self.kind == "module":
            return open_module(self.given)
        if self.kind == "weights":
            return WeightMapping("the mapping", self.given, lambda name: _tensor(self.given, name))
        path = self.files()
        if not (path / ADAPTER_CONFIG).is_file():
            _refuse_several_adapters(path)
            return _described(open_files(path, mapped), path if path.is_dir() else path.parent, skeleton)
        if (path / "model.safetensors").is_file():
            raise ValueError(
                f"{path} has both a model and an adapter: give the file model.safetensors, or a folder"
            )
        if base is None:
            raise ValueError(
                f"{path} is an adapter, an update of a model and no model: give it as `tuned`, with its base"
            )
        return AdaptedWeights(path, base)


# What a model may be given as. A mapping of tensors may be lazy: Any, as it must not be read to learn its type.
ModelLike = nn.Module | Mapping[str, Any] | str | os.PathLike[str] | Located


def locate(model: object, argument: str = "a checkpoint") -> Located:
    """Tell what was given as a model. Nothing is opened or fetched; a TypeError names the argument that is no model."""
    if isinstance(model, Located):
        return model
    if isinstance(model, nn.Module):
        return Located("module", model)
    if isinstance(model, Mapping):
        return Located("weights", model)
    if not isinstance(model, str | os.PathLike):
        raise TypeError(
            f"{argument} is a module, a mapping of names to tensors, a file, a folder or a name on the hub; "
            f"got {type(model).__name__}"
        )
    path = existing_path(model)
    if path is None:
        return Located("hub", model)
    if path.is_file():
        return Located("file", model, path)
    return Located("adapter" if (path / ADAPTER_CONFIG).is_file() else "folder", model, path)


def open_checkpoint(
    source: ModelLike, base: WeightMapping | None = None, mapped: bool = False
) -> WeightMapping:
    """Open the weights of a model without loading them.

    A module's have its active LoRA adapters added in; a mapping is a state dict or the like; a file is a .safetensors
    file or the index of a sharded one; a folder has either, or a PEFT adapter, which is added to `base`; of a model
    on the hub only .safetensors and .json files are fetched. Pickled files are refused.

    A tensor of a file is read when it is asked for and not kept, so a pass over a checkpoint needs the memory of its
    largest tensor. Where a config.json beside the file says what model it is, names are those of its modules, also
    where transformers saves them under others or in parts. Parameters of a bare model are found in its task model and
    the other way round. `mapped` is for files, as in `open_files`. What is none of these raises a TypeError; where
    nothing can be read safely, a ValueError says what to give.

    >>> import torch
    >>> weights = open_checkpoint({"bert.encoder.weight": torch.ones(2)})
    >>> weights["encoder.weight"]
    tensor([1., 1.])
    """
    return locate(source).weights(base, mapped)


def existing_path(asked: str | os.PathLike[str]) -> Path | None:
    """Find a file or folder by what was typed where a path may stand, such as a hub name or a whole sentence.

    The home folder is put in the place of "~".

    >>> existing_path("no-such-file.csv") is None
    True
    """
    if not str(asked):
        return None  # as a path it would be the current folder
    try:
        path = Path(asked).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        # Too long for a file name, the home of an unknown user, a null byte: no path, and no crash either.
        return None


def check_outside(place: Path | None, texts: Iterable[str | None]) -> None:
    """Refuse with a ValueError to write into a folder of texts: its next reader would take what was written for more.

    `texts` are what was typed for them: folders count, and names, files and None do not.
    """
    if place is None:
        return
    for asked in filter(None, texts):
        folder = existing_path(asked)
        if folder is not None and folder.is_dir() and place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{place} lies in {asked}, a folder whose files are read as texts: what is written there would be read "
                "as more of them; name a folder outside"
            )


def fetch_from_hub(name: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    """Fetch files of a model on the hub ("owner/name") into its cache, and give their folder there.

    `revision` is a branch, tag or commit, by default the main branch.
    """
    # The form of a hub name; anything else was meant as a path.
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) or name.endswith(
        (".safetensors", ".json", ".bin")
    ):
        raise ValueError(f"no file or folder {name!r}")
    from huggingface_hub import snapshot_download

    try:
        # Files of the top folder only: others are the same weights for other programs.
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"])
        )
    except (OSError, ValueError) as error:
        at = "" if revision is None else f" at {revision}"
        raise ValueError(
            f"{name!r} is no local file or folder, and the model hub gave none of that name{at}: {error}. Check the "
            "path, or download the model while online and give its folder"
        ) from None


def _described(weights: WeightMapping, folder: Path, skeleton: nn.Module | None) -> WeightMapping:
    """Give the weights of a folder the names of the modules that its config.json describes, where it does."""
    if not (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file():
        return weights
    from paramgraph.checkpoints._architecture import modules_of  # transformers is slow to import

    try:
        model = modules_of(folder / CONFIG) if skeleton is None else skeleton
        quantized = read_json(folder / CONFIG).get("quantization_config")
    except ValueError:  # of no architecture that is known here: its names are those on disk
        return weights
    if isinstance(quantized, dict):
        weights.quantized = str(quantized.get("quant_method") or "quantization_config")
    return in_module_names(weights, model)


def _refuse_several_adapters(path: Path) -> None:
    """Name the adapters in a folder's subfolders, where PEFT writes those that are not called "default"."""
    if path.is_file() or any(path.glob("*.safetensors")):
        return
    adapters = sorted(file.parent.name for file in path.glob(f"*/{ADAPTER_CONFIG}"))
    if adapters:
        raise ValueError(f"{path} has adapters in subfolders ({', '.join(adapters)}): give the folder of one")


def _bare(model: object) -> object:
    return unwrap(model) if isinstance(model, nn.Module) else model


def _tensor(mapping: Mapping[str, object], name: str) -> Tensor:
    value = mapping[name]
    if not isinstance(value, Tensor):
        raise TypeError(f"{name!r} in the mapping is a {type(value).__name__} and not a tensor")
    return value.detach()
