"""How far a study is: what is on the disk, and what is left at the pace so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from spectral_opt.study.plan import StudyPlan
from spectral_opt.study.scheduling import Pace
from spectral_opt.study.store import FoundRecords


@dataclass(frozen=True)
class StatusRow:
    """A part and task: its cells, and the hours that those ahead take on one core; None where none has finished."""

    part: str
    task: str
    cells: int
    done: int
    diverged: int
    median_seconds: float | None
    hours_left: float | None


@dataclass(frozen=True)
class StudyStatus:
    """All of a study: counts, a row for each part and task, and why files were refused."""

    cells: int
    done: int
    diverged: int
    hours_left: float | None
    rows: tuple[StatusRow, ...]
    refused: Mapping[str, str]


def study_status(plan: StudyPlan, found: FoundRecords) -> StudyStatus:
    """Count the cells of a plan that have a record, and estimate the rest by what the same method took."""
    rows = []
    # A run that diverged says nothing of how long others take.
    is_timed = any(record.status == "finished" for record in found.records.values())
    for part in plan.parts:
        for task in part.tasks:
            cells = [cell for job in plan.jobs([part.name]) if job.task.name == task for cell in job.cells]
            known = [found.records[cell.key] for cell in cells if cell.key in found.records]
            ahead = [cell for cell in cells if cell.key not in found.records]
            left = Pace(plan, found.records.values(), ahead).seconds_left() / 3600 if is_timed else None
            rows.append(
                StatusRow(
                    part=part.name,
                    task=task,
                    cells=len(cells),
                    done=len(known),
                    diverged=sum(record.status == "diverged" for record in known),
                    median_seconds=median(record.seconds for record in known) if known else None,
                    hours_left=left,
                )
            )
    return StudyStatus(
        cells=sum(row.cells for row in rows),
        done=sum(row.done for row in rows),
        diverged=sum(row.diverged for row in rows),
        hours_left=sum(row.hours_left or 0.0 for row in rows) if is_timed else None,
        rows=tuple(rows),
        refused=dict(found.refused),
    )
