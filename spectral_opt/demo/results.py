"""A demonstration's results as plain data: one dictionary for JSON, one flat list of rows for CSV."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from paramgraph.environment import hardware, versions
from spectral_opt import study
from spectral_opt.demo.graph_evidence import pool_evidence
from spectral_opt.demo.parts import ANSWERS, EQUAL, Demo, without_answers
from spectral_opt.demo.refinement_front import PRODUCT, SHOWN_STRENGTH
from spectral_opt.tasks import majority_baseline

COLUMNS = ("part", "name", "setting", "metric", "value", "low", "high")
TITLE = "Spectral fine-tuning of a real model: a demonstration, not a claim"
SCORES = ("balanced_accuracy", "macro_f1", "p_value", "p_start", "neighbours_kept", "cosine", "drift")


def demo_results(demo: Demo, command: str) -> dict[str, Any]:
    """Collect what a finished demonstration measured, in plain values.

    Every number's unit is in its name or is a share of 1.
    """
    setting = demo.setting
    graphs, verdict = pool_evidence(demo.cells, setting.options.permutations)
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
            for part in ("training", "longer", "dev", "test", "measuring", "preserve", "retention")
        },
        "long_training_texts": len(set(setting.longer.order)),
        "versions": versions(),
        "hardware": hardware(),
        "seconds": dict(demo.seconds),
        "graphs": graphs,
        "graph_verdict": verdict,
        "left_out": [
            {"part": part, "name": name, "reason": reason}
            for part, left in demo.left_out.items()
            for name, reason in left.items()
        ],
        "majority": asdict(majority_baseline(setting.labels["test"], setting.data.label_names)),
        "linear_probe": {"C": setting.probe_strength, **without_answers(demo.start_score)},
        "training": [without_answers(row) for row in demo.trained],
        "refinement": [without_answers(row) for row in demo.refined],
        "equal_retention": _pair(demo),
    }


def _pair(demo: Demo) -> dict[str, Any] | None:
    """Compare product graph and scaling that keep as much; None where no scaling keeps as little."""
    rows = {
        row["family"]: row
        for row in demo.refined
        if row["strength"] == SHOWN_STRENGTH or row["family"] == EQUAL
    }
    if EQUAL not in rows:
        return None
    labels = demo.setting.labels["test"]
    product, scaling = (np.array(rows[name][ANSWERS]) == labels for name in (PRODUCT.name, EQUAL))
    return {"p_value": study.paired_p_value(product, scaling)}


def tidy_rows(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each number: part, name, setting, metric, value, low, high."""
    for graph in results["graphs"]:
        bands, name = graph["bands"], graph["name"]
        for band in range(len(bands["snr"])):
            edges = f"{bands['low'][band]:g}-{bands['high'][band]:g}"
            for metric in ("snr", "lift"):
                ends = bands[f"{metric}_low"][band], bands[f"{metric}_high"][band]
                yield _row("graphs", name, edges, metric, bands[metric][band], *ends)
            yield _row("graphs", name, edges, "energy_share", bands["energy_share"][band])
            yield _row("graphs", name, edges, "energy_share, nodes permuted", graph["permuted_energy"][band])
        edges, lift = f"{bands['low'][0]:g}-{bands['high'][0]:g}", graph["permuted_lift"]
        ends = (lift.get("low"), lift.get("high"))
        yield _row("graphs", name, edges, "lift, nodes permuted", lift.get("mean"), *ends)
        for metric in ("p_value", "p_holm"):
            yield _row("graphs", name, edges, metric, graph[metric])
    scored = [("linear_probe", "linear probe", "", results["linear_probe"])]
    scored += [
        ("training", row["title"], f"learning_rate={row['learning_rate']:g}", row)
        for row in results["training"]
    ]
    scored += [
        (
            "refinement",
            row["family"],
            "" if row["strength"] is None else f"strength={row['strength']:g}",
            row,
        )
        for row in results["refinement"]
    ]
    majority = results["majority"]
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        yield _row("majority", f"always {majority['label']}", "", metric, majority[metric])
    for label, count in majority["class_counts"].items():
        yield _row("majority", label, "", "texts", count)
    for part, name, setting, row in scored:
        yield _row(
            part, name, setting, "accuracy", row["accuracy"], row["accuracy_low"], row["accuracy_high"]
        )
        for metric in SCORES:
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
