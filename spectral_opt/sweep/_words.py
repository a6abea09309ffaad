"""How families and numbers of a sweep are called and written, in tables, sentences and figures alike."""

from typing import Any, Literal, get_args

from spectral_opt.sweep._metrics import METRICS

FILTERS = {"product": "product filter", "columns": "column filter", "rows": "row filter"}
NAMES = {
    "base": "base",
    "tuned": "fine-tune",
    "scaling": "scaling (WiSE-FT)",
    "permuted": "null: permuted",
    "rotated": "null: rotated",
}
# Of the nulls of an operator those that keep its spectrum and that a reader of a sweep knows.
SweepNull = Literal["permuted", "rotated"]
NULLS = get_args(SweepNull)


def name_of(results: dict[str, Any], family: str) -> str:
    """Name a family; the filter by its graph, which results of earlier versions do not tell."""
    graph = results.get("options", {}).get("graph", "columns")
    return FILTERS[graph] if family == "filter" else NAMES[family]


def task_label(results: dict[str, Any]) -> str:
    """Name the metric of the task; nothing without one."""
    return METRICS[results["task_metric"]].label if results["task_metric"] else ""


def forgetting_label(results: dict[str, Any]) -> str:
    """Name what is forgotten."""
    causal = results["kind"] == "causal"
    return "loss beyond the base's, nats" if causal else "1 - cosine with the base"


def interval(row: dict[str, Any], name: str, form: str = "{:+.3f}") -> str:
    """Write a number with its interval."""
    return f"{form.format(row[name])} {ends(row, name, form)}"


def ends(row: dict[str, Any], name: str, form: str) -> str:
    """Write the ends of an interval."""
    return f"[{form.format(row[f'{name}_low'])}, {form.format(row[f'{name}_high'])}]"


def sentence(words: str) -> str:
    """Begin with a capital; str.capitalize would write WiSE-FT as wise-ft."""
    return words[:1].upper() + words[1:]
