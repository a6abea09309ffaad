"""The modules of a model on the meta device, made from a config.json that transformers understands."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from paramgraph.checkpoints.safetensors_files import read_json
from paramgraph.errors import one_line

# Fields that count what is made one by one, and more than any model has: a description that states more would fill the
# memory before anything could be compared.
_LARGEST_COUNTS = {"layer": 10_000, "depth": 10_000, "head": 100_000, "expert": 100_000, "label": 10_000_000}
_COUNT = re.compile(rf"({'|'.join(_LARGEST_COUNTS)})s?$")
LARGEST_MODEL = 10**14  # parameters; the largest that are known have some 10^12
_HOW_TO_ALLOW = (
    "code that comes with a model is not run: load it yourself, if you would run that code, and give the module to "
    "paramgraph in Python"
)

# Any: transformers is not typed, and a description holds whatever its author wrote.


def modules_of(file: Path) -> nn.Module:
    """Make the modules that a config.json describes; a ValueError says what is missing, broken or unknown in it."""
    config = configuration_of(file)
    try:
        kind = named_class(config)
        # Nothing is drawn on the meta device today; the caller's random state must not hang on that.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            made: nn.Module = (
                transformers.AutoModel.from_config(config, trust_remote_code=False)
                if kind is None
                else kind(config)
            )
        size = sum(parameter.numel() for parameter in made.parameters())
        if size > LARGEST_MODEL:
            raise ValueError(f"it would have {size:.2g} parameters, and no model has so many")
    # A description that contradicts itself fails wherever its architecture first trips over it.
    except Exception as error:
        raise ValueError(
            f"{file} describes no model (model_type {config.model_type!r}): {one_line(error)[:300]}"
        ) from error
    return made.eval()


def configuration_of(file: Path) -> Any:
    """Read a config.json as transformers' configuration; nothing that it names is run or fetched, no count is absurd.

    A ValueError says what is missing, broken or unknown.
    """
    stated = read_json(file)
    _check_stated(file, stated)
    try:
        return transformers.AutoConfig.from_pretrained(file.parent, trust_remote_code=False)
    except Exception as error:  # it raises what the broken entry makes of it: KeyError, TypeError, ...
        kind = stated.get("model_type")
        known = isinstance(kind, str) and kind in transformers.CONFIG_MAPPING
        if known:
            reason = one_line(error)[:300]
        elif stated.get("auto_map"):
            reason = f"its architecture is code of its own (auto_map), and {_HOW_TO_ALLOW}"
        else:
            reason = (
                f"transformers {transformers.__version__} has no architecture of that name; make the module yourself "
                "and give it to paramgraph in Python"
            )
        raise ValueError(f"cannot use {file} (model_type {kind!r}): {reason}") from error


def _check_stated(file: Path, stated: Mapping[str, Any]) -> None:
    """Refuse, before transformers acts on it, a description that would run code or fill the memory."""
    parts = [stated]
    while parts:
        for name, value in parts.pop().items():
            values = value if isinstance(value, list) else [value]
            parts += [item for item in values if isinstance(item, Mapping)]
            # An implementation of attention or experts may be one of kernels on the hub, "owner/name".
            if "implementation" in name:
                named = [*values, *(value.values() if isinstance(value, Mapping) else ())]
                if any(isinstance(item, str) and "/" in item for item in named):
                    raise ValueError(f"{file} names code to run ({name}: {value!r}), and {_HOW_TO_ALLOW}")
            if name == "configuration_files":
                raise ValueError(f"{file} points to other descriptions ({value!r}): give a folder with one")
            counted = _COUNT.search(name)
            for item in values if counted else ():
                most = _LARGEST_COUNTS[counted[1]] if counted else 0
                if isinstance(item, int) and item > most:
                    shown = f"{item:,}" if item < 10**18 else f"a number of {len(str(item))} digits"
                    raise ValueError(f"{file} states {name} = {shown}: no model has more than {most:,}")


def named_class(config: Any) -> Any:
    """Find the first class of `config.architectures` that transformers has for such a configuration; None for none."""
    for name in getattr(config, "architectures", None) or ():
        kind: Any = getattr(transformers, str(name), None)
        described: Any = getattr(kind, "config_class", None)
        # The architecture may be named as of another one, or be an alias of something that is no model.
        if described and issubclass(kind, transformers.PreTrainedModel) and isinstance(config, described):
            return kind
    return None
