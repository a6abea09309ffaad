"""Safetensors files and folders of them, read one tensor at a time."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from paramgraph.checkpoints.weight_mapping import LastStack, WeightMapping

INDEX = ".safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
HOW_TO_CONVERT = (
    "files of this kind can run code when they are loaded, so they are not read: load the model with the "
    "class that made it and write it out with save_pretrained, or its tensors with safetensors.torch.save_file"
)


def open_files(path: Path, mapped: bool = False) -> WeightMapping:
    """Open a safetensors file, the index of a sharded one, or a folder with either.

    In a folder `model.safetensors` is taken first, then the one index, then the one file, as transformers does.
    Only headers are read here: O(number of tensors). Each tensor is read when it is asked for, in its stored dtype, and
    its file is closed after it; the last one is kept where it has three dimensions, as experts ask for theirs one by
    one. A ValueError says that there is no safetensors file, or several without an index; that
    one is truncated; or that an index is broken, or names what is missing or lies outside the folder.

    A `mapped` tensor is no copy: its memory is the file, which must not be written to while it is held.
    """
    file = _pick_file(path)
    if file.name.endswith(INDEX):
        return _open_index(file, mapped)
    shapes, aliases = _header(file)
    last = LastStack()
    return WeightMapping(
        str(path),
        shapes,
        lambda name: last.of((name,), len(shapes[name]), lambda: _read(file, name, mapped)),
        aliases,
        shapes.__getitem__,
    )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object in UTF-8; a ValueError names a file that is missing, or is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last of what is nested without end
        raise ValueError(f"cannot read {file}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(content).__name__}")
    return content


@dataclass(frozen=True)
class CheckpointInventory:
    """What a checkpoint holds on disk; tied weights are stored once."""

    files: int
    tensors: int
    entries: int
    size: int  # bytes
    dtypes: Mapping[
        str, int
    ]  # entries of each type, by its name in the file ("F32", "BF16"), most frequent first


def checkpoint_inventory(path: Path) -> CheckpointInventory:
    """Count what `open_files` would open, from the headers: no tensor is read. Raises as it does."""
    stored = stored_files(path)
    tensors, dtypes = 0, Counter[str]()
    for part in stored:
        with safe_open(part, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # no mapping: it cannot be iterated itself
                view = opened.get_slice(name)
                dtypes[view.get_dtype()] += prod(view.get_shape())
                tensors += 1
    return CheckpointInventory(
        len(stored),
        tensors,
        sum(dtypes.values()),
        sum(part.stat().st_size for part in stored),
        MappingProxyType(dict(dtypes.most_common())),
    )


def stored_files(path: Path) -> list[Path]:
    """List the files that `open_files` would read, in the order in which an index names them; raises as it does."""
    open_files(path)  # finds what is missing, truncated or broken
    file = _pick_file(path)
    if not file.name.endswith(INDEX):
        return [file]
    return [file.parent / place for place in dict.fromkeys(read_json(file)["weight_map"].values())]


def _pick_file(path: Path) -> Path:
    """Choose the safetensors file or index with which a checkpoint is opened; raises as `open_files`."""
    if path.is_dir():
        return _pick(path)
    if path.suffix in PICKLED:
        raise ValueError(f"{path} is no safetensors file; {HOW_TO_CONVERT}")
    return path


def _pick(folder: Path) -> Path:
    single = folder / "model.safetensors"
    if single.is_file():
        return single
    indices = sorted(folder.glob(f"*{INDEX}"))
    files = indices or sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    if files and all(SHARD.search(file.name) for file in files):
        raise ValueError(
            f"{folder} has parts of a model ({files[0].name}, ...) and no *{INDEX}, which says where each tensor is: "
            "fetch or copy it too"
        )
    if files:
        raise ValueError(
            f"{folder} has several checkpoints ({', '.join(f.name for f in files)}): give one file"
        )
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
    if pickled:
        raise ValueError(f"{folder} has {', '.join(pickled[:3])} and no .safetensors; {HOW_TO_CONVERT}")
    raise ValueError(f"{folder} has no .safetensors file: {where_to_look(folder)}")


def where_to_look(folder: Path) -> str:
    """Name the models below a folder that is none, as a training leaves them there; without any, say what is one."""
    below = [
        file.parent for pattern in ("*/", "checkpoints/*/") for file in folder.glob(f"{pattern}config.json")
    ]
    if not below:
        return "give the folder that save_pretrained wrote"
    last = max(below, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    return f"it has models in subfolders ({len(below)}): give one of them, such as {last}"


def _open_index(index: Path, mapped: bool) -> WeightMapping:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise ValueError(f"{index} has no weight_map of tensor names to file names")
    headers: dict[str, Mapping[str, tuple[int, ...]]] = {}
    aliases: dict[str, str] = {}
    for place in dict.fromkeys(places.values()):
        inside = PurePosixPath(place)
        # As written, not resolved: the hub's cache links each file to a place outside the folder.
        if inside.is_absolute() or ".." in inside.parts or "\\" in place or ":" in place:
            raise ValueError(f"{index} names a file outside its folder: {place!r}")
        headers[place], tied = _header(index.parent / place)
        aliases |= tied
    lost = [name for name, place in places.items() if name not in headers[place]]
    if lost:
        raise ValueError(f"{places[lost[0]]} does not have the tensor {lost[0]!r} that {index} places there")
    last = LastStack()
    return WeightMapping(
        str(index.parent),
        places,
        lambda name: last.of(
            (name,),
            len(headers[places[name]][name]),
            lambda: _read(index.parent / places[name], name, mapped),
        ),
        aliases,
        lambda name: headers[places[name]][name],
    )


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Read names and shapes of the tensors, and the names of tied ones that were dropped when it was saved."""
    try:
        with safe_open(file, framework="pt") as opened:
            names = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118  # no mapping
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"cannot read {file} (missing, truncated, or no safetensors file), fetch or copy it again: {error}"
        ) from None
    # safetensors.torch.save_model notes {dropped name: kept name}.
    return names, {
        dropped: kept for dropped, kept in metadata.items() if kept in names and dropped not in names
    }


def _read(file: Path, name: str, mapped: bool) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(name)
        # The tensor maps the file, which may be written anew while the caller holds it.
        return tensor if mapped else tensor.clone()
