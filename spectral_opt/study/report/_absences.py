"""What is not in the results: cells without a record, runs that diverged, files that are no record."""

from collections import Counter

from paramgraph.display import TableView, by_reason, some_names
from spectral_opt.study.report._overview import Overview
from spectral_opt.study.report._words import counted


def cells_table(overview: Overview) -> TableView:
    """Count the cells of each panel: planned, finished, diverged, missing."""
    rows = []
    for panel, own in overview.series.items():
        counts = [sum(map(count, own)) for count in (lambda s: s.planned, lambda s: len(s.finished))]
        counts += [sum(len(series.diverged) for series in own), sum(series.missing for series in own)]
        rows.append((panel.name, panel.stage, *(f"{count:,}" for count in counts)))
    return TableView(
        ("part", "stage", "cells", "finished", "diverged", "missing"),
        tuple(rows),
        "Cells: missing ones have no record",
        words=frozenset({1}),
    )


def absences(overview: Overview) -> list[str]:
    """Tell what is left out of all means and figures, each kind with its number and reasons."""
    said = []
    for own in overview.series.values():
        for series in own:
            if series.diverged:
                reasons = Counter(
                    record.message or "the loss was no number" for record in series.diverged.values()
                )
                told = "; ".join(
                    reason if count == 1 else f"{reason} ({count} runs)" for reason, count in reasons.items()
                )
                seeds = ", ".join(map(str, series.diverged))
                said.append(
                    f"Diverged: {series.panel.name}, {series.name}, {len(series.diverged)} of "
                    f"{counted(series.planned, 'run')} (seed {seeds}): {told}. They are in no mean; beside the plain "
                    "fine-tune they count as infinitely worse."
                )
    for reason, files in by_reason(overview.refused.items()):
        said.append(f"Refused: {counted(len(files), 'file')}, {reason}: {some_names(files)}.")
    missing = overview.planned - len(overview.records)
    if missing > 0:
        said.append(f"Missing: {counted(missing, 'cell')} of {overview.planned:,} have no record yet.")
    return said or ["Nothing: each cell has a finished run."]
