"""Shards of one comparison, put together: what is of all layers is computed anew, what is of one is kept."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from paramgraph.comparison._left_out import joined_coverage, zero_reason
from paramgraph.comparison._setting import choices_of_cells
from paramgraph.comparison._store import plain
from paramgraph.comparison._summary import best_drawing, summarize
from paramgraph.comparison.result import Comparison

# Of each part its own. All else in a setting says how cells were measured, and is the same in all.
OF_A_PART = {
    *("targets", "layers", "coverage", "zero_layers", "chosen", "command"),
    *("versions", "hardware", "seconds", "peak_megabytes", "date"),
}
Value = TypeVar("Value")


def concatenated(parts: Sequence[Comparison]) -> Comparison:
    """Join cells and everything else of single layers, and pool them as `compare` does."""
    if not parts:
        raise ValueError("give at least one comparison to put together")
    for part in parts:
        if not isinstance(part, Comparison):
            raise TypeError(f"concat takes a list of comparisons, got {type(part).__name__}")
    _check(parts)
    cells = [cell for part in parts for cell in part.cells]
    agreements = [pair for part in parts for pair in part.agreements]
    left_out = _each_once(one for part in parts for one in part.left_out)
    signal = parts[0].setting["signal"]
    zero = [one["name"] for one in left_out if one["reason"] == zero_reason(signal)]
    # A part in which the signal is zero everywhere kept these layers, as there was nothing else.
    still = dict.fromkeys(cell["layer"] for cell in cells)
    for cell in cells:
        if cell["compaction"] is not None:
            still.pop(cell["layer"], None)
    if len(still) < len({cell["layer"] for cell in cells}):
        left_out += [{"name": layer, "reason": zero_reason(signal)} for layer in still]
        cells = [cell for cell in cells if cell["layer"] not in still]
        agreements = [pair for pair in agreements if pair["layer"] not in still]
    zero += still
    summary = summarize(parts[0].constructions, cells)
    return Comparison(
        plain(_setting(parts, cells, zero)),
        parts[0].constructions,
        tuple(cells),
        tuple(agreements),
        tuple(summary),
        tuple(failure for part in parts for failure in part.failures),
        tuple(_each_once(one for part in parts for one in part.refused)),
        best_drawing([part.drawing for part in parts if part.drawing], summary),
        tuple(left_out),
    )


def _check(parts: Sequence[Comparison]) -> None:
    first = parts[0]
    layers: set[str] = set()
    for number, part in enumerate(parts, start=1):
        lacking = sorted({"signal", *OF_A_PART} - set(part.setting))
        if lacking or any("evidence" not in cell for cell in part.cells):
            what = f"its setting lacks {', '.join(lacking)}" if lacking else "its cells have no evidence"
            raise ValueError(
                f"part {number} cannot be pooled with others: {what}, as in records of older versions; compare again"
            )
        keys = sorted((set(first.setting) | set(part.setting)) - OF_A_PART)
        differing = [key for key in keys if plain(first.setting.get(key)) != plain(part.setting.get(key))]
        differing += ["constructions"] if plain(first.constructions) != plain(part.constructions) else []
        if differing:
            key = differing[0]
            values = [first.setting.get(key), part.setting.get(key)]
            if key == "constructions":
                values = [[one["name"] for one in side.constructions] for side in (first, part)]
            raise ValueError(
                f"parts 1 and {number} were measured with other {', '.join(differing)}: {key} {values[0]} and "
                f"{values[1]}; shards differ in their layers alone"
            )
        own = {cell["layer"] for cell in part.cells}
        if own & layers:
            raise ValueError(
                f"the layer {min(own & layers)!r} stands in two parts: a layer is measured in one shard"
            )
        layers |= own


def _setting(
    parts: Sequence[Comparison], cells: Sequence[dict[str, Any]], zero: Sequence[str]
) -> dict[str, Any]:
    settings = [part.setting for part in parts]
    setting: dict[str, Any] = settings[0] | {
        "targets": _one_of([setting["targets"] for setting in settings], _all_words),
        "layers": sum(setting["layers"] for setting in settings),
        "coverage": joined_coverage([setting["coverage"] for setting in settings]),
        "zero_layers": len(zero),
    }
    # What was said of one part's cells is said of all anew.
    shared: list[str] = []
    for part in parts:
        told = {one["name"] for one in part.left_out if one["reason"] == zero_reason(setting["signal"])}
        told |= {cell["layer"] for cell in part.cells if cell["compaction"] is None}
        of_part = choices_of_cells(part.setting, part.cells, [name for name in zero if name in told])
        shared += [said for said in part.setting["chosen"] if said not in of_part]
    return setting | {
        "chosen": [*dict.fromkeys(shared), *choices_of_cells(setting, cells, zero)],
        "command": _one_of([setting["command"] for setting in settings], "\n".join),
        "versions": _by_name([setting["versions"] for setting in settings]),
        "hardware": _by_name([setting["hardware"] for setting in settings]),
        "seconds": sum(setting["seconds"] for setting in settings),
        "peak_megabytes": max(setting["peak_megabytes"] for setting in settings),
        "date": max(setting["date"] for setting in settings),
    }


def _one_of(values: Sequence[Value], join: Callable[[Sequence[Value]], Value]) -> Value:
    kept = _each_once(values)
    return kept[0] if len(kept) == 1 else join(kept)


def _all_words(targets: Sequence[str | list[str]]) -> str | list[str]:
    words = [[one] if isinstance(one, str) else one for one in targets]
    return list(dict.fromkeys(word for part in words for word in part))


def _by_name(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Keep what is the same in all parts, and name both where it is not."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: _one_of([part.get(name) for part in parts], lambda kept: " / ".join(map(str, kept)))
        for name in names
    }


def _each_once(values: Iterable[Value]) -> list[Value]:
    # Plain values, which may be unhashable: equal ones are written alike.
    return list({repr(value): value for value in values}.values())
