"""A model's architecture without its weights, from its description alone: what node tables are made of."""

from pathlib import Path

from torch import nn

from paramgraph.checkpoints._architecture import modules_of
from paramgraph.checkpoints.location import CONFIG, Located, locate
from paramgraph.checkpoints.lora_adapters import ADAPTER_CONFIG


def open_skeleton(model: str | Path | Located) -> nn.Module:
    """Make the modules of a model on the meta device, from its config.json alone, in evaluation mode.

    No weight is read or drawn, so that a model of any size takes the memory of its Python objects; of one on the hub
    nothing else is fetched. Its class is the one that the description names, where transformers has it, else that of
    `AutoModel`. Tied weights are tied, and all parameters are of float type, whatever that of the checkpoint is. Code
    that comes with a model is never run. A ValueError names a description that is missing, broken or unknown.
    """
    where = locate(model)
    return modules_of(_config_file(where))


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
            f"{folder} is an adapter, an update of a model and no model: give its base as the model, and it as `tuned`"
        )
    present = sorted(entry.name for entry in folder.iterdir())[:8]
    raise ValueError(
        f"{str(where.given)!r} has no {CONFIG}, which names the architecture (it has {', '.join(present) or 'nothing'}"
        "): give the folder that save_pretrained wrote"
    )
