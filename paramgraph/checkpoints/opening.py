"""Open a model's weights wherever they are: in a module, a mapping, a file, a folder, an adapter, on the hub."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from paramgraph.checkpoints.hub import fetch_from_hub
from paramgraph.checkpoints.lora_adapters import CONFIG, AdaptedWeights
from paramgraph.checkpoints.module_weights import open_module
from paramgraph.checkpoints.safetensors_files import open_files
from paramgraph.checkpoints.weight_mapping import WeightMapping


def open_checkpoint(source: Any, base: WeightMapping | None = None) -> WeightMapping:
    """Open the weights of a model without loading them.

    Parameters
    ----------
    source : nn.Module, mapping of str to Tensor, str or path
        A module, with its active LoRA adapters added in; a mapping such as a state dict; a .safetensors file
        or the index of a sharded one; a folder with either; a folder with a PEFT adapter; or, for a name that
        is no local path, a model on the hub, of which only .safetensors and .json files are fetched. Pickled
        files are refused.
    base : WeightMapping, optional
        What an adapter is added to; read for adapters only.

    Returns
    -------
    WeightMapping
        Lazy: a tensor of a file is read when it is asked for and not kept, so a pass over a checkpoint needs the
        memory of its largest tensor. It finds parameters of a bare model in its task model and the other way
        round.

    Raises
    ------
    TypeError
        If `source` is none of these.
    ValueError
        If there is nothing to read there, or nothing that can be read safely; the message says what to give.

    Examples
    --------
    >>> import torch
    >>> weights = open_checkpoint({"bert.encoder.weight": torch.ones(2)})
    >>> weights["encoder.weight"]
    tensor([1., 1.])
    """
    if isinstance(source, WeightMapping):
        return source
    if isinstance(source, nn.Module):
        return open_module(source)
    if isinstance(source, Mapping):
        return WeightMapping("the mapping", source, lambda name: _tensor(source, name))
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            "a checkpoint is a module, a mapping of names to tensors, a file, a folder or a name on the hub; "
            f"got {type(source).__name__}"
        )
    path = Path(source).expanduser()
    if not path.exists():
        path = fetch_from_hub(str(source), ["*.safetensors", "*.json"])
    if not (path / CONFIG).is_file():
        return open_files(path)
    if (path / "model.safetensors").is_file():
        raise ValueError(
            f"{path} has both a model and an adapter: give the file model.safetensors, or a folder"
        )
    if base is None:
        raise ValueError(
            f"{path} is an adapter, an update of a model and no model: give it as `tuned`, with its base"
        )
    return AdaptedWeights(path, base)


def _tensor(mapping: Mapping[str, Any], name: str) -> Tensor:
    value = mapping[name]
    if not isinstance(value, Tensor):
        raise TypeError(f"{name!r} in the mapping is a {type(value).__name__} and not a tensor")
    return value.detach()
