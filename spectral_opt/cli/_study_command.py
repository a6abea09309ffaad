"""`spectral-opt study`: run, look at, verify and report a study of many cells."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from paramgraph.cli import CommandGroup, Json, Quiet, Traceback, argument, check_extras, option
from paramgraph.display import print_lines

if TYPE_CHECKING:
    from spectral_opt.study import StudyPlan
    from spectral_opt.study.scheduling import StudyRun

Folder = Annotated[Path, argument("DIR", "the study's folder")]
# Names and reasons on one line.
PIPE = 140


@dataclass(frozen=True, kw_only=True)
class RunCells:
    """Run the cells of a study that have no record yet; stop it at any moment, and go on with the same line.

    A study is a plan in YAML: tasks, methods, seeds, hyperparameters. Each finished cell is one file in DIR/cells.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "spectral-opt study run my-study --preset quick",
        "spectral-opt study run my-study --part task nulls --minutes 60",
        "spectral-opt study run my-study --scheduler tcp://host:8786",
    )

    folder: Folder
    preset: Annotated[
        str | None, option("plan of a new study, or of one that has grown: a preset or a YAML file")
    ] = None
    part: Annotated[list[str] | None, option("parts of the plan [all]", metavar="PART...")] = None
    workers: Annotated[int | None, option("processes of one thread each [2]")] = None
    minutes: Annotated[float | None, option("start no cell after that [until all are done]")] = None
    scheduler: Annotated[
        str | None, option("run on Dask: address of a scheduler, such as tcp://host:8786", metavar="ADDRESS")
    ] = None
    device: Annotated[str, option("where cells run: cpu, or an accelerator such as cuda [cpu]")] = "cpu"
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Run what is left; 1 where a cell failed, 130 where it was interrupted, with all finished cells on disk."""
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}: at least 1 is needed")
        if self.workers is not None and self.scheduler is not None:
            raise ValueError(
                "--workers are processes of this machine, --scheduler has workers of its own: give one of both, as "
                "--workers would be ignored"
            )
        if self.minutes is not None and not 0 <= self.minutes < float("inf"):
            raise ValueError(f"--minutes is {self.minutes:g}: a number of minutes is needed")
        from paramgraph.display import progress_bar
        from spectral_opt.study import check_sources, read_plan
        from spectral_opt.study.scheduling import begin_study, locked, run_study

        _check_folder(self.folder, self.preset)
        wanted = read_plan(self.preset) if self.preset is not None else None
        if wanted is not None:
            check_sources(wanted)
        with locked(self.folder) as dead:
            if dead:
                print_lines(f"taking over from process {dead}, which has ended", to_stderr=True)
            plan, changes = begin_study(self.folder, wanted)
            print_lines(*(f"changed in the plan: {text}" for text in changes), to_stderr=True)
            with progress_bar(1.0) as advance:
                done = run_study(
                    self.folder,
                    plan,
                    parts=self.part,
                    workers=self.workers or 2,
                    minutes=self.minutes,
                    scheduler=self.scheduler,
                    device=self.device,
                    advance=advance,
                )
        if self.json:
            print(json.dumps(asdict(done), allow_nan=False))
        else:
            print_lines(*_sentences(done, self.folder, self.traceback))
        return 0 if done.is_clean else 1


@dataclass(frozen=True, kw_only=True)
class Status:
    """Show how far a study is: cells done, diverged, refused, and the time that is left at the pace so far."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ("spectral-opt study status my-study",)

    folder: Folder
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Count what is on the disk."""
        from spectral_opt.study import read_records, study_status

        plan = _plan_of(self.folder)
        found = study_status(plan, read_records(self.folder, plan))
        if self.json:
            print(json.dumps(asdict(found), allow_nan=False))
            return 0
        check_extras("a table", ("rich",), "paramgraph[demo]")
        from paramgraph.display import TableView, print_views

        rows = tuple(
            (
                row.part,
                row.task,
                f"{row.done} / {row.cells}",
                str(row.diverged),
                "" if row.median_seconds is None else f"{row.median_seconds:.1f}",
                "" if row.hours_left is None else f"{row.hours_left:.2f}",
            )
            for row in found.rows
        )
        header = ("part", "task", "cells", "diverged", "median seconds", "core hours left")
        print_views([TableView(header, rows, words=frozenset({1}))], width=PIPE)
        print_lines("", f"{plan.title}: {found.done} of {found.cells} cells, {found.diverged} diverged")
        print_lines(*(f"refused: {name}: {reason}" for name, reason in found.refused.items()))
        return 0


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Run random recorded cells again and compare; exit code 1 where one does not come out again."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ("spectral-opt study verify my-study --cells 5",)

    folder: Folder
    cells: Annotated[int, option("cells to run again [2]")] = 2
    seed: Annotated[int, option("of the draw [0]")] = 0
    device: Annotated[str, option("where cells run: cpu, or an accelerator such as cuda [cpu]")] = "cpu"
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Measure drawn cells again."""
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}: at least 0 is needed")
        from paramgraph.display import progress_bar
        from spectral_opt.study import verify_cells

        plan = _plan_of(self.folder)
        with progress_bar(1.0) as advance:
            rows = verify_cells(self.folder, plan, self.cells, self.seed, device=self.device, advance=advance)
        if self.json:
            print(json.dumps([asdict(row) for row in rows], allow_nan=False))
        else:
            for row in rows:
                told = "; ".join(row.differences) if row.differences else "as recorded"
                print_lines(f"{row.cell}: {told}{f' ({row.remark})' if row.remark else ''}")
        return 1 if any(row.differences for row in rows) else 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the report of a study, finished or not: a page, Markdown and CSV in DIR/report."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ("spectral-opt study report my-study",)

    folder: Folder
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Read all records and report."""
        check_extras("a report", ("jinja2", "matplotlib", "rich"), "paramgraph[demo]")
        from paramgraph.display import print_views
        from spectral_opt.study import read_records
        from spectral_opt.study.report import write_report

        plan = _plan_of(self.folder)
        print_views(write_report(self.folder, plan, read_records(self.folder, plan)), width=PIPE)
        print_lines("", f"With figures: {self.folder / 'report' / 'report.html'}")
        return 0


STUDY = CommandGroup(
    "Measure ways to fine-tune beside each other: many cells, stopped and taken up again anywhere.",
    {"run": RunCells, "status": Status, "verify": Verify, "report": Report},
)


def _check_folder(folder: Path, preset: str | None) -> None:
    """Refuse a folder of something else before anything is made in it."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name the study's folder")
    if preset is None and not (folder / "study.yaml").is_file():
        raise ValueError(f"no study in {folder}: name its plan with --preset, a preset or a YAML file")
    # A run that was killed as it began has left its lock alone.
    others = [one for one in folder.iterdir() if one.name != "states"] if folder.is_dir() else []
    if preset is not None and others and not (folder / "study.yaml").is_file():
        raise ValueError(f"{folder} is not empty and holds no study: name another folder")


def _plan_of(folder: Path) -> "StudyPlan":
    from spectral_opt.study import stored_plan

    plan = stored_plan(folder)
    if plan is None:
        raise ValueError(
            f"no study in {folder}: begin one with `spectral-opt study run {folder} --preset quick`"
        )
    return plan


def _sentences(done: "StudyRun", folder: Path, with_traces: bool) -> Sequence[str]:
    from paramgraph.display import by_reason, some_names

    recorded = done.cells - done.left
    told = [f"{recorded} of {done.cells} cells are recorded in {folder}, {done.measured} of them now"]
    told += [f"{done.diverged} diverged, and count as such"] if done.diverged else []
    told += [f"refused: {name}: {reason}" for name, reason in done.refused.items()]
    told += [f"died and was replaced: {death}" for death in done.deaths]
    told += [f"failed: {some_names(keys)}: {text}" for text, keys in by_reason(done.failures.items())]
    told += [f"{len(done.failures)} cells failed"] if done.failures else []
    if with_traces:
        told += [line for text in dict.fromkeys(done.traces.values()) for line in text.splitlines()]
    return [*told, done.stopped] if done.stopped else told
