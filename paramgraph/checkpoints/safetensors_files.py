"""Safetensors files and folders of them, read one tensor at a time."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from paramgraph.checkpoints.weight_mapping import WeightMapping

INDEX = ".safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
HOW_TO_CONVERT = (
    "files of this kind can run code when they are loaded, so they are not read: load the model with the "
    "class that made it and write it out with save_pretrained, or its tensors with safetensors.torch.save_file"
)


def open_files(path: Path) -> WeightMapping:
    """Open a safetensors file, the index of a sharded one, or a folder with either.

    In a folder `model.safetensors` is taken first, then the one index, then the one file, as transformers does.
    Only headers are read here: O(number of tensors). Each tensor is read when it is asked for, and its file is
    closed after it.

    Parameters
    ----------
    path : Path
        The file or folder.

    Returns
    -------
    WeightMapping
        Of the tensors as they were stored, in any dtype, on the CPU.

    Raises
    ------
    ValueError
        If there is no safetensors file, or several without an index; a file is truncated or no safetensors
        file; an index is broken, names a file that is missing or lies outside the folder, or a tensor that
        its file does not have.

    Examples
    --------
    >>> import pathlib, tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": torch.ones(2)}, pathlib.Path(folder) / "model.safetensors")
    ...     open_files(pathlib.Path(folder))["weight"]
    tensor([1., 1.])
    """
    file = pick_file(path)
    if file.name.endswith(INDEX):
        return _open_index(file)
    names, aliases = _header(file)
    return WeightMapping(str(path), names, lambda name: _read(file, name), aliases)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    file : Path
        The file, in UTF-8.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    ValueError
        If it is missing, is no JSON, or no object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {file}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(content).__name__}")
    return content


def pick_file(path: Path) -> Path:
    """Choose the file with which a checkpoint is opened, as `open_files` does.

    Parameters
    ----------
    path : Path
        A file, which is the one, or a folder.

    Returns
    -------
    Path
        A safetensors file or the index of several.

    Raises
    ------
    ValueError
        If a folder has none or several, or the file is of a kind that can run code.
    """
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
    if files:
        raise ValueError(
            f"{folder} has several checkpoints ({', '.join(f.name for f in files)}): give one file"
        )
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
    if pickled:
        raise ValueError(f"{folder} has {', '.join(pickled[:3])} and no .safetensors; {HOW_TO_CONVERT}")
    raise ValueError(f"{folder} has no .safetensors file: give the folder that save_pretrained wrote")


def _open_index(index: Path) -> WeightMapping:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise ValueError(f"{index} has no weight_map of tensor names to file names")
    headers: dict[str, Mapping[str, None]] = {}
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
    return WeightMapping(
        str(index.parent), places, lambda name: _read(index.parent / places[name], name), aliases
    )


def _header(file: Path) -> tuple[dict[str, None], dict[str, str]]:
    """Read the names of the tensors, and those of the tied ones that were dropped when it was saved."""
    try:
        with safe_open(file, framework="pt") as opened:
            names = dict.fromkeys(opened.keys())
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"cannot read {file} (missing, truncated, or no safetensors file): {error}"
        ) from None
    # safetensors.torch.save_model notes {dropped name: kept name}.
    return names, {
        dropped: kept for dropped, kept in metadata.items() if kept in names and dropped not in names
    }


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(name)
        return tensor.clone()  # the tensor maps the file, which may be written anew while the caller holds it
