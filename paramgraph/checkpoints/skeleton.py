"""A model's architecture without its weights, from its description alone: what node tables are made of."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from paramgraph.checkpoints.location import Located, locate
from paramgraph.checkpoints.lora_adapters import ADAPTER_CONFIG
from paramgraph.checkpoints.safetensors_files import read_json

CONFIG = "config.json"


def open_skeleton(model: str | Path | Located) -> nn.Module:
    """Make the modules of a model on the meta device, from its config.json alone, in evaluation mode.

    No weight is read or drawn, so that a model of any size takes the memory of its Python objects; of one on the hub
    nothing else is fetched. Its class is the one that the description names, where transformers has it, else that of
    `AutoModel`. Tied weights are tied, and all parameters are of float type, whatever that of the checkpoint is. Code
    that comes with a model is never run. A ValueError names a description that is missing, broken or unknown.
    """
    where = locate(model)
    config = _configuration(_config_file(where))
    kind = _named_class(config)
    try:
        # Nothing is drawn on the meta device today; the caller's random state must not hang on that.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            made: nn.Module = (
                transformers.AutoModel.from_config(config, trust_remote_code=False)
                if kind is None
                else kind(config)
            )
    # A description that contradicts itself fails wherever its architecture first trips over it.
    except Exception as error:
        raise ValueError(
            f"the {CONFIG} of {str(where.given)!r} describes no model (model_type {config.model_type!r}): "
            f"{_line(error)}"
        ) from error
    return made.eval()


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


def _configuration(file: Path) -> Any:
    stated = read_json(file)
    try:
        return transformers.AutoConfig.from_pretrained(file.parent, trust_remote_code=False)
    except Exception as error:  # it raises what the broken entry makes of it: KeyError, TypeError, ...
        kind = stated.get("model_type")
        known = isinstance(kind, str) and kind in transformers.CONFIG_MAPPING
        reason = (
            _line(error)
            if known
            else f"transformers {transformers.__version__} has no architecture of that name; make the module "
            "yourself and give it to paramgraph in Python"
        )
        raise ValueError(f"cannot use {file} (model_type {kind!r}): {reason}") from error


def _named_class(config: Any) -> Any:
    """Find the first class of `config.architectures` that transformers has for such a configuration."""
    for name in getattr(config, "architectures", None) or ():
        kind: Any = getattr(transformers, str(name), None)
        described: Any = getattr(kind, "config_class", None)
        # The architecture may be named as of another one, or be an alias of something that is no model.
        if described and issubclass(kind, transformers.PreTrainedModel) and isinstance(config, described):
            return kind
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
