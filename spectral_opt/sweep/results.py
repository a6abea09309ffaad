"""A refinement's sweep as plain data: one dictionary for JSON, one flat list of rows for CSV."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paramgraph.environment import hardware, versions
from spectral_opt.study import accuracy_interval, write_results
from spectral_opt.sweep._equal_forgetting import compare_at_equal_forgetting
from spectral_opt.sweep._measures import TaskResult, Values, mean_interval
from spectral_opt.sweep.strengths import Sweep, SweepPoint, compare_on_test

COLUMNS = ("part", "family", "strength", "metric", "value", "low", "high")
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
        "task_metric": measures.metric if setting.texts.task else None,
        "higher_is_better": measures.higher_is_better,
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
        "points": [_point(point, measures.higher_is_better, options.seed) for point in sweep.points],
        "picked": {
            family: {"family": point.family, "strength": point.strength}
            for family, point in sweep.picked.items()
        },
        "majority": {part: asdict(found) for part, found in measures.majority().items()},
        "has_forgotten": sweep.has_forgotten if len(sweep.points) > 1 else None,
        "test": _tests(sweep),
        # Before its end a sweep has no whole front of scaling.
        "equal_forgetting": compare_at_equal_forgetting(sweep.points, measures.higher_is_better, options.seed)
        if finished
        else None,
        "written": _written(sweep),
        "remarks": list(dict.fromkeys((*setting.remarks, *(sweep.saved.remarks if sweep.saved else ())))),
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
    equal = results.get("equal_forgetting") or {"by_strength": [], "mean": None}
    for row in (*equal["by_strength"], equal["mean"]):
        if row is not None and row["gain"] is not None:
            of = {"family": "filter", "strength": row.get("strength")}
            yield _row("test", of, "gain over scaling", row["gain"], row["gain_low"], row["gain_high"])
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


def _point(point: SweepPoint, shares: bool, seed: int) -> dict[str, Any]:
    forgotten, low, high = mean_interval(point.forgotten.per_text, seed)
    task = (None, None, None) if point.dev is None else _task_interval(point.dev.values, shares, seed)
    return {
        "family": point.family,
        "strength": point.strength,
        "norm_kept": point.norm_kept,
        "forgotten": forgotten,
        "forgotten_low": low,
        "forgotten_high": high,
        "neighbours_kept": point.forgotten.neighbours_kept,
        "task": task[0],
        "task_low": task[1],
        "task_high": task[2],
        **_scores(point.dev),
        "seconds": point.seconds,
    }


def _tests(sweep: Sweep) -> list[dict[str, Any]]:
    measures, seed = sweep.setting.measures, sweep.setting.options.seed
    if not sweep.picked or (tuned := sweep.only("tuned")).test is None:
        return []
    rows = []
    for name, point in {"tuned": tuned, **sweep.picked}.items():
        assert point.test is not None, "all states are tested, or none"
        mean, low, high = _task_interval(point.test.values, measures.higher_is_better, seed)
        rows.append(
            {
                "family": name,
                "strength": point.strength,
                "is_tuned": point.family == "tuned",
                "task": mean,
                "task_low": low,
                "task_high": high,
                **_scores(point.test),
                **compare_on_test(point.test.values, tuned.test.values, measures.higher_is_better, seed),
            }
        )
    return rows


def _scores(result: TaskResult | None) -> dict[str, float | None]:
    scores = None if result is None else result.scores
    return {
        "balanced_accuracy": None if scores is None else scores.balanced_accuracy,
        "macro_f1": None if scores is None else scores.macro_f1,
    }


def _task_interval(values: Values, shares: bool, seed: int) -> tuple[float, float, float]:
    return accuracy_interval(values.astype(bool)) if shares else mean_interval(values, seed)


def _written(sweep: Sweep) -> dict[str, Any] | None:
    if sweep.saved is None:
        return None
    chosen = sweep.picked.get("filter")
    if not sweep.has_forgotten:
        why = "nothing was forgotten"
    elif chosen is None:
        why = "no task data, so nothing was picked: the default strength"
    else:
        why = "picked on dev: forgot least, not worse than the fine-tune by more than one standard error"
    return {
        "form": sweep.saved.form,
        "norm_kept": sweep.saved.norm_kept,
        "strength": sweep.setting.options.default_strength if chosen is None else chosen.strength,
        "is_tuned": not sweep.has_forgotten or (chosen is not None and chosen.family == "tuned"),
        "why": why,
    }
