"""A demonstration's tables, the same in the terminal and on the page."""

from typing import Any

from paramgraph.display import TableView, print_views


def demo_tables(results: dict[str, Any]) -> tuple[TableView, TableView, TableView]:
    """Make the tables of the three parts: graphs, fine-tuning, refinement."""
    return _graph_table(results), _training_table(results), _refinement_table(results)


def print_tables(results: dict[str, Any]) -> None:
    """Print the tables to the terminal; without rich, ImportError has the pip line."""
    print_views(demo_tables(results))


def _graph_table(results: dict[str, Any]) -> TableView:
    rows: list[tuple[str, ...]] = []
    muted = set()
    for graph in results["graphs"]:
        for kind, name in (("bands", graph["name"]), ("null_bands", "  null: nodes permuted")):
            bands = graph[kind]
            if kind == "null_bands":
                muted.add(len(rows))
            interval = f"[{bands['lift_low'][0]:.2f}, {bands['lift_high'][0]:.2f}]"
            ratios = [f"{value:.3f}" for value in bands["snr"]]
            shares = [f"{value:.2f}" for value in bands["energy_share"]]
            rows.append((name, *ratios, f"{bands['lift'][0]:.2f}", interval, shares[0], shares[-1]))
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
    probe = results["linear_probe"]
    rows, muted = [("linear probe (start)", "", *_score(probe), "")], set()
    for row in results["training"]:
        if row["null_of"]:
            muted.add(len(rows))
        rows.append((row["title"], f"{row['learning_rate']:g}", *_score(row), f"{row['seconds']:.0f}"))
    options = results["options"]
    return TableView(
        header=("method", "rate", "accuracy", "95 %", "p", "neighbours", "cosine", "drift", "seconds"),
        rows=tuple(rows),
        caption=(
            f"Fine-tuning on {options['per_class']} examples a class, {options['steps']} steps, rate chosen on dev "
            f"from {len(options['learning_rates'])}; p: paired test against AdamW"
        ),
        muted=frozenset(muted),
    )


def _refinement_table(results: dict[str, Any]) -> TableView:
    baseline = next(row for row in results["training"] if row["method"] == "adamw")
    rows, muted = [("AdamW, as it is", "", *_score(baseline))], set()
    for row in results["refinement"]:
        if row["is_null"]:
            muted.add(len(rows))
        rows.append((row["family"], f"{row['strength']:g}", *_score(row)))
    return TableView(
        header=("refinement", "strength", "accuracy", "95 %", "p", "neighbours", "cosine", "drift"),
        rows=tuple(rows),
        caption="Refining the finished AdamW fine-tune, without training",
        muted=frozenset(muted),
    )


def _score(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['accuracy']:.3f}",
        f"[{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]",
        f"{row['p_value']:.2g}",
        f"{row['neighbours_kept']:.3f}",
        f"{row['cosine']:.4f}",
        f"{row['drift']:.4f}",
    )
