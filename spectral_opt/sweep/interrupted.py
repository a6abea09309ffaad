"""Measured states of a sweep that was interrupted: written after each, taken up by the same sweep alone."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from paramgraph.checkpoints import open_module
from paramgraph.digests import tensor_digest, text_digest
from paramgraph.environment import versions
from paramgraph.whole_files import replacing
from spectral_opt.refinement import open_tuned
from spectral_opt.sweep._measures import Forgotten
from spectral_opt.sweep._metrics import TaskResult
from spectral_opt.sweep._points import SweepPoint
from spectral_opt.sweep.setting import RefinementSetting

STATES = "states.safetensors"
PARTS: dict[str, type[Any]] = {"forgotten": Forgotten, "dev": TaskResult, "test": TaskResult}


def sweep_key(setting: RefinementSetting, moments: Path | None = None) -> str:
    """Hash what the numbers of a sweep follow from: options, texts, all weights of base and fine-tune, versions.

    And, where it is there, the file of graphs, which may be of other texts.
    """
    texts = setting.texts
    task = None if texts.task is None else asdict(texts.task)
    told = [asdict(setting.options), texts.build, texts.held_out, task, setting.config.to_dict(), versions()]
    base = open_module(setting.base.model)
    with open_tuned(setting.tuned, setting.base.model) as checkpoint:
        tuned = checkpoint.weights if checkpoint.adapter is None else checkpoint.adapter.stored
        weights = [f"{name} {tensor_digest(opened[name])}" for opened in (base, tuned) for name in opened]
    graphs = []
    if moments is not None and moments.is_file():
        with moments.open("rb") as file:
            graphs.append(hashlib.file_digest(file, "sha256").hexdigest())
    return text_digest(json.dumps(told), *weights, *graphs)


def write_states(points: Sequence[SweepPoint], key: str, folder: Path) -> None:
    """Write states, text by text, into a file of `folder`; a reader never finds half of it."""
    tensors: dict[str, Tensor] = {}
    for number, point in enumerate(points):
        for part in PARTS:
            values = getattr(point, part)
            for each in () if values is None else fields(values):
                if (array := getattr(values, each.name)) is not None:
                    tensors[f"{number}.{part}.{each.name}"] = torch.from_numpy(np.ascontiguousarray(array))
    listed = [
        {name: getattr(point, name) for name in ("family", "strength", "norm_kept", "seconds")}
        for point in points
    ]
    with replacing(folder / STATES) as unfinished:
        save_file(tensors, unfinished, metadata={"key": key, "points": json.dumps(listed)})


def read_states(key: str, folder: Path) -> list[SweepPoint] | None:
    """Read the states that the sweep of this key has measured; None where there are none of it."""
    file = folder / STATES
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            if header.get("key") != key:
                return None
            arrays = {name: opened.get_tensor(name).numpy() for name in opened.keys()}  # noqa: SIM118  # no mapping
        return [
            SweepPoint(**point, **{part: _part(arrays, f"{number}.{part}.", part) for part in PARTS})
            for number, point in enumerate(json.loads(header["points"]))
        ]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None  # a damaged file is measured anew


def _part(arrays: dict[str, np.ndarray], prefix: str, part: str) -> Any:  # Any: the class that PARTS names
    found = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return PARTS[part](**found) if found else None
