"""What the graphs of a refinement were measured to be, as one file: read again, nothing runs the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from paramgraph.checkpoints import open_module
from paramgraph.digests import tensor_digest, text_digest
from paramgraph.nodes import storage_key
from paramgraph.whole_files import replacing
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import (
    PreparedTable,
    match_tables,
    restore_table,
    table_left_alone,
    table_tensors,
)

# From 2 on what several tables share, as a basis of columns, is written once.
VERSION, READ = 2, ("1", "2")
# Fields of a config that its operators do not depend on: how a response is applied, and training.
APPLIED = frozenset(
    (
        *("response", "response_options", "placement", "filter_method", "rank", "tail", "norm_matching"),
        *("penalty", "penalty_mode", "penalty_on", "penalty_every", "ridge", "refresh"),
    )
)

Tables = Sequence[Mapping[str, PreparedTable]]


def write_moments(
    path: str | Path,
    model: nn.Module,
    configs: Sequence[SpectralConfig],
    tables: Tables,
    left: Tables,
    made_of: Mapping[str, str] | None = None,
) -> None:
    """Write the operators of all tables, one that tables share once, with the configs and a checksum of the base.

    Of tables that were left alone the reasons are written, and what the texts were that the graphs are `made_of`.
    """
    tensors: dict[str, Tensor] = {}
    places: dict[tuple[object, ...], str] = {}
    shared: dict[str, str] = {}
    numbers: dict[int, int] = {}
    listed: list[dict[str, int]] = []
    for of_config in tables:
        listed.append({})
        for group, ready in of_config.items():
            number = numbers.setdefault(id(ready.operator), len(numbers))
            listed[-1][group] = number
            if f"{number}.reason" in tensors:
                continue
            for part, value in table_tensors(ready, copy=False).items():
                name = f"{number}.{part}"
                first = places.setdefault(storage_key(value), name)
                if first == name:
                    tensors[name] = value.contiguous()
                else:
                    shared[name] = first
    header = {
        "version": str(VERSION),
        "base": checksum(model),
        "configs": json.dumps([measured_fields(config) for config in configs]),
        "tables": json.dumps(listed),
        "shared": json.dumps(shared),
        "left": json.dumps([{group: ready.reason for group, ready in found.items()} for found in left]),
    } | ({} if made_of is None else {"made_of": json.dumps(dict(made_of))})
    with replacing(Path(path).expanduser()) as unfinished:
        save_file(tensors, unfinished, metadata=header)


def read_moments(
    path: str | Path, model: nn.Module, configs: Sequence[SpectralConfig], mapped: bool = False
) -> list[dict[str, PreparedTable]]:
    """Read what `write_moments` wrote of the same base and configs; a ValueError for anything else.

    What is `mapped` stays in the file, which must not be written to then.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the file that Refiner.write_moments wrote")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check(path, header, model, configs)
            listed: list[dict[str, int]] = json.loads(header["tables"])
            # Earlier files tell of no table that was left alone.
            left: list[dict[str, str]] = json.loads(header.get("left", json.dumps([{}] * len(listed))))
            places = {name: name for name in file.keys()} | json.loads(header.get("shared", "{}"))  # noqa: SIM118
            return [
                _restored(file, places, model, config, numbers, reasons, mapped)
                for config, numbers, reasons in zip(configs, listed, left, strict=True)
            ]
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise _unreadable(path, error) from error


def moments_made_of(path: str | Path) -> dict[str, str] | None:
    """Read what texts the graphs in a file are made of; None where it does not say; ValueError for no such file."""
    try:
        with safe_open(Path(path).expanduser(), framework="pt") as file:
            made_of = (file.metadata() or {}).get("made_of")
            return None if made_of is None else dict(json.loads(made_of))
    except (SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path} holds no moments that can be read, or is damaged: {error}")


def _check(
    path: Path, header: Mapping[str, str], model: nn.Module, configs: Sequence[SpectralConfig]
) -> None:
    if header.get("version") not in READ:
        raise ValueError(f"{path} holds no moments of this version: write them with Refiner.write_moments")
    if header["base"] != checksum(model):
        raise ValueError(
            f"the moments in {path} were measured in another base (its weights have another checksum): give that base, "
            "or batches to measure anew"
        )
    written, asked = json.loads(header["configs"]), [measured_fields(config) for config in configs]
    if written == asked:
        return
    if len(written) != len(asked):
        raise ValueError(f"the moments in {path} are of {len(written)} configs, not of {len(asked)}")
    name = next(
        name
        for one, other in zip(written, asked, strict=True)
        for name in (one | other)
        if one.get(name) != other.get(name)
    )
    found = [[config.get(name) for config in configs] for configs in (written, asked)]
    raise ValueError(
        f"the moments in {path} are of another config: {name} is {found[0]} there, {found[1]} here"
    )


def _restored(
    file: Any,
    places: Mapping[str, str],
    model: nn.Module,
    config: SpectralConfig,
    numbers: Mapping[str, int],
    left: Mapping[str, str],
    mapped: bool,
) -> dict[str, PreparedTable]:
    """Make the tables of one config; those that shared an operator share it again, and those left alone have none."""
    bare = replace(config, penalty=0.0, placement=None)
    tables, _ = match_tables(model, bare)
    made: dict[int, PreparedTable] = {}
    found = {}
    for group, number in numbers.items():
        if number not in made:
            prefix = f"{number}."
            tensors = {
                name.removeprefix(prefix): file.get_tensor(place)
                for name, place in places.items()
                if name.startswith(prefix)
            }
            made[number] = restore_table(tables[group], tensors, bare, copy=not mapped)
        found[group] = replace(made[number], table=tables[group])
    return found | {
        group: table_left_alone(tables[group], tables[group].shape[0], reason)
        for group, reason in left.items()
    }


def measured_fields(config: SpectralConfig) -> dict[str, Any]:
    """Write the fields that decide what is measured; ValueError where a callable cannot be written down."""
    return {name: value for name, value in config.to_dict().items() if name not in APPLIED}


def checksum(model: nn.Module) -> str:
    """Hash all weights with their names."""
    weights = open_module(model)
    return text_digest(*(f"{name} {tensor_digest(weights[name])}" for name in weights))
