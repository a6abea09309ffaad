"""Measured states of a sweep that was interrupted: kept after each, taken up by the same sweep alone."""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from paramgraph.checkpoints import open_module
from paramgraph.digests import tensor_digest, text_digest
from paramgraph.environment import versions
from paramgraph.finished_pieces import FinishedPieces
from spectral_opt.refinement import open_tuned
from spectral_opt.sweep._measures import Forgotten
from spectral_opt.sweep._metrics import TaskResult
from spectral_opt.sweep._points import SweepPoint
from spectral_opt.sweep.setting import RefinementSetting

STATES = "states.jsonl"
EARLIER_STATES = "states.safetensors"  # of versions that kept all in one file
PLAIN = ("family", "strength", "norm_kept", "seconds")
PARTS: dict[str, type[Any]] = {"forgotten": Forgotten, "dev": TaskResult, "test": TaskResult}


class MeasuredStates:
    """Keep each measured state in `FinishedPieces`, text by text, with a hash of the file of graphs.

    ValueError for a folder with the states of another sweep, by what differs, of an earlier version, or with graphs of
    another file.
    """

    def __init__(self, setting: RefinementSetting, folder: Path, moments: Path | None = None) -> None:
        if (folder / EARLIER_STATES).exists():
            raise ValueError(
                f"{folder} holds a sweep of an earlier version, which this one cannot go on with: give another folder, "
                f"or remove {EARLIER_STATES} in it"
            )
        self._kept = FinishedPieces(folder / STATES, "sweep", sweep_identity(setting), pieces="states")
        self._moments = moments
        if any(line["graphs"] != self._graphs for line in self._kept.found):
            raise ValueError(
                f"{folder} holds another sweep (of other graphs than those in {moments}): give another folder, or "
                f"remove {STATES} in it"
            )
        self.found = [_read(line) for line in self._kept.found]

    def add(self, points: Sequence[SweepPoint]) -> None:
        """Keep those of these states that are not kept yet."""
        known = {(point.family, point.strength) for point in self.found}
        for point in points:
            if (point.family, point.strength) not in known:
                self._kept.append(_written(point) | {"graphs": self._graphs})
                self.found.append(point)

    @cached_property
    def _graphs(self) -> str | None:
        """Hash the file of graphs, which is there by the time that a state is measured with them."""
        if self._moments is None or not self._moments.is_file():
            return None
        with self._moments.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_identity(setting: RefinementSetting) -> dict[str, Any]:
    """Tell what the numbers of a sweep follow from: options, versions, and by hash texts, base and fine-tune."""
    texts = setting.texts
    task = None if texts.task is None else asdict(texts.task)
    base = open_module(setting.base.model)
    with open_tuned(setting.tuned, setting.base.model) as checkpoint:
        tuned = checkpoint.weights if checkpoint.adapter is None else checkpoint.adapter.stored
        weights = [
            text_digest(*(f"{name} {tensor_digest(opened[name])}" for name in opened))
            for opened in (base, tuned)
        ]
    return {
        "options": asdict(setting.options),
        "config": setting.config.to_dict(),
        "versions": versions(),
        "texts": text_digest(json.dumps([texts.build, texts.held_out, task])),
        "weights of the base": weights[0],
        "weights of the fine-tune": weights[1],
    }


def _written(point: SweepPoint) -> dict[str, Any]:
    parts = {
        part: {
            each.name: {
                "kind": array.dtype.str,
                "shape": array.shape,
                "content": b64encode(array.tobytes()).decode(),
            }
            for each in fields(values)
            if (array := getattr(values, each.name)) is not None
        }
        for part in PARTS
        if (values := getattr(point, part)) is not None
    }
    return {name: getattr(point, name) for name in PLAIN} | parts


def _read(line: Mapping[str, Any]) -> SweepPoint:
    parts: dict[str, Any] = {  # Any: the class that PARTS names
        part: kind(**{name: _array(**stored) for name, stored in line[part].items()})
        if part in line
        else None
        for part, kind in PARTS.items()
    }
    return SweepPoint(**{name: line[name] for name in PLAIN}, **parts)


def _array(kind: str, shape: Sequence[int], content: str) -> np.ndarray:
    # Every bit, as JSON has no NaN; a copy, as what lies in the bytes of a text cannot be written to.
    return np.frombuffer(b64decode(content), dtype=kind).reshape(shape).copy()
