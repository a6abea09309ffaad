"""What the records of comparisons show, as the table and its two figures of the manual's page of results."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from paramgraph import Comparison
from paramgraph.display import MIDDLE_GREY, PALETTE, TableView

RECORDS = Path(__file__).with_name("comparisons")
FIGURES = Path(__file__).with_name("figures")
TASKS = {"rotten_tomatoes": "film reviews", "bbc": "news", "sotu_eras": "addresses (derived)"}
STATES = {
    "start": "gradients at the start",
    "tuned": "gradients after fine-tuning",
    "updates": "updates of 40 steps",
}
SOURCES = ("batch_gradients", "activations", "weights", "none")


def read(task: str, state: str) -> dict[str, dict[str, Any]]:
    """Read the pooled rows of one record, by construction."""
    record = Comparison.from_json(RECORDS / f"minilm_{task}_{state}.json")
    rows = sorted(record.summary_rows, key=lambda row: SOURCES.index(row["source"]))
    return {row["construction"]: row for row in rows}


def results_table() -> TableView:
    """Put three tasks and three signals side by side, with the null's mean in the last row."""
    found = {(task, state): read(task, state) for task in TASKS for state in STATES}
    names = list(found["rotten_tomatoes", "start"])

    def three(name: str, state: str, column: str) -> str:
        values = [found[task, state][name][column] for task in TASKS]
        return " / ".join("-" if value is None else f"{value:.2f}" for value in values)

    rows = [
        (
            f"null: {name}" if found["rotten_tomatoes", "start"][name]["null"] else name,
            *(three(name, state, "compaction") for state in STATES),
            three(name, "start", "lift_low"),
            three(name, "start", "lift_low_permuted"),
            f"{max(found[task, 'start'][name]['p_holm'] for task in TASKS):.2g}",
        )
        for name in names
    ]
    largest = max(abs(row["compaction_permuted"] - 0.2) for rows in found.values() for row in rows.values())
    header = ("graph of rows", "start", "after", "update", "lift", "null's lift", "p")
    caption = f"permuted nodes give 0.20 within {largest:.3f} in every cell"
    muted = frozenset(place for place, row in enumerate(rows) if row[0].startswith("null"))
    return TableView(header, tuple(rows), caption, muted)


def compaction_figure() -> Figure:
    """Draw the share of energy in the lowest fifth of the modes, beside the nulls."""
    figure, panels = _panels(len(STATES))
    for axes, (state, title) in zip(panels, STATES.items(), strict=True):
        for place, task in enumerate(TASKS):
            rows = read(task, state)
            heights = [_height(number, place) for number in range(len(rows))]
            axes.plot(
                [row["compaction"] for row in rows.values()],
                heights,
                "o",
                color=PALETTE[place],
                label=TASKS[task],
            )
            for null, mark in (("compaction_permuted", "|"), ("compaction_random", "x")):
                values = [row[null] for row in rows.values()]
                axes.plot(values, heights, mark, color=MIDDLE_GREY, markersize=5)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of energy in the lowest fifth of the modes")
        _name_rows(axes, list(rows))
    panels[0].plot([], [], "|", color=MIDDLE_GREY, label="null: nodes permuted")
    panels[0].plot([], [], "x", color=MIDDLE_GREY, label="null: random, same degrees")
    _legend(figure, panels[0])
    return figure


def lift_figure() -> Figure:
    """Draw how far the lowest fifth's signal-to-noise ratio stands above that of the whole spectrum."""
    states = ("start", "tuned")
    figure, panels = _panels(len(states))
    for axes, state in zip(panels, states, strict=True):
        axes.axvline(1, color=MIDDLE_GREY, linewidth=0.8)
        for place, task in enumerate(TASKS):
            rows = read(task, state)
            heights = [_height(number, place) for number in range(len(rows))]
            lift = [row["lift_low"] for row in rows.values()]
            low, high = ([row[f"lift_low_{end}"] for row in rows.values()] for end in ("low", "high"))
            axes.hlines(heights, low, high, color=PALETTE[place], alpha=0.5)
            axes.plot(lift, heights, "o", color=PALETTE[place], label=TASKS[task])
            axes.plot([row["lift_low_permuted"] for row in rows.values()], heights, "|", color=MIDDLE_GREY)
        axes.set_title(STATES[state], fontsize=10)
        axes.set_xlabel("lift of the lowest fifth of the modes")
        _name_rows(axes, list(rows))
    panels[0].plot([], [], "|", color=MIDDLE_GREY, label="null: nodes permuted")
    _legend(figure, panels[0])
    return figure


def _panels(count: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(3.6 + 3.0 * count, 4.4), layout="constrained")
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def _legend(figure: Figure, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)


def _height(number: int, place: int) -> float:
    # Tasks of one construction lie close together, one above the other.
    return number + 0.22 * (place - 1)


def _name_rows(axes: Any, names: list[str]) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=MIDDLE_GREY, alpha=0.15)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def write_figures(folder: Path = FIGURES) -> None:
    """Write both figures as SVG on white, which reads in a light and in a dark theme."""
    folder.mkdir(exist_ok=True)
    for name, figure in (("compaction", compaction_figure()), ("lift", lift_figure())):
        with mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(
                folder / f"{name}.svg", facecolor="white", metadata={"Date": None, "Creator": None}
            )
