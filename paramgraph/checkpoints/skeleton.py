"""A model's architecture without its weights, from its description alone: what node tables are made of."""

from pathlib import Path
from typing import Any

from torch import nn

from paramgraph.checkpoints._architecture import configuration_of, modules_of
from paramgraph.checkpoints.location import CONFIG, Located, locate
from paramgraph.checkpoints.lora_adapters import ADAPTER_CONFIG
from paramgraph.checkpoints.safetensors_files import open_files, where_to_look


def open_skeleton(model: str | Path | Located) -> nn.Module:
    """Make the modules of a model on the meta device, from its config.json alone, in evaluation mode.

    No weight is read or drawn, so that a model of any size takes the memory of its Python objects; of one on the hub
    nothing else is fetched. Its class is the one that the description names, where transformers has it, else that of
    `AutoModel`. Tied weights are tied, and all parameters are of float type, whatever that of the checkpoint is. Code
    that comes with a model is never run. A ValueError names a description that is missing, broken or unknown.
    """
    where = locate(model)
    return modules_of(_config_file(where))


# Any: transformers' own, which is not typed.
def loadable_configuration(model: str | Path | Located, has_weights: bool = True) -> Any:
    """Read the configuration of a model that transformers may load from its folder, or by its name on the hub.

    Asked before every such load; a folder of the hub's cache may not have its weights yet. A ValueError refuses in one
    line what transformers would take from elsewhere (the base that an adapter names, files outside the folder), run
    (code on the hub), unpickle, fill the memory with, or not know.
    """
    where = locate(model)
    file = _config_file(where)
    if (file.parent / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"{file.parent} has both a model and an adapter, and transformers would load the base that the adapter "
            f"names: give a folder without {ADAPTER_CONFIG}"
        )
    if where.path is not None and has_weights:
        open_files(file.parent)
    return configuration_of(file)


def _config_file(where: Located) -> Path:
    folder = where.files(CONFIG)
    if where.kind == "file":
        raise ValueError(
            f"{folder} is a file, and the architecture stands in {CONFIG} beside it: give the folder {folder.parent}"
        )
    file = folder / CONFIG
    if file.is_file():
        return file
    if (folder / ADAPTER_CONFIG).is_file():  # asked here: on the hub it shows once the folder is there
        raise ValueError(
            f"{folder} is an adapter, an update of a model and no model: give its base as the model, and it as `tuned` "
            "where there is one; else what merge_and_unload makes of both"
        )
    present = sorted(entry.name for entry in folder.iterdir())[:8]
    raise ValueError(
        f"{str(where.given)!r} has no {CONFIG}, which names the architecture (it has {', '.join(present) or 'nothing'}"
        f"): {where_to_look(folder)}"
    )
