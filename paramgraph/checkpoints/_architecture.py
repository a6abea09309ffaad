"""The modules of a model on the meta device, made from a config.json that transformers understands."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from paramgraph.checkpoints.safetensors_files import read_json


def modules_of(file: Path) -> nn.Module:
    """Make the modules that a config.json describes; a ValueError says what is missing, broken or unknown in it."""
    config = _configuration(file)
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
            f"{file} describes no model (model_type {config.model_type!r}): {_line(error)}"
        ) from error
    return made.eval()


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
