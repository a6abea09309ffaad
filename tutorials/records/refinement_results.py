"""What the records of refinements show, as the table and its figure of the manual's page of results."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from paramgraph.display import MIDDLE_GREY, PALETTE, TableView
from spectral_opt.study.statistics import least_lost

RECORDS = Path(__file__).with_name("refinements")
FIGURES = Path(__file__).with_name("figures")
TASKS = {"rotten_tomatoes": "film reviews", "sotu_eras": "addresses by era (derived)"}
FAMILIES = {
    "scaling": "scaling (WiSE-FT)",
    "columns": "graph of columns",
    "product": "product of rows and columns",
    "product, permuted": "null: nodes permuted",
    "product, rotated": "null: random directions",
}
NULLS = ("product, permuted", "product, rotated")
# In AUC, from the fine-tune's own.
LEVELS = (-0.005, -0.01, -0.02)


def read(task: str) -> list[dict[str, Any]]:
    """Read the records of a task, one for each seed."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob(f"{task}_*.json"))]


def path_of(record: dict[str, Any], family: str) -> list[tuple[float, float]]:
    """List (lost, AUC) of a family on its way from the fine-tune to what is nearest to the base."""
    own = [point for point in record["points"] if point["family"] == family]
    own.sort(key=lambda point: point["strength"], reverse=family == "scaling")
    (tuned,) = (point for point in record["points"] if point["family"] == "tuned")
    return [(point["lost"], point["auc"]) for point in (tuned, *own)]


def ratios(task: str, family: str, level: float) -> list[float]:
    """Give, for each seed, what a family loses over what scaling loses at one AUC."""
    found = []
    for record in read(task):
        score = path_of(record, "scaling")[0][1] + level
        own, scaling = (
            float(least_lost(*np.array(path_of(record, name)).T, score)) for name in (family, "scaling")
        )
        found.append(own / scaling)
    return found


def results_table() -> TableView:
    """Put, for both tasks and each level of the score, lost neighbours beside those that scaling loses."""
    rows = []
    for task, title in TASKS.items():
        other = f"product of {read(task)[0]['task']['other']}"
        families = [name for name in FAMILIES if name != "scaling"] + [other]
        for family in families:
            cells = []
            for level in LEVELS:
                values = np.array(ratios(task, family, level))
                known = values[np.isfinite(values)]
                cell = f"{known.mean():.2f} [{known.min():.2f}, {known.max():.2f}]" if len(known) else "-"
                cells.append(cell if len(known) == len(values) else f"{cell} ({len(known)} of {len(values)})")
            name = FAMILIES.get(family, f"product, of {family.removeprefix('product of ')} instead of news")
            rows.append((title, name, *cells))
    header = ("task", "filter", *(f"AUC {level:+g}" for level in LEVELS))
    seeds = {task: len(read(task)) for task in TASKS}
    caption = f"mean and range over seeds ({', '.join(f'{TASKS[task]}: {n}' for task, n in seeds.items())})"
    muted = frozenset(place for place, row in enumerate(rows) if row[1].startswith("null"))
    return TableView(header, tuple(rows), caption, muted)


def front_figure() -> Figure:
    """Draw the score over what was lost, mean of the seeds at each strength, from the fine-tune towards the base."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = figure.subplots(1, len(TASKS), squeeze=False)[0]
    for axes, (task, title) in zip(panels, TASKS.items(), strict=True):
        records = read(task)
        for place, (family, name) in enumerate(FAMILIES.items()):
            ways = np.array([path_of(record, family) for record in records])  # (seeds, states, 2)
            color = MIDDLE_GREY if family in NULLS else PALETTE[place]
            style = {"product, permuted": ":", "product, rotated": "--"}.get(family, "-")
            for way in ways:
                axes.plot(way[:, 0], way[:, 1], color=color, alpha=0.15, linewidth=1, linestyle=style)
            mean = ways.mean(axis=0)
            axes.plot(*mean.T, style, marker="o", markersize=3.5, color=color, label=name)
        for family, mark in (("base", "s"), ("tuned", "D")):
            points = [next(p for p in record["points"] if p["family"] == family) for record in records]
            at = np.mean([(point["lost"], point["auc"]) for point in points], axis=0)
            axes.plot(*at, mark, color="black", markersize=5)
            text = "linear probe on the base" if family == "base" else "fine-tune"
            axes.annotate(
                text,
                at,
                textcoords="offset points",
                xytext=(8, -3) if family == "base" else (6, -14),
                fontsize=9,
            )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("neighbours of news articles that are lost")
        axes.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("AUC of the task, test texts")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def write_figure(folder: Path = FIGURES) -> None:
    """Write the figure as SVG on white, which reads in a light and in a dark theme."""
    with mpl.rc_context({"svg.hashsalt": "refinement"}):
        front_figure().savefig(
            folder / "refinement.svg", facecolor="white", metadata={"Date": None, "Creator": None}
        )
