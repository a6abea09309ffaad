"""A run's page: its scores, its learning curves, and all that was left out or decided on the way."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from paramgraph.display import Curve, FigureView, Section, TableView, draw_curves, render_page
from spectral_opt.finetuning._scores import NAMES, score_tables

SHOWN = (
    "learning_rate",
    "batch_size",
    "accumulate",
    "max_length",
    "log_every",
    "evaluate_every",
    "checkpoint_every",
)


def tune_page(record: Mapping[str, Any]) -> str:
    """Render the record of a run as a whole HTML document."""
    options, origins = record["options"], record["origins"]
    lead = (
        f"{options['model']} on {options['data']}: {record['task']}, {record['method']}, {record['steps']} steps, seed "
        f"{options['seed']}. One run, one seed."
    )
    config = record["config"]
    decided = tuple((name, f"{config[name]:g}") for name in SHOWN)
    remarks = [*(f"{what}: {count}" for what, count in record["told"].items()), *record["remarks"]]
    explained = str(record["explanation"] or "").splitlines()
    sections = [
        Section("Scores", tables=tuple(score_tables(record))),
        Section("Learning", figures=tuple(_figures(record["curve"]))),
        Section(
            "What was decided",
            paragraphs=(record["parts"],),
            tables=(TableView(("option", "value"), decided),),
        ),
        *([Section("Penalty and filter", points=explained)] if explained else []),
        *([Section("Remarks", points=remarks)] if remarks else []),
    ]
    footer = (
        ("command", record["command"] or "from Python"),
        ("model", origins["model"]),
        *(("data", origin) for origin in origins["data"]),
        *((("preserved text", origins["preserve"]),) if origins["preserve"] else ()),
        ("seconds", ", ".join(f"{part} {seconds:.0f}" for part, seconds in record["seconds"].items())),
        ("hardware", ", ".join(f"{name} {value}" for name, value in record["hardware"].items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    )
    return render_page("A fine-tuning run", lead, sections, footer)


def _figures(curve: list[Mapping[str, float]]) -> list[FigureView]:
    drawn = [_curve(curve, "loss", "training", 0), _curve(curve, "eval_loss", "evaluation", 1)]
    figures = [
        FigureView(
            "Loss",
            draw_curves([one for one in drawn if len(one.x)], "loss", x_label="step", y_label=NAMES["loss"]),
            "Training: the mean since the last point, dropout on. Data: run.json, curve.",
        )
    ]
    accuracy = _curve(curve, "eval_accuracy", "evaluation", 1)
    if len(accuracy.x):
        figures.append(
            FigureView(
                "Accuracy",
                draw_curves([accuracy], "accuracy", x_label="step", y_label="accuracy"),
                "On the texts that evaluate. Data: run.json, curve.",
            )
        )
    spectral = [
        _curve(curve, name, name.removeprefix("spectral/").replace("_", " "), colour)
        for colour, name in enumerate(("spectral/kept_energy", "spectral/penalty"))
    ]
    figures += [
        FigureView(
            one.name, draw_curves([one], one.name.replace(" ", "-"), x_label="step", y_label=one.name), ""
        )
        for one in spectral
        if len(one.x)
    ]
    return figures


def _curve(curve: list[Mapping[str, float]], name: str, shown: str, colour: int) -> Curve:
    points = [(row["step"], row[name]) for row in curve if name in row]
    places, values = np.array(points, dtype=float).reshape(-1, 2).T
    return Curve(shown, places, values, colour=colour)
