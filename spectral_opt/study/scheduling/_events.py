"""What workers tell, and what a kind of workers is."""

import errno
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paramgraph.errors import one_line
from spectral_opt.study import Cell, CellRecord, Job, StudyPlan

# `run_job`, or what a test puts in its place: called with the plan, the job and keywords.
RunJob = Callable[..., None]
# Cells that a job does not have to run, each with the checksums of its texts.
Known = Mapping[str, Mapping[str, str]]
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    "record": a cell was measured, `text` is its record as JSON where it is not on the disk yet; "failure": a cell
    raised, or with no cell the job did before any; "full": nothing more can be written; "died": the worker is gone;
    "finished": the job has no more cells to start, be it that the time is over.
    """

    kind: str
    job: str
    cell: str = ""
    text: str = ""
    trace: str = ""
    seconds: float = 0.0
    diverged: bool = False


class Workers(Protocol):
    """Those who run jobs, one each."""

    def free(self) -> int:
        """Count those that have nothing to do."""

    def start(self, job: Job, known: Known, seconds: float | None) -> None:
        """Have one run a job without the known cells, and start no cell after so many seconds."""

    def events(self) -> Iterator[Event]:
        """Give what has happened, after a second at most."""


MakeWorkers = Callable[[], AbstractContextManager[Workers]]


class _StopJobError(Exception):
    """Leaves `run_job` between two cells."""


def work_through(
    run: RunJob,
    plan: StudyPlan,
    job: Job,
    known: Known,
    seconds: float | None,
    states: Path | None,
    keep: Callable[[Cell, CellRecord], str],
    tell: Callable[[Event], object],
) -> None:
    """Run a job on this process, and tell what happens; `keep` writes a record, or gives it as text."""
    until = None if seconds is None else time.monotonic() + seconds

    def stop_if_late() -> None:
        if until is not None and time.monotonic() >= until:
            raise _StopJobError

    def on_record(cell: Cell, record: CellRecord) -> None:
        try:
            text = keep(cell, record)
        except OSError as error:
            tell(Event("full", job.name, cell.key, one_line(error, typed=True)))
            raise _StopJobError from None
        except ValueError as error:
            on_failure(cell, error)
        else:
            diverged = record.status == "diverged"
            tell(Event("record", job.name, cell.key, text, seconds=record.seconds, diverged=diverged))
        stop_if_late()

    def on_failure(cell: Cell, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in FULL:
            tell(Event("full", job.name, cell.key, one_line(error, typed=True)))
            raise _StopJobError from None
        tell(
            Event(
                "failure",
                job.name,
                cell.key,
                one_line(error, typed=True),
                "".join(traceback.format_exception(error)),
            )
        )
        stop_if_late()

    try:
        stop_if_late()
        run(plan, job, known=known, states=states, on_record=on_record, on_failure=on_failure)
    except _StopJobError:
        pass
    except Exception as error:
        tell(Event("failure", job.name, "", one_line(error, typed=True), traceback.format_exc()))
    tell(Event("finished", job.name))
