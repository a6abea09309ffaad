"""A demonstration's tables, the same in the terminal and on the page."""

from typing import Any

from paramgraph.display import TableView, print_views

# In columns: the longest titles of methods on one line beside all scores.
PIPE = 140


def demo_tables(results: dict[str, Any]) -> tuple[TableView, TableView, TableView]:
    """Make the tables of the three parts: graphs, fine-tuning, refinement."""
    return _graph_table(results), _training_table(results), _refinement_table(results)


def print_tables(results: dict[str, Any]) -> None:
    """Print the tables to the terminal; without rich, ImportError has the pip line."""
    print_views(demo_tables(results), width=PIPE)


def _graph_table(results: dict[str, Any]) -> TableView:
    rows: list[tuple[str, ...]] = []
    muted = set()
    for graph in results["graphs"]:
        for kind, name in (("bands", graph["name"]), ("null_bands", "  null: nodes permuted")):
            bands = graph[kind]
            if kind == "null_bands":
                muted.add(len(rows))
            ratios = [_number(value, ".3f") for value in bands["snr"]]
            shares = [_number(value, ".2f") for value in bands["energy_share"]]
            lift, low, high = (_number(bands[end][0], ".2f") for end in ("lift", "lift_low", "lift_high"))
            rows.append((name, *ratios, lift, f"[{low}, {high}]", shares[0], shares[-1]))
    matrices = results["graphs"][0]["matrices"]
    return TableView(
        header=("graph of rows", "SNR low", "2", "3", "4", "high", "lift low", "95 %", "energy low", "high"),
        rows=tuple(rows),
        caption=(
            f"Which graph carries the gradient? By fifth of the spectrum, {matrices} matrices pooled; lift: a fifth's "
            "signal-to-noise ratio over that of the whole spectrum"
        ),
        muted=frozenset(muted),
    )


def _training_table(results: dict[str, Any]) -> TableView:
    scored = _is_scored(results)
    rows = [("linear probe (start)", "", *_score(results["linear_probe"], scored), "")]
    muted = set()
    if scored:
        muted.add(len(rows))
        rows.append((_majority(results), "", *_score(results["majority"], scored), ""))
    for row in results["training"]:
        if row["null_of"]:
            muted.add(len(rows))
        rows.append(
            (row["title"], f"{row['learning_rate']:g}", *_score(row, scored), f"{row['seconds']:.0f}")
        )
    options = results["options"]
    return TableView(
        header=("method", "rate", *_score_names(scored), "seconds"),
        rows=tuple(rows),
        caption=(
            f"Fine-tuning on {options['per_class']} examples a class, {options['steps']} steps, rate chosen on dev "
            f"from {len(options['learning_rates'])}; p: paired test against AdamW{_counted(results)}"
        ),
        muted=frozenset(muted),
    )


def _refinement_table(results: dict[str, Any]) -> TableView:
    scored = _is_scored(results)
    baseline = next(row for row in results["training"] if row["method"] == "adamw")
    rows, muted = [("AdamW, as it is", "", *_score(baseline, scored))], set()
    for row in results["refinement"]:
        if row["is_null"]:
            muted.add(len(rows))
        rows.append((row["family"], f"{row['strength']:g}", *_score(row, scored)))
    if scored:
        muted.add(len(rows))
        rows.append((_majority(results), "", *_score(results["majority"], scored)))
    return TableView(
        header=("refinement", "strength", *_score_names(scored)),
        rows=tuple(rows),
        caption=f"Refining the finished AdamW fine-tune, without training{_counted(results)}",
        muted=frozenset(muted),
    )


def _is_scored(results: dict[str, Any]) -> bool:
    """Say whether there are scores in which classes count alike: results of earlier versions have none."""
    return "majority" in results


def _score_names(scored: bool) -> tuple[str, ...]:
    more = ("balanced", "macro F1") if scored else ()
    return ("accuracy", "95 %", *more, "p", "neighbours", "cosine", "drift")


def _score(row: dict[str, Any], scored: bool) -> tuple[str, ...]:
    low, high = (row.get(f"accuracy_{end}") for end in ("low", "high"))
    more = (_number(row["balanced_accuracy"], ".3f"), _number(row["macro_f1"], ".3f")) if scored else ()
    return (
        f"{row['accuracy']:.3f}",
        "" if low is None else f"[{low:.3f}, {high:.3f}]",
        *more,
        _number(row.get("p_value"), ".2g", ""),
        _number(row.get("neighbours_kept"), ".3f", ""),
        _number(row.get("cosine"), ".4f", ""),
        _number(row.get("drift"), ".4f", ""),
    )


def _majority(results: dict[str, Any]) -> str:
    return f"always {results['majority']['label']}"


def _counted(results: dict[str, Any]) -> str:
    if not _is_scored(results):
        return ""
    counts = results["majority"]["class_counts"]
    return "; test texts: " + ", ".join(f"{label} {count}" for label, count in counts.items())


def _number(value: float | None, style: str, missing: str = "\N{EN DASH}") -> str:
    return missing if value is None else f"{value:{style}}"
