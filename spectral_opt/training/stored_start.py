"""Theta_0 where it lies already, in the files of the base or in another copy, in place of a copy of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.checkpoints import in_module_names, open_files
from paramgraph.nodes import unwrap

# A folder or file, tensors by name, or "copy".
StartLike = str | Path | Mapping[str, Tensor]


class StoredStart:
    """Give the Theta_0 of parameters from where it is stored, if that is what they are now to the last bit.

    Else a copy of them: what is stored may be of another type, on another device, split over ranks, or of another
    start. `where` is the folder or file, "" for tensors in memory, and `names` and `size` say what is read there and
    not copied. A ValueError where `must` and a parameter is not stored so.
    """

    def __init__(self, stored: Mapping[str, Tensor], where: str = "", must: bool = False) -> None:
        self.where = where
        self.names: list[str] = []
        self.size = 0
        self._stored, self._must = stored, must

    def keep(self, name: str, parameter: Tensor) -> Tensor:
        """Give what is stored for a parameter, or a copy of it."""
        value = self._find(name, parameter)
        if value is None:
            if self._must:
                raise ValueError(
                    f"start: {self.where} does not hold {name!r} as it is now, so it is not Theta_0 of this run: "
                    "attach before training, to weights loaded from there in their own type on the CPU, or leave it out"
                )
            return parameter.detach().clone()
        if self.where:
            self.names.append(name)
            self.size += value.nbytes
        return value

    def _find(self, name: str, parameter: Tensor) -> Tensor | None:
        present = parameter.detach()
        if type(parameter.data) is not Tensor or name not in self._stored:
            return None
        value = self._stored[name]
        fits = (
            value.shape == present.shape and value.dtype == present.dtype and value.device == present.device
        )
        # The parameter itself would be trained.
        is_other = value.untyped_storage().data_ptr() != present.untyped_storage().data_ptr()
        return value.detach() if fits and is_other and torch.equal(value, present) else None


def find_stored(model: nn.Module, start: StartLike | None) -> StoredStart:
    """Find where Theta_0 of a model is stored: where `start` says, else in the hub's cache from which it was loaded.

    A file that is written to while a tensor is mapped from it takes the tensor with it, and may end the process: so of
    files only those of the cache, which are never written to, are taken without being named. "copy" takes none. A
    ValueError where a file or folder that is named cannot be read.
    """
    if isinstance(start, Mapping):
        return StoredStart(start)
    if start == "copy":
        return StoredStart({})
    folder = _cached(model) if start is None else Path(start)
    if folder is None:
        return StoredStart({})
    try:
        stored = in_module_names(open_files(folder, mapped=True), model)
    except (ValueError, KeyError, ImportError):
        if start is not None:
            raise
        return StoredStart({})
    return StoredStart(stored, str(folder), must=start is not None)


def _cached(model: nn.Module) -> Path | None:
    """Find the folder of the hub's cache from which transformers loaded a model; no network."""
    bare: Any = unwrap(model)
    inner = getattr(bare, "get_base_model", None)  # of a PeftModel
    name = getattr(getattr(inner() if callable(inner) else bare, "config", None), "_name_or_path", "")
    if not isinstance(name, str) or name.count("/") > 1 or not name or Path(name).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no name of a repository
        return None
    return Path(found).parent if isinstance(found, str) else None
