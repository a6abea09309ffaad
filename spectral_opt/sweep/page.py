"""A refinement's tables, sentences, and page."""

from typing import Any

import numpy as np

from paramgraph.display import Curve, FigureView, Section, TableView, draw_curves, render_page

LEVEL = 0.05
SCORES = ("balanced", "macro F1")
NAMES = {
    "base": "base",
    "tuned": "fine-tune as it is",
    "filter": "column filter",
    "scaling": "scaling (WiSE-FT)",
}
TASKS = {"accuracy": "accuracy", "probe": "accuracy of a linear probe", "loss": "loss, nats"}


def refinement_tables(results: dict[str, Any]) -> list[TableView]:
    """Make the tables of a refinement: the sweep, and the test of what was picked."""
    causal = results["kind"] == "causal"
    task = TASKS.get(results["task_metric"] or "", "")
    header = ["state", "strength", "forgotten", "95 %", *([] if causal else ["neighbours"]), "norm kept"]
    header += [f"dev {task}", "95 %"] if task else []
    # Results of earlier versions, and losses, have no such scores.
    scored = any(point.get("macro_f1") is not None for point in results["points"])
    header += SCORES if scored else []
    rows, chosen = [], {(at["family"], at["strength"]) for at in results["picked"].values()}
    for point in results["points"]:
        mark = " *" if (point["family"], point["strength"]) in chosen else ""
        row = [
            NAMES[point["family"]] + mark,
            "" if point["family"] in ("base", "tuned") else f"{point['strength']:g}",
        ]
        row += _value(point, "forgotten", "{:.4f}")
        row += [] if causal else [f"{point['neighbours_kept']:.3f}"]
        row += [f"{point['norm_kept']:.3f}"]
        row += _value(point, "task", "{:.3f}") if task else []
        rows.append((*row, *(_scores(point) if scored else [])))
    if (majority := results.get("majority", {}).get("dev")) and scored:
        blank = [""] * (len(header) - 1 - 2 - len(SCORES))
        rows.append((_always(majority), *blank, f"{majority['accuracy']:.3f}", "", *_scores(majority)))
    what = (
        "loss on held-out preserved text beyond the base's, nats per token"
        if causal
        else ("1 - mean cosine with the base's embeddings of held-out preserved text")
    )
    caption = f"Forgotten: {what}; * picked on dev{_counted(results, 'dev')}"
    muted = frozenset({len(rows) - 1} if majority and scored else ())
    tables = [TableView(tuple(header), tuple(rows), caption, muted=muted)]
    if results["test"]:
        tables.append(_test_table(results, task))
    if (results.get("equal_forgetting") or {}).get("by_strength"):
        tables.append(_equal_table(results, task))
    return tables


def refinement_sentences(results: dict[str, Any]) -> list[str]:
    """Say what was picked, what was written, and what the test shows; what did not help is said as plainly."""
    said = [sentence for sentence in (_verdict(results), _beside_majority(results)) if sentence]
    for family, at in results["picked"].items():
        if results.get("has_forgotten") is False:
            break
        if at["family"] == "tuned":
            said.append(
                f"{_sentence(NAMES[family])}: no strength forgot less and stayed within one standard error of the "
                "fine-tune on dev, so the fine-tune itself stays."
            )
        else:
            said.append(f"{_sentence(NAMES[family])}: strength {at['strength']:g} was picked on dev.")
    for row in results["test"]:
        if row["family"] == "tuned" or row["is_tuned"]:
            continue
        # One test decides: an interval of the bootstrap and an exact test need not agree.
        is_outside = row["difference_low"] > 0 or row["difference_high"] < 0
        shown = row["p_value"] <= LEVEL if "p_value" in row else is_outside
        p_value = f", p = {row['p_value']:.2g}" if "p_value" in row else ""
        said.append(
            f"On test, {NAMES[row['family']]} {row['strength']:g} differs from the fine-tune by "
            f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]{p_value}: "
            + ("a difference that these texts show." if shown else "no difference that these texts can show.")
        )
    written = results["written"]
    if written is not None:
        what = {"adapter": "an adapter of the same rank", "merged": "a model, with the adapter merged"}
        form = what.get(written["form"], "a model")
        strength = "the fine-tune unchanged" if written["is_tuned"] else f"strength {written['strength']:g}"
        said.append(
            f"Written: {form}, {strength} ({written['why']}); {written['norm_kept']:.0%} of the delta's norm."
        )
    return [*said, *(f"{_sentence(remark)}." for remark in results["remarks"])]


