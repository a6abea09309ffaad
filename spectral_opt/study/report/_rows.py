"""Results as rows of plain values: one row a run, and one row a number."""

from collections.abc import Iterator, Mapping
from typing import Any

from spectral_opt.study import CellRecord
from spectral_opt.study.report._overview import Overview, final_state, options_text

# Losses of single steps stay in the records.
CELL_COLUMNS = (
    "part",
    "stage",
    "task",
    "shots",
    "seed",
    "method",
    "options",
    "after",
    "after_options",
    "status",
)
NUMBER_COLUMNS = (*CELL_COLUMNS, "metric", "at", "value")
SCORES = ("accuracy", "auc", "balanced_accuracy", "macro_f1", "loss", "lost", "cosine", "drift")
RUN_COLUMNS = (
    *("schema", *CELL_COLUMNS, "digest", *SCORES, "probes", "earlier", "texts", "seconds"),
    *("preparing_seconds", "training_seconds", "filter_seconds", "measuring_seconds"),
    *("peak_megabytes", "message", "versions", "hardware"),
)


def run_rows(overview: Overview) -> Iterator[dict[str, Any]]:
    """Yield one row for each record, in the order of the plan: what ran, the final state, its cost."""
    for record in overview.in_order():
        state = final_state(record) if record.status == "finished" else {}
        yield {
            "schema": record.schema,
            **_cell(record),
            "digest": record.digest,
            **{name: state.get(name, "") for name in SCORES},
            **{name: _told(state.get(name, {})) for name in ("probes", "earlier", "texts")},
            "seconds": record.seconds,
            **{
                f"{part}_seconds": spent
                for part, spent in record.cpu_seconds.items()
                if f"{part}_seconds" in RUN_COLUMNS
            },
            "peak_megabytes": "" if record.peak_megabytes is None else record.peak_megabytes,
            "message": record.message,
            "versions": _told(record.versions),
            "hardware": _told(record.hardware),
        }


def number_rows(overview: Overview) -> Iterator[dict[str, Any]]:
    """Yield one row for each number of each record; `at` is its factor (0: the start), step, or fifth of the spectrum.

    A measure of several tasks is told as "probes bbc".
    """
    for record in overview.in_order():
        cell = _cell(record)
        for metric, at, value in _numbers(record):
            yield {**cell, "metric": metric, "at": at, "value": value}


def _numbers(record: CellRecord) -> Iterator[tuple[str, Any, Any]]:
    metrics = record.metrics
    for point in (*metrics.get("points", ()), {"factor": 0, **metrics.get("start", {})}):
        for name, value in point.items():
            if isinstance(value, Mapping):
                yield from ((f"{name} {task}", point["factor"], score) for task, score in value.items())
            elif name != "factor" and not isinstance(value, str):  # which texts were right is text
                yield name, point["factor"], value
    curve = metrics.get("curve", {})
    for name in (one for one in ("dev_loss", "dev_accuracy", "dev_cpu_seconds") if one in curve):
        for step, value in zip(curve.get("dev_step", ()), curve.get(name, ()), strict=True):
            yield name, step, value
    for place, share in enumerate(metrics.get("bands") or (), start=1):
        yield "band", place, share
    for part, spent in record.cpu_seconds.items():
        yield "cpu_seconds", part, spent
    yield "seconds", "", record.seconds
    if record.peak_megabytes is not None:
        yield "peak_megabytes", "", record.peak_megabytes


def _cell(record: CellRecord) -> dict[str, Any]:
    own = {name: getattr(record, name) for name in CELL_COLUMNS}
    options = {name: options_text(own[name]) for name in ("options", "after_options")}
    return own | options | {"after": record.after or ""}


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
