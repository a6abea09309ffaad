"""What the records of the study show, as the README's tables and figure.

`python tutorials/records/study_results.py` prints what stands in the README and draws the figures again, from the
committed records in study/ alone: study.yaml, and a file for each cell.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from paramgraph.display import TableView, new_figure
from spectral_opt.study import judge, read_records, stored_plan
from spectral_opt.study.report import (
    Overview,
    baseline_of,
    draw_front,
    lost_cells,
    marks_of_parts,
    verdicts_table,
)

RECORDS = Path(__file__).with_name("study")
FIGURES = Path(__file__).with_name("figures")
# The parts that the main table and the front are of: tasks differ in their number of shots, which a part has one of.
MAIN = ("posthoc", "posthoc_sotu", "posthoc_20")
NOTHING_YET = (
    "Its confirmation is not recorded yet, only what tunes it. The table, the front, and each hypothesis as confirmed, "
    "refuted or undecided will stand here, made by [study_results.py](tutorials/records/study_results.py) from "
    "committed records alone."
)
FRONT = "![AUC of the task over the share of neighbours lost, by task](tutorials/records/figures/study.svg)"
# In inches, of a panel.
WIDTH, HEIGHT = 5.6, 3.8


def read(folder: Path = RECORDS) -> Overview | None:
    """Read the study's plan and records; None where there is none."""
    plan = stored_plan(folder)
    if plan is None:
        return None
    found = read_records(folder, plan)
    return Overview(plan, found.records, found.refused)


def hypotheses_table(overview: Overview) -> TableView:
    """Put the verdict of each hypothesis beside its claim."""
    return verdicts_table(judge(overview.plan, overview.records.values()))


def results_table(overview: Overview, parts: Sequence[str] = MAIN) -> TableView:
    """Put what each method loses over what scaling loses at equal AUC side by side, a column for each task."""
    panels = {panel: own for panel, own in overview.shown.items() if panel.part in parts}
    names = {
        series.name: series.is_null
        for own in panels.values()
        for series in own
        if series is not baseline_of(own) and series.is_trained
    }
    rows = []
    for name in names:
        cells = []
        for own in panels.values():
            series = next((one for one in own if one.name == name), None)
            shown = lost_cells(series, baseline_of(own)) if series is not None else []
            cells.append(" ".join(shown))
        rows.append((name, *cells))
    return TableView(
        ("method", *(f"{panel.task}, {panel.shots} a class" for panel in panels)),
        tuple(rows),
        "Neighbours lost over those that scaling AdamW's change loses at its AUC - .01: mean, 95 % interval; of a "
        "filter, which has one strength, on a straight line from the fine-tune to it",
        frozenset(place for place, is_null in enumerate(names.values()) if is_null),
    )


def readme_part(overview: Overview | None) -> str:
    """Write what the README says of the study."""
    if overview is None or not any(one.stage == "confirmation" for one in overview.records.values()):
        return NOTHING_YET
    done = f"{len(overview.records):,} of {overview.planned:,} cells are recorded."
    said = [done, hypotheses_table(overview).to_markdown()]
    if (table := results_table(overview)).rows:
        said += [FRONT, table.to_markdown(), f"*{table.caption}.*"]
    return "\n\n".join(said)


def write_figure(
    overview: Overview, folder: Path = FIGURES, parts: Sequence[str] = MAIN, name: str = "study"
) -> Path | None:
    """Draw the front of parts, a panel for each task, as SVG on white; None where nothing of them is finished."""
    panels = {
        panel: own
        for panel, own in overview.shown.items()
        if panel.part in parts and any(series.finished for series in own)
    }
    if not panels:
        return None
    figure = new_figure(WIDTH * len(panels), HEIGHT, columns=len(panels))
    marks = marks_of_parts(overview)
    for axes, (panel, own) in zip(figure.axes, panels.items(), strict=True):
        draw_front(axes, own, marks, "auc", 0.8 * HEIGHT)
        axes.set_title(f"{panel.task}, {panel.shots} a class", fontsize=10, loc="left")
    path = folder / f"{name}.svg"
    with mpl.rc_context({"svg.hashsalt": "study"}):
        figure.savefig(path, facecolor="white", metadata={"Date": None, "Creator": None})
    return path


if __name__ == "__main__":
    study = read()
    print(readme_part(study))
    if study is not None:
        write_figure(study)
        for one in study.plan.parts:
            if one.stage == "confirmation" and one.name not in MAIN:
                write_figure(study, parts=(one.name,), name=f"study_{one.name}")