def refinement_page(results: dict[str, Any]) -> str:
    """Render the results of a refinement as a whole HTML document."""
    lead = (
        f"{results['tuned']}, fine-tuned from {results['base']}. One fine-tune, one seed, small samples: "
        f"{results['split']}."
    )
    if not results["finished"]:
        lead += " Interrupted: the points measured until then."
    section = Section(
        "What a strength costs, and what it brings back",
        paragraphs=(
            "The columns of each matrix are nodes, joined by the co-activation of their inputs on preserved text. The "
            "filter takes out of the fine-tuning delta what acts on the strong modes of that graph. Scaling the delta "
            "needs no graph, and is what the filter has to beat.",
        ),
        points=refinement_sentences(results),
        tables=tuple(refinement_tables(results)),
        figures=tuple(_figures(results)),
    )
    footer = (
        ("command", results["command"]),
        ("preserved text", results["origins"]["preserve"]),
        *((("task", results["origins"]["task"]),) if results["origins"]["task"] else ()),
        ("seconds", ", ".join(f"{part} {seconds:.0f}" for part, seconds in results["seconds"].items())),
        ("hardware", ", ".join(f"{name} {value}" for name, value in results["hardware"].items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in results["versions"].items())),
    )
    return render_page(results["title"], lead, [section], footer)


def _test_table(results: dict[str, Any], task: str) -> TableView:
    rows: list[tuple[str, ...]] = []
    scored = all(row.get("macro_f1") is not None for row in results["test"])
    majority = results.get("majority", {}).get("test") if scored else None
    for row in results["test"]:
        difference = f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        rows.append(
            (
                NAMES[row["family"]]
                + (" = fine-tune" if row["is_tuned"] and row["family"] != "tuned" else ""),
                "" if row["is_tuned"] else f"{row['strength']:g}",
                *_value(row, "task", "{:.3f}"),
                *(_scores(row) if scored else []),
                "" if row["family"] == "tuned" else difference,
                "" if row["family"] == "tuned" or "p_value" not in row else f"{row['p_value']:.2g}",
            )
        )
    if majority is not None:
        rows.append((_always(majority), "", f"{majority['accuracy']:.3f}", "", *_scores(majority), "", ""))
    header = ("picked on dev", "strength", f"test {task}", "95 %", *(SCORES if scored else ()))
    return TableView(
        (*header, "against the fine-tune", "p"),
        tuple(rows),
        f"Test: {results['sizes']['test']} texts that picked nothing{_counted(results, 'test')}",
        muted=frozenset({len(rows) - 1} if majority is not None else ()),
    )


def _equal_table(results: dict[str, Any], task: str) -> TableView:
    rows = []
    for row in results["equal_forgetting"]["by_strength"]:
        compared = row["gain"] is not None
        rows.append(
            (
                f"{row['strength']:g}",
                f"{row['forgotten']:.4f}",
                f"{row['filter']:.3f}",
                f"{row['scaling']:.3f}" if compared else "",
                f"{row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]" if compared else "",
                f"{row['p_holm']:.2g}" if compared else "",
            )
        )
    return TableView(
        ("filter", "forgotten", f"test {task}", "scaling there", "gain", "p Holm"),
        tuple(rows),
        "At equal forgetting, on test: scaling between its two nearest factors, text by text (its own curve may lie "
        "above that line); p: sign flips of the texts' differences, corrected for the strengths",
    )


def _verdict(results: dict[str, Any]) -> str:
    """Say in one sentence what the filter is worth: beside scaling, where both forget as much."""
    points = {point["family"]: point for point in results["points"]}
    if not results["finished"] or "has_forgotten" not in results:
        return ""
    if not results["has_forgotten"]:
        of = points["tuned"]
        return (
            f"There is nothing to refine: what the fine-tune forgot, {of['forgotten']:.4f} "
            f"[{of['forgotten_low']:.4f}, {of['forgotten_high']:.4f}], is nothing that "
            f"{results['sizes']['held_out']} texts can show."
        )
    if results["task_metric"] is None:
        return "Whether the filter is worth more than scaling was not measured: that takes task data."
    rows, mean = results["equal_forgetting"]["by_strength"], results["equal_forgetting"]["mean"]
    if mean is None:
        why = (
            "no strength forgets as much as any factor does" if rows else "there are too few texts for a test"
        )
        return f"Whether the filter is worth more than scaling at equal forgetting was not measured: {why}."
    compared = [row for row in rows if row["gain"] is not None]
    said = f"At equal forgetting, against scaling on {results['sizes']['test']} test texts, the filter "
    said += _judged(mean, compared)
    over = "" if len(compared) == 1 else f" over its {len(compared)} strengths"
    interval = f"[{mean['gain_low']:+.3f}, {mean['gain_high']:+.3f}]"
    said += f"; gain{over}: {mean['gain']:+.3f} {interval}, p = {mean['p_value']:.2g}"
    if len(compared) > 1:
        gains = (f"{row['strength']:g}: {row['gain']:+.3f} (p = {row['p_holm']:.2g})" for row in compared)
        said += f"; by strength, with Holm's p: {', '.join(gains)}"
    if outside := len(rows) - len(compared):
        said += f"; {outside} of {len(rows)} strengths forget more or less than any factor"
    return f"{said}."


