"""Random recorded cells, run again and held against their records."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paramgraph._checks import is_number
from paramgraph.environment import hardware, versions
from spectral_opt.study.device import DEVICE
from spectral_opt.study.plan import StudyPlan
from spectral_opt.study.records import CellRecord
from spectral_opt.study.running import run_job
from spectral_opt.study.scheduling import RunJob, run_study
from spectral_opt.study.store import other_texts, read_records, text_checksums

# One thread, one machine, the same libraries: nothing is drawn anew, and records keep all digits.
SAME = 1e-6
# Elsewhere float32 sums round otherwise, and over hundreds of steps a fine-tune goes another way to as good a place:
# scores and shares of some hundred texts move by a few of them. What is compared are numbers between 0 and about 1.
OTHER = 0.05


@dataclass(frozen=True)
class VerifiedCell:
    """A cell that was run again: what differs, and what makes a comparison coarser."""

    cell: str
    differences: tuple[str, ...]
    remark: str = ""


def verify_cells(
    folder: Path,
    plan: StudyPlan,
    cells: int = 2,
    seed: int = 0,
    *,
    workers: int = 1,
    device: str = "cpu",
    advance: Callable[[float, str], None] = lambda work, what: None,
    run: RunJob = run_job,
) -> list[VerifiedCell]:
    """Run randomly drawn recorded cells again, fine-tunes and filters, and compare all that was measured but times.

    A file that was refused is a difference too, and so are other texts. On the CPU of the same machine with the same
    versions numbers must agree to 1e-6; elsewhere, and on an accelerator, to 0.05, without the losses on the way, and
    the remark names what is other. ValueError where there are fewer records than `cells`, or no such device.
    """
    found = read_records(folder, plan)
    recorded = sorted(found.records)
    if not 1 <= cells <= len(recorded):
        raise ValueError(
            f"{folder} has {len(recorded)} records that can be run again; --cells is {cells}"
            if recorded
            else f"{folder} has no record that could be run again"
        )
    drawn = sorted(np.random.default_rng(seed).choice(len(recorded), size=cells, replace=False).tolist())
    keys = [recorded[place] for place in drawn]
    rows = [VerifiedCell(name, (f"refused: {reason}",)) for name, reason in found.refused.items()]
    with tempfile.TemporaryDirectory() as scratch:
        done = run_study(
            Path(scratch), plan, only=keys, workers=workers, advance=advance, run=run, device=device
        )
        again = read_records(scratch, plan).records
    for key in keys:
        if key not in again:
            reason = done.failures.get(key, done.stopped or "nothing was measured")
            rows.append(VerifiedCell(key, (f"it cannot be run again: {reason}",)))
            continue
        rows.append(_compared(key, found.records[key], again[key]))
    return rows


def _compared(key: str, recorded: CellRecord, again: CellRecord) -> VerifiedCell:
    other = [name for name, value in versions().items() if recorded.versions.get(name) != value]
    there, device = {DEVICE: "cpu", **recorded.hardware}, again.hardware.get(DEVICE, "cpu")
    here = {**hardware(), DEVICE: device}
    other += [name for name, value in here.items() if there.get(name) != value]
    other = [name for name in other if name != "torch_threads" or recorded.hardware.get(name) != 1]
    on_cpu = device == "cpu"
    tolerance = SAME if on_cpu and not other else OTHER
    reasons = [f"another {', '.join(other)}"] if other else []
    reasons += [] if on_cpu else [f"sums on {device} have no fixed order"]
    remark = f"{'; '.join(reasons)}: numbers agree to {tolerance:g} at best" if reasons else ""
    if recorded.status != again.status:
        return VerifiedCell(key, (f"{recorded.status} recorded, {again.status} now",), remark)
    differences = [
        f"its texts ({one}) are others now" for one in other_texts(*map(text_checksums, (recorded, again)))
    ]
    # Of another machine's run the way may differ at every step, and only where it comes to is compared.
    names = ("start", "tuned", "points", "bands", *(["curve"] if tolerance == SAME else []))
    for name in names:
        there, here = (_without_times(record.metrics.get(name)) for record in (recorded, again))
        differences += _differences(name, there, here, tolerance)
    return VerifiedCell(key, tuple(differences), remark)


def _without_times(measured: Any) -> Any:
    if isinstance(measured, Mapping):
        return {name: value for name, value in measured.items() if name != "dev_cpu_seconds"}
    return measured


def _differences(name: str, recorded: Any, again: Any, tolerance: float) -> Iterator[str]:
    """Yield where two values of JSON differ, numbers by more than a tolerance."""
    if isinstance(recorded, Mapping) and isinstance(again, Mapping):
        for key in [*recorded, *(key for key in again if key not in recorded)]:
            yield from _differences(f"{name}.{key}", recorded.get(key), again.get(key), tolerance)
    elif isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        for place, pair in enumerate(zip(recorded, again, strict=True)):
            yield from _differences(f"{name}.{place}", *pair, tolerance)
    elif is_number(recorded) and is_number(again):
        if not math.isclose(recorded, again, rel_tol=tolerance, abs_tol=tolerance):
            yield f"{name} is {recorded:g} in the record, {again:g} now"
    elif recorded != again and not (tolerance > SAME and name.endswith(".correct")):
        yield f"{name} is {recorded!r} in the record, {again!r} now"
