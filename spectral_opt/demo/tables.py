"""A demonstration's tables, the same in the terminal and on the page."""

from typing import Any

from paramgraph.display import TableView, print_views

# In columns: the longest titles of methods on one line beside all scores.
PIPE = 140
SCORES = ("accuracy", "95 %", "balanced", "macro F1", "p", "neighbours", "cosine", "drift")


def demo_tables(results: dict[str, Any]) -> tuple[TableView, TableView, TableView]:
    """Make the tables of the three parts: graphs, fine-tuning, refinement."""
    return _graph_table(results), _training_table(results), _refinement_table(results)


def print_tables(results: dict[str, Any]) -> None:
    """Print the tables to the terminal; without rich, ImportError has the pip line."""
    print_views(demo_tables(results), width=PIPE)


def _graph_table(results: dict[str, Any]) -> TableView:
    rows: list[tuple[str, ...]] = []
    for graph in results["graphs"]:
        bands, permuted = graph["bands"], graph["permuted_lift"]
        lift = [_number(bands[name][0], ".2f") for name in ("lift", "lift_low", "lift_high")]
        null = [_number(permuted.get(name), ".2f") for name in ("low", "high")]
        rows.append(
            (
                graph["name"],
                "yes" if graph["carries"] else "no",
                _number(graph["compaction"], ".2f"),
                _number(graph["compaction_permuted"], ".2f"),
                _number(graph["p_holm"], ".2g"),
                lift[0],
                f"[{lift[1]}, {lift[2]}]",
                f"[{null[0]}, {null[1]}]",
            )
        )
    nulls = frozenset(place for place, graph in enumerate(results["graphs"]) if graph["null"])
    options, matrices = results["options"], results["graphs"][0]["matrices"]
    return TableView(
        header=("graph of rows", "carries", "energy", "permuted", "p", "lift", "95 %", "permuted 95 %"),
        rows=tuple(rows),
        caption=(
            f"Which graph carries the gradient? Share of its energy, and lift, in the lowest fifth of the spectrum, "
            f"{matrices} matrices pooled; permuted: {options['permutations']} shuffles of the nodes; p: by Holm"
        ),
        muted=nulls,
        hints=(
            "rows that are joined, and by what",
            "by the rule of paramgraph compare: energy more than .05 above permuted nodes, p at most .05",
            "share of the gradient's energy",
            "its mean on permuted nodes",
            "of the energy, corrected for six graphs",
            "signal-to-noise ratio over that of the whole spectrum",
            "jackknife over batches",
            "where the middle 95 % of the permutations lie",
        ),
    )


def _training_table(results: dict[str, Any]) -> TableView:
    rows = [("linear probe (start)", "", *_score(results["linear_probe"]), "")]
    rows.append((_majority(results), "", *_score(results["majority"]), ""))
    muted = {1}
    for row in results["training"]:
        if row["null_of"]:
            muted.add(len(rows))
        rows.append((row["title"], f"{row['learning_rate']:g}", *_score(row), f"{row['seconds']:.0f}"))
    options = results["options"]
    return TableView(
        header=("method", "rate", *SCORES, "seconds"),
        rows=tuple(rows),
        caption=(
            f"Fine-tuning on {options['per_class']} examples a class, {options['steps']} steps, rate chosen on dev "
            f"from {len(options['learning_rates'])}; p: paired test against AdamW; {_counted(results)}"
        ),
        muted=frozenset(muted),
    )


def _refinement_table(results: dict[str, Any]) -> TableView:
    rows: list[tuple[str, ...]] = []
    muted = set()
    for row in results["refinement"]:
        if row["is_null"]:
            muted.add(len(rows))
        strength = "" if row["strength"] is None else f"{row['strength']:.3g}"
        rows.append((row["family"], strength, *_score(row)))
    muted.add(len(rows))
    rows.append((_majority(results), "", *_score(results["majority"])))
    options = results["options"]
    return TableView(
        header=("refinement", "strength", *SCORES),
        rows=tuple(rows),
        caption=(
            f"Refining a fine-tune that forgot ({results['long_training_texts']} texts, {options['long_steps']} steps "
            f"at {options['long_rate']:g}), without training; p: paired test against its first row; "
            f"{_counted(results)}"
        ),
        muted=frozenset(muted),
    )


def _score(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = (row.get(f"accuracy_{end}") for end in ("low", "high"))
    return (
        f"{row['accuracy']:.3f}",
        "" if low is None else f"[{low:.3f}, {high:.3f}]",
        _number(row["balanced_accuracy"], ".3f"),
        _number(row["macro_f1"], ".3f"),
        _number(row.get("p_value"), ".2g", ""),
        _number(row.get("neighbours_kept"), ".3f", ""),
        _number(row.get("cosine"), ".4f", ""),
        _number(row.get("drift"), ".4f", ""),
    )


def _majority(results: dict[str, Any]) -> str:
    return f"always {results['majority']['label']}"


def _counted(results: dict[str, Any]) -> str:
    counts = results["majority"]["class_counts"]
    return "test texts: " + ", ".join(f"{label} {count}" for label, count in counts.items())


def _number(value: float | None, style: str, missing: str = "\N{EN DASH}") -> str:
    return missing if value is None else f"{value:{style}}"
