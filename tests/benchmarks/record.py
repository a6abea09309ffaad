"""The record of a run: contests by group, slopes over their sizes, and what they were measured with."""

import gc
import importlib.metadata
import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import linregress

from paramgraph.environment import hardware, versions
from paramgraph.whole_files import write_text

from benchmarks.contest import digits, measure, one_thread
from benchmarks.groups import about, contests_of, group_names
from benchmarks.machine import load, measure_rates

SCHEMA = 1
PEERS = ("faiss-cpu", "hnswlib", "peft", "pygsp", "pyamg", "pytorch-optimizer", "threadpoolctl")


def measure_groups(
    groups: Iterable[str], path: Path, go_on: bool = False, brief: bool = False
) -> Iterator[str]:
    """Measure groups one after the other, write the record after each, and yield the name of each that is done.

    All groups make a new record; some are measured anew in the record that is there, and `go_on` measures those that it
    lacks, or has no more than a brief look at where more is asked for. A ValueError where that record is of another
    machine or of other versions.
    """
    chosen = list(groups)
    every = set(group_names())
    if unknown := sorted(set(chosen) - every):
        raise ValueError(f"no group of benchmarks {unknown}; there are {sorted(every)}")
    record = _empty()
    if path.exists() and (go_on or set(chosen) != every):
        record = read(path)
        if differences := _differences(record):
            raise ValueError(
                f"{path} was measured with {differences}; measure all groups anew (without --go-on), or name "
                "another file with --record"
            )
    for name in chosen:
        known = record["groups"].get(name, {}).get("profile")
        if not (go_on and known in ("full", "brief" if brief else "full")):
            record["groups"][name] = measure_group(name, brief)
            record["groups"] = dict(sorted(record["groups"].items()))
            record["slopes"] = slopes(one for group in record["groups"].values() for one in group["contests"])
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(record, indent=1) + "\n")
            yield name


def measure_group(name: str, brief: bool) -> dict[str, Any]:
    """Measure all contests of a group, with the rates of the machine and its load before and after them."""
    before, started = load(), time.perf_counter()
    with one_thread():
        rates = measure_rates()
        contests = []
        for contest in contests_of(name, "brief" if brief else "full"):
            gc.collect()  # not while something is timed
            contests.append(measure(contest, rates, brief))
    return {
        "about": about(name),
        "profile": "brief" if brief else "full",
        "load": [before, load()],
        "seconds": round(time.perf_counter() - started, 1),
        "rates": rates.to_dict(),
        "contests": contests,
    }


def read(path: Path) -> dict[str, Any]:
    """Read a record; a ValueError where it is none, or of another schema."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no record of benchmarks ({error}): move it away") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no record of benchmarks of schema {SCHEMA}: move it away")
    return record


def slopes(contests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit log time over log size to the shortest times of ours, where one size has three values and no other changes.

    Of several such lines of one name and size that with the most values is kept, then the latest. `last` is the slope
    between the two largest: what an overhead that does not grow adds to the small ones is not in it.
    """
    lines: dict[tuple[Any, ...], dict[int, float]] = {}
    theory = {}
    for one in contests:
        seconds = next(iter(one["times"].values()))["least"]
        for key, value in one["size"].items():
            others = tuple(sorted((name, other) for name, other in one["size"].items() if name != key))
            line = (one["name"], key, others)
            of_size = lines.setdefault(line, {})
            of_size[value] = min(max(seconds, 1e-9), of_size.get(value, math.inf))
            theory[line] = one["theory"].get(key)
    longest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for line in lines:
        before = longest.get(line[:2])
        if before is None or len(lines[line]) >= len(lines[before]):
            longest[line[:2]] = line
    found = []
    for name, key, others in longest.values():
        sizes, seconds = np.array(sorted(lines[name, key, others].items())).T
        if len(sizes) < 3:
            continue
        x, y = np.log(sizes), np.log(seconds)
        fit = linregress(x, y)
        found.append(
            {
                "name": name,
                "over": key,
                "at": dict(others),
                "sizes": [int(size) for size in sizes],
                "seconds": [digits(value) for value in seconds],
                "slope": round(float(fit.slope), 2),
                "error": round(float(fit.stderr), 2),
                "last": round(float((y[-1] - y[-2]) / (x[-1] - x[-2])), 2),
                "theory": theory[name, key, others],
            }
        )
    return found


def _empty() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "versions": versions() | {name: found for name in PEERS if (found := _version(name))},
        "hardware": hardware(),
        "groups": {},
        "slopes": [],
    }


def _differences(record: dict[str, Any]) -> str:
    """Name what a record was measured with that is not what there is here."""
    now = _empty()
    return ", ".join(
        f"{name} {value}"
        for part in ("versions", "hardware")
        for name, value in record[part].items()
        if now[part].get(name) != value
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
