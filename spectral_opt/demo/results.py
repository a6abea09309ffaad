"""A demonstration's results as plain data: one dictionary for JSON, one flat list of rows for CSV."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from paramgraph.environment import hardware, versions
from paramgraph.measures import BandStatistics, band_lift
from spectral_opt import study
from spectral_opt.demo.parts import Demo
from spectral_opt.tasks import majority_baseline

COLUMNS = ("part", "name", "setting", "metric", "value", "low", "high")
TITLE = "Spectral fine-tuning of a real model: a demonstration, not a claim"


def demo_results(demo: Demo, command: str) -> dict[str, Any]:
    """Collect what a finished demonstration measured, in plain values.

    Every number's unit is in its name or is a share of 1.
    """
    setting = demo.setting
    return {
        "title": TITLE,
        "command": command,
        "seed": setting.options.seed,
        "model": setting.loaded.name,
        "data": setting.data.name,
        "labels": list(setting.data.label_names),
        "shuffled_labels": setting.options.shuffle_labels,
        "options": asdict(setting.options),
        "origins": dict(setting.origins),
        "truncated_texts": {
            part: getattr(setting, part).truncated
            for part in ("training", "dev", "test", "measuring", "preserve", "retention")
        },
        "versions": versions(),
        "hardware": hardware(),
        "seconds": dict(demo.seconds),
        "graphs": [
            {
                **asdict(evidence.construction),
                "matrices": len(setting.tables),
                "nodes": evidence.nodes,
                "edges": evidence.edges,
                "components": evidence.components,
                "seconds": evidence.seconds,
                "bands": _bands(evidence.bands),
                "null_bands": _bands(evidence.null_bands),
            }
            for evidence in demo.evidence
        ],
        "majority": asdict(majority_baseline(setting.labels["test"], setting.data.label_names)),
        "linear_probe": {"C": setting.probe_strength, **asdict(demo.probe_score)},
        "training": [
            {
                "method": row.method.name,
                "title": row.method.title,
                "description": row.method.description,
                "null_of": row.method.null_of,
                "learning_rate": row.learning_rate,
                "tuning": list(row.tuning),
                "losses": list(row.losses),
                "seconds": row.seconds,
                "spectral": [config.to_dict() for config in row.method.configs],
                **asdict(row.score),
            }
            for row in demo.trained
        ],
        "refinement": [
            {
                "family": row.family.name,
                "is_null": row.family.is_null,
                "strength": row.strength,
                "spectral": row.family.config.to_dict() if row.family.config else None,
                **asdict(row.score),
            }
            for row in demo.refined
        ],
    }


def tidy_rows(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each number: part, name, setting, metric, value, low, high."""
    for graph in results["graphs"]:
        for kind in ("bands", "null_bands"):
            bands = graph[kind]
            for band in range(len(bands["snr"])):
                edges = f"{bands['low'][band]:g}-{bands['high'][band]:g}"
                name = graph["name"] + (" (null)" if kind == "null_bands" else "")
                yield _row(
                    "graphs",
                    name,
                    edges,
                    "snr",
                    bands["snr"][band],
                    bands["snr_low"][band],
                    bands["snr_high"][band],
                )
                yield _row("graphs", name, edges, "energy_share", bands["energy_share"][band])
                ends = bands["lift_low"][band], bands["lift_high"][band]
                yield _row("graphs", name, edges, "lift", bands["lift"][band], *ends)
    scored = [("linear_probe", "linear probe", "", results["linear_probe"])]
    scored += [
        ("training", row["title"], f"learning_rate={row['learning_rate']:g}", row)
        for row in results["training"]
    ]
    scored += [
        ("refinement", row["family"], f"strength={row['strength']:g}", row) for row in results["refinement"]
    ]
    if majority := results.get("majority"):  # results of earlier versions have none
        name = f"always {majority['label']}"
        for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
            yield _row("majority", name, "", metric, majority[metric])
        for label, count in majority["class_counts"].items():
            yield _row("majority", label, "", "texts", count)
    for part, name, setting, row in scored:
        yield _row(
            part, name, setting, "accuracy", row["accuracy"], row["accuracy_low"], row["accuracy_high"]
        )
        for metric in ("balanced_accuracy", "macro_f1", "p_value", "neighbours_kept", "cosine", "drift"):
            if metric in row:
                yield _row(part, name, setting, metric, row[metric])
    for row in results["training"]:
        for step, loss in enumerate(row["losses"], start=1):
            yield _row("training", row["title"], f"step={step}", "loss", loss)


def write_results(results: dict[str, Any], folder: Path) -> None:
    """Write `results.json` and `results.csv` into `folder`."""
    study.write_results(results, tidy_rows(results), COLUMNS, folder)


def _row(
    part: str,
    name: str,
    setting: str,
    metric: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
) -> dict[str, Any]:
    return dict(zip(COLUMNS, (part, name, setting, metric, value, low, high), strict=True))


def _bands(bands: BandStatistics) -> dict[str, list[float | None]]:
    names = ("low", "high", "snr", "snr_low", "snr_high", "energy_share")
    lift = band_lift(bands)
    # Where noise leaves no signal in the whole spectrum, a ratio to it would be one of two errors.
    known = bands.signal.sum() > 0
    lifts = {"lift": lift.lift, "lift_low": lift.low, "lift_high": lift.high}
    return {
        **{name: _numbers(getattr(bands, name)) for name in names},
        **{name: _numbers(values) if known else [None] * len(values) for name, values in lifts.items()},
    }


def _numbers(values: Float[np.ndarray, " bands"]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
