"""A refinement's tables: the sweep, the comparisons on test, and the test of what was picked."""

from typing import Any

from paramgraph.display import TableView
from spectral_opt.sweep._words import NULLS, ends, interval, name_of, task_label

SCORES = ("balanced", "macro F1")


def refinement_tables(results: dict[str, Any]) -> list[TableView]:
    """Make the tables of a refinement: the sweep, and, on test, the comparisons and what was picked."""
    tables = [_sweep_table(results)]
    if (results.get("equal_forgetting") or {}).get("by_strength"):
        tables.append(_equal_table(results))
    if any(row["scaling"] is not None for row in results.get("equal_score") or ()):
        tables.append(_score_table(results))
    if results["test"]:
        tables.append(_test_table(results))
    return tables


def _sweep_table(results: dict[str, Any]) -> TableView:
    causal, task = results["kind"] == "causal", task_label(results)
    header = ["state", "strength", "forgotten", "95 %", *([] if causal else ["neighbours"]), "norm kept"]
    header += [f"dev {task}", "95 %"] if task else []
    tested = any(point.get("test") is not None for point in results["points"])
    header += ["test"] if tested else []
    # Results of earlier versions, and losses, have no such scores.
    scored = any(point.get("macro_f1") is not None for point in results["points"])
    header += SCORES if scored else []
    rows, chosen = [], {(at["family"], at["strength"]) for at in results["picked"].values()}
    for point in results["points"]:
        mark = " *" if (point["family"], point["strength"]) in chosen else ""
        row = [
            name_of(results, point["family"]) + mark,
            "" if point["family"] in ("base", "tuned") else f"{point['strength']:g}",
        ]
        row += _value(point, "forgotten", "{:.4f}")
        row += [] if causal else [f"{point['neighbours_kept']:.3f}"]
        row += [f"{point['norm_kept']:.3f}"]
        row += _value(point, "task", "{:.3f}") if task else []
        row += [f"{point['test']:.3f}"] if tested else []
        rows.append((*row, *(_scores(point) if scored else [])))
    muted = {place for place, point in enumerate(results["points"]) if point["family"] in NULLS}
    if (majority := results.get("majority", {}).get("dev")) and scored:
        blank = [""] * (len(header) - 1 - 2 - tested - len(SCORES))
        shown = [_majority_score(majority), "", *([""] if tested else []), *_scores(majority)]
        rows.append((_always(majority), *blank, *shown))
        muted.add(len(rows) - 1)
    what = (
        "loss on held-out preserved text beyond the base's, nats per token"
        if causal
        else ("1 - mean cosine with the base's embeddings of held-out preserved text")
    )
    caption = f"Forgotten: {what}; * picked on dev{_counted(results, 'dev')}"
    return TableView(tuple(header), tuple(rows), caption, muted=frozenset(muted))


def _equal_table(results: dict[str, Any]) -> TableView:
    rivals = {"scaling": results["equal_forgetting"]} | (results.get("against_nulls") or {})
    means = {rival: found["mean"] for rival, found in rivals.items()}
    header = ["filter", "forgotten", f"test {task_label(results)}", "scaling there"]
    for rival in rivals:
        header += [f"gain over {rival}", "p Holm"]
    rows = []
    for place, row in enumerate(results["equal_forgetting"]["by_strength"]):
        cells = [f"{row['strength']:g}", f"{row['forgotten']:.4f}", f"{row['filter']:.3f}"]
        cells += ["" if row["gain"] is None else f"{row['scaling']:.3f}"]
        for found in rivals.values():
            cells += _gain(found["by_strength"][place])
        rows.append(tuple(cells))
    if any(mean is not None for mean in means.values()):
        cells = ["mean", "", "", ""]
        for mean in means.values():
            cells += _gain(mean) if mean is not None else ["", ""]
        rows.append(tuple(cells))
    return TableView(
        tuple(header),
        tuple(rows),
        "At equal forgetting, on test: scaling and nulls between the two nearest of their states (their curves may lie "
        "above that line). p of the strengths corrected for their number, those of the means for that of the rivals",
    )


def _gain(row: dict[str, Any]) -> list[str]:
    if row["gain"] is None:
        return ["", ""]
    return [interval(row, "gain"), f"{row.get('p_holm', row['p_value']):.2g}"]


def _score_table(results: dict[str, Any]) -> TableView:
    causal = results["kind"] == "causal"
    what = "loss beyond the base's, nats" if causal else "neighbours lost"
    rows = []
    for row in results["equal_score"]:
        cells = [f"{row['strength']:g}", f"{row['task']:.3f}", f"{row['filter']:.3f}"]
        if row["scaling"] is None:
            cells += ["no factor is as good", "", f"{row['reached']:.0%}"]
        else:
            cells += [f"{row['scaling']:.3f}"]
            shown = interval(row, "less") if causal else ""
            if not causal:
                shown = "" if row["ratio"] is None else interval(row, "ratio", "{:.2f}")
            cells += [shown, f"{row['reached']:.0%}"]
        rows.append(tuple(cells))
    share = "scaling's less the filter's" if causal else "filter's share of scaling's"
    return TableView(
        ("filter", f"test {task_label(results)}", what, "scaling there", share, "reached"),
        tuple(rows),
        "At equal score, on test: the least that scaling forgets where it does the task as well. Intervals over test "
        "and held-out texts; reached: draws in which a factor is as good, else the most that it forgets counts",
    )


def _test_table(results: dict[str, Any]) -> TableView:
    rows: list[tuple[str, ...]] = []
    scored = all(row.get("macro_f1") is not None for row in results["test"])
    majority = results.get("majority", {}).get("test") if scored else None
    for row in results["test"]:
        rows.append(
            (
                name_of(results, row["family"])
                + (" = fine-tune" if row["is_tuned"] and row["family"] != "tuned" else ""),
                "" if row["is_tuned"] else f"{row['strength']:g}",
                *_value(row, "task", "{:.3f}"),
                *(_scores(row) if scored else []),
                "" if row["family"] == "tuned" else interval(row, "difference"),
                "" if row["family"] == "tuned" or "p_value" not in row else f"{row['p_value']:.2g}",
            )
        )
    if majority is not None:
        rows.append((_always(majority), "", _majority_score(majority), "", *_scores(majority), "", ""))
    header = ("picked on dev", "strength", f"test {task_label(results)}", "95 %", *(SCORES if scored else ()))
    return TableView(
        (*header, "against the fine-tune", "p"),
        tuple(rows),
        f"Test: {results['sizes']['test']} texts that picked nothing{_counted(results, 'test')}",
        muted=frozenset({len(rows) - 1} if majority is not None else ()),
    )


def _always(majority: dict[str, Any]) -> str:
    return f"always {majority['label']}"


def _majority_score(majority: dict[str, Any]) -> str:
    score = majority.get("task", majority["accuracy"])
    return "" if score is None else f"{score:.3f}"


def _counted(results: dict[str, Any], part: str) -> str:
    majority = results.get("majority", {}).get(part)
    if majority is None:
        return ""
    return "; texts: " + ", ".join(f"{name} {count}" for name, count in majority["class_counts"].items())


def _scores(row: dict[str, Any]) -> list[str]:
    return [f"{row['balanced_accuracy']:.3f}", f"{row['macro_f1']:.3f}"]


def _value(row: dict[str, Any], name: str, form: str) -> list[str]:
    return [form.format(row[name]), ends(row, name, form)]
