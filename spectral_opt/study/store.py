"""A study's records on disk, one JSON file for each finished cell; read back and held to the plan."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from string import hexdigits
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from paramgraph._checks import is_number
from paramgraph.errors import one_line
from paramgraph.whole_files import write_text
from spectral_opt.study.plan import Cell, Part, StudyPlan
from spectral_opt.study.records import CLASSIFICATION, SCHEMA, SCORES, CellRecord, Stage, Status

CELLS, STATES = "cells", "states"
# Beside scores, of a state where it has them.
NUMBERS = ("balanced_accuracy", "macro_f1", "loss", "cosine", "drift")
BANDS = 5


@dataclass(frozen=True)
class FoundRecords:
    """What is on disk of a study: `records` by the keys of their cells, and why each other file is `refused`."""

    records: Mapping[str, CellRecord]
    refused: Mapping[str, str]

    @property
    def diverged(self) -> dict[str, str]:
        """The cells whose loss was no number, each with what happened; they are among the records."""
        return {key: one.message for key, one in self.records.items() if one.status == "diverged"}


def write_record(folder: str | Path, cell: Cell, record: CellRecord) -> Path:
    """Write the record of a cell below a study's folder, whole or not at all, and give its path.

    A number that is not finite is a ValueError with the name of its field; OSError comes from the disk.
    """
    text = record_text(record)
    path = Path(folder, CELLS, cell.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def record_text(record: CellRecord) -> str:
    """Write a record as JSON; a number that is not finite is a ValueError with the name of its field."""
    content = asdict(record)
    for name, number in _not_finite("", content):
        raise ValueError(
            f"the record of {cell_of(record).key} has {number} in {name}: JSON and averages take finite numbers"
        )
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_records(folder: str | Path, plan: StudyPlan) -> FoundRecords:
    """Read all records below a study's folder, in the plan's order; what cannot count is refused by its file's name.

    Refused, with the reason, are files that are no JSON or no record of this schema, cells that the plan does not have,
    cells that ran under other settings of the plan or were measured at other places, and cells of other texts than the
    first of their job.
    """
    cells = {cell.key: (cell, job, plan.task_digest(job)) for job in plan.jobs() for cell in job.cells}
    place = Path(folder, CELLS)
    records: dict[str, CellRecord] = {}
    refused: dict[str, str] = {}
    for path in sorted(place.rglob("*.json")):
        name = path.relative_to(place).as_posix()
        try:
            record = record_from_json(path.read_text(encoding="utf-8"))
            key = cell_of(record).key
            if key not in cells:
                raise ValueError(f"foreign: the plan has no cell {key}")
            cell, job, digest = cells[key]
            if record.stage != cell.stage:
                raise ValueError(f"its stage is {record.stage}, the plan has {key} in {cell.stage}")
            if name != cell.file:
                raise ValueError(f"it is the record of {key}, whose file is {cell.file}")
            if record.digest != digest:
                raise ValueError("the settings of its task, part or model have changed since it ran")
            _check_places(record, job.part)
        except (
            ValueError,
            OSError,
            RecursionError,
        ) as error:  # not UTF-8 is a ValueError; very deep JSON the last
            refused[name] = one_line(error)
            continue
        records[key] = record
    kept: dict[str, CellRecord] = {}
    texts: dict[str, Mapping[str, str]] = {}
    for key, (cell, job, _) in cells.items():
        if key not in records:
            continue
        own = text_checksums(records[key])
        if others := other_texts(texts.setdefault(job.name, own), own):
            refused[cell.file] = (
                f"its texts ({', '.join(others)}) are others than those of the first record of {job.name}: the data "
                "changed in between"
            )
        else:
            kept[key] = records[key]
    return FoundRecords(kept, refused)


def text_checksums(record: CellRecord) -> Mapping[str, str]:
    """Give the checksums of the texts of a record, by what they are for; of others' records there may be none."""
    facts = record.config.get("facts")
    found = facts.get("checksums") if isinstance(facts, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def other_texts(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Name the checksums that both have, and that differ."""
    return [name for name, checksum in first.items() if second.get(name, checksum) != checksum]


def _check_places(record: CellRecord, part: Part) -> None:
    """Refuse a record whose curves have other places than its part says, which no digest has."""
    every = record.config.get("evaluate_every", part.evaluate_every)
    if every != part.evaluate_every:
        raise ValueError(f"its evaluate_every is {every}, the plan has {part.evaluate_every}")
    measured = tuple(point["factor"] for point in record.metrics.get("points", ()))
    wanted = part.factors_of(record.after is not None)
    # What cannot be scaled has its own state alone, without its distance from the start.
    is_whole = measured == (1.0,) and "drift" not in record.metrics["points"][0]
    if measured not in ((), wanted) and not is_whole:
        raise ValueError(f"its factors are {list(measured)}, the plan has {list(wanted)}")


def cell_of(record: CellRecord) -> Cell:
    """Give the cell that a record says it is of."""
    return Cell(**{field.name: getattr(record, field.name) for field in fields(Cell)})


def record_of(
    cell: Cell, **measured: Any
) -> CellRecord:  # Any: the other fields of a record, each of its own type
    """Make the record of a cell of what was measured: all fields that a cell does not have itself."""
    own = {field.name: getattr(cell, field.name) for field in fields(Cell)}
    own |= {name: dict(own[name]) for name in ("options", "after_options")}
    return CellRecord(**own, **measured)


def record_from_json(text: str) -> CellRecord:
    """Read a record; ValueError says what of it is none."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"corrupt: no JSON ({error})") from None
    if not isinstance(content, dict) or "schema" not in content:
        raise ValueError("corrupt: no record, which has a schema number")
    if content["schema"] != SCHEMA:
        raise ValueError(f"its schema is {content['schema']!r}; this version reads {SCHEMA}")
    known = {field.name: field for field in fields(CellRecord)}
    missing = [name for name, field in known.items() if name not in content and field.default is MISSING]
    beside = [name for name in content if name not in known]
    if missing or beside:
        told = [f"no {', '.join(missing)}"] if missing else []
        told += [f"{', '.join(beside)}, which no record has"] if beside else []
        raise ValueError(f"corrupt: it has {' and '.join(told)}")
    hints = get_type_hints(CellRecord)
    wrong = [name for name, value in content.items() if not _is_of(value, hints[name])]
    if wrong:
        raise ValueError(f"corrupt: {', '.join(f'{name} is {content[name]!r}' for name in wrong)}")
    for name, number in _not_finite("", content):  # 1e999
        raise ValueError(f"corrupt: {name} is {number}")
    points = content["metrics"].get("points", [])
    if content["status"] == "finished" and not points:
        raise ValueError("corrupt: it is finished and has no points")
    if not isinstance(points, list) or not all(
        isinstance(point, dict) and is_number(point.get("factor")) for point in points
    ):
        raise ValueError("corrupt: its points are no list of states, each with a factor")
    record = CellRecord(**content)
    if record.status == "finished":
        _check_states(
            record.metrics, (*SCORES[record.kind], "lost"), is_of_texts=record.kind == CLASSIFICATION
        )
    _check_curve(record.metrics)
    return record


def _check_states(metrics: Mapping[str, Any], needed: Sequence[str], *, is_of_texts: bool) -> None:
    """Refuse states without the numbers that every report reads: the start, a filter's fine-tune, each point.

    Scores of texts and what is lost of neighbours are shares; a percentage would be averaged with them.
    """
    states = {"start": metrics.get("start"), **({"tuned": metrics["tuned"]} if "tuned" in metrics else {})}
    states |= {f"the point at factor {point['factor']:g}": point for point in metrics["points"]}
    for name, state in states.items():
        lacking = [
            score for score in needed if not isinstance(state, dict) or not is_number(state.get(score))
        ]
        if lacking:
            raise ValueError(f"corrupt: {name} has no number under {', '.join(lacking)}")
        wrong = [key for key in NUMBERS if key in state and not is_number(state[key])]
        if is_of_texts:
            wrong += [key for key in needed if not 0 <= state[key] <= 1]
            wrong += ["correct"] * (not _is_hexadecimal(state.get("correct", "")))
        if wrong:
            raise ValueError(f"corrupt: of {name} {', '.join(f'{key} is {state[key]!r}' for key in wrong)}")
    bands = metrics.get("bands", [])
    if not isinstance(bands, list) or len(bands) not in (0, BANDS) or not all(map(_is_share, bands)):
        raise ValueError(f"corrupt: bands are {bands!r}, and should be {BANDS} shares or none")


def _check_curve(metrics: Mapping[str, Any]) -> None:
    """Refuse losses over steps that are no numbers, or that do not belong together."""
    curve = metrics.get("curve", {})
    if not isinstance(curve, dict) or not all(
        isinstance(values, list) and all(map(is_number, values)) for values in curve.values()
    ):
        raise ValueError("corrupt: its curve is no mapping to lists of numbers")
    sizes = {name: len(values) for name, values in curve.items() if name.startswith("dev_")}
    if len(set(sizes.values())) > 1 or (sizes and "dev_step" not in sizes):
        raise ValueError(
            f"corrupt: its curve has {', '.join(f'{size} {name}' for name, size in sizes.items())}: one of each, and a "
            "dev_step, stand for one look"
        )


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _is_hexadecimal(value: Any) -> bool:
    return isinstance(value, str) and len(value) % 2 == 0 and all(digit in hexdigits for digit in value)


def _is_of(value: Any, hint: Any) -> bool:
    """Tell whether a value of JSON is of the type of a field; a whole number is a float, too."""
    options = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_is_of(value, one) for one in options)
    if hint in (Stage, Status):
        return value in options
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_is_of(one, options[1]) for one in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"corrupt: {name} is no number")


def _not_finite(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield name, value
    inner = (
        value.items()
        if isinstance(value, Mapping)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    for key, one in inner:
        yield from _not_finite(f"{name}.{key}" if name else str(key), one)