def _judged(mean: dict[str, Any], compared: list[dict[str, Any]]) -> str:
    """Judge the mean over strengths by one test, and what single strengths show against it by Holm's."""
    if mean["p_value"] <= LEVEL and mean["gain"]:
        found, other = ("better", "worse") if mean["gain"] > 0 else ("worse", "better")
        sign = -1 if mean["gain"] > 0 else 1
        against = [row for row in compared if row["p_holm"] <= LEVEL and sign * row["gain"] > 0]
        if against:
            return f"is {found} in the mean, and {other} at {_strengths(against)}"
        return f"is {found}"
    alone = {
        word: [row for row in compared if row["p_holm"] <= LEVEL and sign * row["gain"] > 0]
        for word, sign in (("better", 1), ("worse", -1))
    }
    shown = " and ".join(f"{word} at {_strengths(rows)}" for word, rows in alone.items() if rows)
    return f"is {shown}, and in the mean cannot be told from it" if shown else "cannot be told from it"


def _strengths(rows: list[dict[str, Any]]) -> str:
    return "strength " + ", ".join(f"{row['strength']:g}" for row in rows)


def _beside_majority(results: dict[str, Any]) -> str:
    """Say where the fine-tune is not above the answer that looks at no text."""
    for part, rows in (("test", results["test"]), ("dev", results["points"])):
        majority = results.get("majority", {}).get(part)
        tuned = next((row for row in rows if row["family"] == "tuned"), None)
        if majority is None or tuned is None:
            continue
        if tuned["task_low"] > majority["accuracy"]:
            return ""
        interval = f"[{tuned['task_low']:.3f}, {tuned['task_high']:.3f}]"
        return (
            f"On {part}, the fine-tune's accuracy {tuned['task']:.3f} {interval} is not above that of always answering "
            f"{majority['label']}, {majority['accuracy']:.3f}; balanced {tuned['balanced_accuracy']:.3f} "
            f"and {majority['balanced_accuracy']:.3f}."
        )
    return ""


def _always(majority: dict[str, Any]) -> str:
    return f"always {majority['label']}"


def _counted(results: dict[str, Any], part: str) -> str:
    majority = results.get("majority", {}).get(part)
    if majority is None:
        return ""
    return "; texts: " + ", ".join(f"{name} {count}" for name, count in majority["class_counts"].items())


def _scores(row: dict[str, Any]) -> list[str]:
    return [f"{row['balanced_accuracy']:.3f}", f"{row['macro_f1']:.3f}"]


def _figures(results: dict[str, Any]) -> list[FigureView]:
    causal, task = results["kind"] == "causal", results["task_metric"]
    label = "forgotten: loss beyond the base's, nats" if causal else "forgotten: 1 - cosine with the base"
    x, y, y_label = ("forgotten", "task", f"dev {TASKS[task]}") if task else ("norm_kept", "forgotten", label)
    x_label = label if task else "norm of the delta that is kept"
    curves = []
    for colour, family in enumerate(("filter", "scaling", "tuned", "base")):
        rows = [point for point in results["points"] if point["family"] == family]
        if rows:
            curves.append(
                Curve(
                    NAMES[family],
                    np.array([row[x] for row in rows], dtype=float),
                    np.array([row[y] for row in rows], dtype=float),
                    np.array([row[f"{y}_low"] for row in rows], dtype=float),
                    np.array([row[f"{y}_high"] for row in rows], dtype=float),
                    colour=(0, 1, 4, 6)[colour],
                    style="-" if family in ("filter", "scaling") else "none",
                )
            )
    better = "Up" if results["higher_is_better"] else "Down"
    reading = f"{better} and to the left is better" if task else "Down is better"
    return [
        FigureView(
            "The front: task against forgetting" if task else "Forgetting against the norm kept",
            draw_curves(curves, "front", x_label=x_label, y_label=y_label),
            f"{reading}; one point a strength, bars are 95 % intervals over texts. Data: results.json, points.",
        )
    ]


def _value(row: dict[str, Any], name: str, form: str) -> list[str]:
    interval = f"[{form.format(row[f'{name}_low'])}, {form.format(row[f'{name}_high'])}]"
    return [form.format(row[name]), interval]


def _sentence(words: str) -> str:
    # str.capitalize would write WiSE-FT as wise-ft.
    return words[:1].upper() + words[1:]
