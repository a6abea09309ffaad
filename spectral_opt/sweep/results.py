"""A refinement's sweep as plain data: one dictionary for JSON, one flat list of rows for CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from paramgraph.comparison import holm
from paramgraph.environment import hardware, versions
from spectral_opt.refinement import told_skipped
from spectral_opt.study import paired_p_value, sign_flip_p_value, write_results
from spectral_opt.sweep._decision import Decision
from spectral_opt.sweep._equal_forgetting import (
    bootstrap_p_value,
    compare_at_equal_forgetting,
    compare_at_equal_score,
)
from spectral_opt.sweep._measures import mean_interval
from spectral_opt.sweep._metrics import Metric, TaskResult
from spectral_opt.sweep._points import SweepPoint
from spectral_opt.sweep.options import RefinementOptions
from spectral_opt.sweep.strengths import Sweep

COLUMNS = ("part", "family", "strength", "metric", "value", "low", "high")
NOT_COMPARED: dict[str, Any] = {"equal_forgetting": None, "against_nulls": {}, "equal_score": []}
SCORES = ("balanced_accuracy", "macro_f1")
TITLE = "Refining a finished fine-tune, without training"


def refinement_results(sweep: Sweep, command: str, finished: bool = True) -> dict[str, Any]:
    """Collect what a sweep has measured so far, at any point of its way, in plain values.

    Every number's unit is in its name or is a share of 1.
    """
    setting = sweep.setting
    options, measures = setting.options, setting.measures
    return {
        "title": TITLE,
        "command": command,
        "finished": finished,
        "seed": options.seed,
        "base": options.base,
        "tuned": options.tuned,
        "kind": setting.kind,
        "task_metric": measures.metric.name if setting.texts.task else None,
        "higher_is_better": measures.metric.higher_is_better,
        "options": asdict(options),
        "split": setting.texts.split,
        "origins": {
            "preserve": setting.texts.origin,
            "task": setting.texts.task.origin if setting.texts.task else "",
        },
        "sizes": {
            "build": len(setting.texts.build),
            "held_out": len(setting.texts.held_out),
            "dev": len(setting.texts.task.dev.texts) if setting.texts.task else 0,
            "test": len(setting.texts.task.test.texts)
            if setting.texts.task and setting.texts.task.test
            else 0,
        },
        "spectral": setting.config.to_dict(),
        "points": [_point(point, measures.metric, options.seed) for point in sweep.points],
        "picked": {
            family: {"family": point.family, "strength": point.strength}
            for family, point in sweep.picked.items()
        },
        "majority": {
            part: asdict(found) | {"task": _majority_score(asdict(found), measures.metric)}
            for part, found in measures.majority().items()
        },
        "has_forgotten": sweep.has_forgotten if len(sweep.points) > 1 else None,
        "test": _tests(sweep),
        # Before its end a sweep has no whole front of scaling.
        **(compare_points(sweep.points, measures.metric, options) if finished else NOT_COMPARED),
        "written": _written(sweep),
        "remarks": list(
            dict.fromkeys(
                (
                    *setting.remarks,
                    *sweep.remarks,
                    *told_skipped(sweep.skipped),
                    *(sweep.saved.remarks if sweep.saved else ()),
                )
            )
        ),
        "skipped": dict(sweep.skipped),
        "seconds": dict(sweep.seconds),
        "versions": versions(),
        "hardware": hardware(),
    }


def write_refinement(results: dict[str, Any], folder: Path) -> None:
    """Write `results.json` and `results.csv` into `folder`; a reader never finds half a file."""
    write_results(results, refinement_rows(results), COLUMNS, folder)


def refinement_rows(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each number: part, family, strength, metric, value, low, high."""
    for point in results["points"]:
        for metric in ("forgotten", "task"):
            if point[metric] is not None:
                yield _row(
                    "sweep", point, metric, point[metric], point[f"{metric}_low"], point[f"{metric}_high"]
                )
        for metric in (*SCORES, "neighbours_kept", "norm_kept", "seconds"):
            if point.get(metric) is not None:
                yield _row("sweep", point, metric, point[metric])
    for row in results["test"]:
        yield _row("test", row, "task", row["task"], row["task_low"], row["task_high"])
        for metric in SCORES:
            if row.get(metric) is not None:
                yield _row("test", row, metric, row[metric])
    for rival, equal in _comparisons(results).items():
        for row in (*equal["by_strength"], equal["mean"]):
            if row is not None and row["gain"] is not None:
                of = {"family": "filter", "strength": row.get("strength")}
                metric = f"gain over {rival} at equal forgetting"
                yield _row("test", of, metric, row["gain"], row["gain_low"], row["gain_high"])
    for row in results.get("equal_score") or ():
        for metric in ("less", "ratio"):
            if row[metric] is not None:
                of = {"family": "filter", "strength": row["strength"]}
                name = f"forgotten at equal score, scaling's: {metric}"
                yield _row("test", of, name, row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
    for name, found in results.get("majority", {}).items():
        part = "sweep" if name == "dev" else name
        of = {"family": f"majority: {found['label']}", "strength": None}
        for metric in ("accuracy", *SCORES):
            yield _row(part, of, metric, found[metric])
        for label, count in found["class_counts"].items():
            yield _row(part, {"family": f"class: {label}", "strength": None}, "texts", count)


def _row(
    part: str,
    of: dict[str, Any],
    metric: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
) -> dict[str, Any]:
    at = {"part": part, "family": of["family"], "strength": of["strength"], "metric": metric}
    return {**at, "value": value, "low": low, "high": high}


def compare_points(
    points: Sequence[SweepPoint], metric: Metric, options: RefinementOptions
) -> dict[str, Any]:
    """Compare the filter with scaling and each null, on test; the tests of the means are corrected for their number."""
    rivals = ("scaling", *options.nulls)
    found = {
        rival: compare_at_equal_forgetting(points, metric, options.seed, rival)
        for rival in rivals
        if rival == "scaling" or any(point.family == rival for point in points)
    }
    means = [one["mean"] for one in found.values() if one["mean"] is not None]
    for mean, corrected in zip(means, holm([mean["p_value"] for mean in means]), strict=True):
        mean["p_holm"] = corrected
    return {
        "equal_forgetting": found.pop("scaling"),
        "against_nulls": found,
        "equal_score": compare_at_equal_score(points, metric, options.seed),
    }


def _comparisons(results: dict[str, Any]) -> dict[str, Any]:
    scaling = {"scaling": results["equal_forgetting"]} if results.get("equal_forgetting") else {}
    return scaling | (results.get("against_nulls") or {})


def _majority_score(majority: dict[str, Any], metric: Metric) -> float | None:
    """Score always answering the most frequent class; it has no order of texts, and so an AUC of a half."""
    known = {**majority, "probe": majority["accuracy"], "auc": 0.5}
    return known.get(metric.name)


def _point(point: SweepPoint, metric: Metric, seed: int) -> dict[str, Any]:
    forgotten, low, high = mean_interval(point.forgotten.per_text, seed)
    task = (None, None, None) if point.dev is None else metric.interval(point.dev, seed)
    test = (None, None, None) if point.test is None else metric.interval(point.test, seed)
    lost = point.forgotten.lost
    return {
        "family": point.family,
        "strength": point.strength,
        "norm_kept": point.norm_kept,
        "forgotten": forgotten,
        "forgotten_low": low,
        "forgotten_high": high,
        "neighbours_kept": None if lost is None else float(1 - lost.mean()),
        **dict(zip(("task", "task_low", "task_high"), task, strict=True)),
        **_scores(point.dev),
        **dict(zip(("test", "test_low", "test_high"), test, strict=True)),
        "seconds": point.seconds,
    }


def _tests(sweep: Sweep) -> list[dict[str, Any]]:
    metric, seed = sweep.metric, sweep.setting.options.seed
    if not sweep.picked or (tuned := sweep.only("tuned")).test is None:
        return []
    rows = []
    for name, point in {"tuned": tuned, **sweep.picked}.items():
        assert point.test is not None, "all states are tested, or none"
        mean, low, high = metric.interval(point.test, seed)
        rows.append(
            {
                "family": name,
                "strength": point.strength,
                "is_tuned": point.family == "tuned",
                "task": mean,
                "task_low": low,
                "task_high": high,
                **_scores(point.test),
                **compare_on_test(point.test, tuned.test, metric, seed),
            }
        )
    return rows


def compare_on_test(first: TaskResult, second: TaskResult, metric: Metric, seed: int) -> dict[str, Any]:
    """Compare two states on the same texts: the difference of their scores with its bootstrap interval, and a p-value.

    McNemar's where texts are right or wrong, of sign flips where they have a score, else of the bootstrap.
    """
    weights = metric.resampled(first, seed)
    drawn = metric.shown(metric.draws(first, weights)) - metric.shown(metric.draws(second, weights))
    low, high = np.percentile(drawn, [2.5, 97.5])
    if metric.is_share:
        p_value = paired_p_value(first.right.astype(bool), second.right.astype(bool))
    elif metric.per_text is not None:
        p_value = sign_flip_p_value(metric.per_text(first) - metric.per_text(second), seed)
    else:
        p_value = bootstrap_p_value(drawn)
    difference = metric.score(first) - metric.score(second)
    return {
        "difference": difference,
        "difference_low": float(low),
        "difference_high": float(high),
        "p_value": p_value,
    }


def _scores(result: TaskResult | None) -> dict[str, float | None]:
    scores = None if result is None else result.scores
    return {
        "balanced_accuracy": None if scores is None else scores.balanced_accuracy,
        "macro_f1": None if scores is None else scores.macro_f1,
    }


def _written(sweep: Sweep) -> dict[str, Any] | None:
    if sweep.saved is None or sweep.decision is None:
        return None
    return {
        "form": sweep.saved.form,
        "norm_kept": sweep.saved.norm_kept,
        "family": sweep.decision.family,
        "strength": sweep.decision.strength,
        "is_tuned": sweep.decision.family == "tuned",
        "why": explain_decision(sweep.decision),
        "reason": sweep.decision.reason,
        "filter_dev": sweep.decision.filter_dev,
        "scaling_dev": sweep.decision.scaling_dev,
        "standard_error": sweep.decision.standard_error,
    }


def explain_decision(decision: Decision) -> str:
    """Say why this is written, in words."""
    beside = ""
    if decision.scaling_dev is not None:
        beside = f": {decision.filter_dev:.3f} against {decision.scaling_dev:.3f} of scaling"
    error = "" if decision.standard_error is None else f", {decision.standard_error:.3f},"
    least = (
        f"it forgot least of those not worse than the fine-tune by more than one standard error{error} on dev"
    )
    return {
        "nothing forgotten": "nothing was forgotten",
        "asked for": "the strength that was asked for",
        "kept already": "it keeps what was asked for",
        "no task data": "no task data, so nothing was picked: the default strength",
        "no state passes": "nothing that forgot less stayed within one standard error of the fine-tune on dev",
        "no filter passes": f"{least}, and no strength of the filter is one of them",
        "filter": f"{least}, and scaling that forgets as much is not better on dev{beside}"
        if beside
        else f"{least}",
        "no factor passes": f"{least}; scaling that forgets as much is better on dev{beside}, but no factor is one of "
        "them",
        "scaling": f"{least}, and where the filter's pick forgets as much, scaling is better on dev{beside}",
    }[decision.reason]
