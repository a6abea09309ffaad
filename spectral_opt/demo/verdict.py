"""What a demonstration's numbers say, in sentences; what did not help is said as plainly as what did."""

from typing import Any

import numpy as np

from spectral_opt.demo.parts import EQUAL, LONGER
from spectral_opt.demo.refinement_front import PRODUCT, SCALING, SHOWN_STRENGTH
from spectral_opt.preparation import told_reasons

SIGNIFICANCE = 0.05


def conclusion(results: dict[str, Any]) -> str:
    """Say in one sentence what the three parts came to."""
    return f"{_sentence(_graphs_in_short(results))}; {_training_in_short(results)}; {_refinement_in_short(results)}."


def key_figures(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Give the three numbers that the conclusion rests on, each beside what it has to be read against."""
    graph, rows = _best_graph(results), {row["method"]: row for row in results["training"]}
    tuned, product, scaling = (_refined(results, *which) for which in _SHOWN)
    figures = [
        (
            f"of the gradient's energy in the lowest fifth of {graph['name']}; permuted nodes "
            f"{_percent(graph['compaction_permuted'])}",
            _percent(graph["compaction"]),
        ),
        (
            f"of the test texts right by penalty and filter together; AdamW {_percent(rows['adamw']['accuracy'], 1)}",
            _percent(rows["spectral_both"]["accuracy"], 1),
        ),
    ]
    if product is not None and tuned is not None:
        beside = (
            f"; scaling that keeps as much {_percent(scaling['accuracy'], 1)}" if scaling is not None else ""
        )
        figures.append(
            (
                f"of the test texts right when refined, {_percent(product['neighbours_kept'])} of the neighbours kept "
                f"instead of {_percent(tuned['neighbours_kept'])}{beside}",
                _percent(product["accuracy"], 1),
            )
        )
    return figures


def cautions(results: dict[str, Any]) -> list[str]:
    """Name every fine-tune that is worse than its start, those that chance explains apart, and what was left out."""
    start = results["linear_probe"]["accuracy"]
    found = [(row["title"], row) for row in results["training"]]
    found += [(row["family"], row) for row in results["refinement"] if row["family"] == LONGER]
    worse = [(title, row) for title, row in found if row["accuracy"] < start]
    told = []
    for shown, what in (
        (True, "Training lost what was there"),
        (False, "No gain, and a loss that this test set cannot tell from chance"),
    ):
        some = [one for one in worse if (one[1]["p_start"] < SIGNIFICANCE) is shown]
        if some:
            numbers = ", ".join(
                f"{title} {row['accuracy']:.3f} (p = {row['p_start']:.2g})" for title, row in some
            )
            told.append(f"Worse than the linear probe they start from ({start:.3f}): {numbers}. {what}.")
    parts: dict[str, dict[str, str]] = {}
    for one in results["left_out"]:
        parts.setdefault(one["part"], {})[one["name"]] = one["reason"]
    alike: dict[str, list[str]] = {}
    for part, reasons in parts.items():
        alike.setdefault(told_reasons(reasons), []).append(part)
    told += [f"Matrices left out, {', '.join(names)}: {reasons}." for reasons, names in alike.items()]
    return told


def graph_sentences(results: dict[str, Any]) -> list[str]:
    """Say which graph carries the gradient, by the one rule there is, and of each graph what its lift is."""
    sentences = [results["graph_verdict"]]
    for graph in results["graphs"]:
        said = (
            f"{_sentence(graph['name'])}: {_percent(graph['compaction'])} of the energy in the lowest fifth, permuted "
            f"nodes {_percent(graph['compaction_permuted'])}: {_carrying(graph)}"
        )
        sentences.append(f"{said} {_lifted(graph)}")
    return sentences


def _carrying(graph: dict[str, Any]) -> str:
    if graph["carries"]:
        return "it carries the gradient."
    if graph["p_holm"] is not None and graph["p_holm"] <= SIGNIFICANCE:
        return "more than by chance, but too little more to say that it carries the gradient."
    return "nothing shows that it carries the gradient."


def _lifted(graph: dict[str, Any]) -> str:
    """Say what the low frequencies hold of signal against noise, beside all permutations."""
    bands, permuted = graph["bands"], graph["permuted_lift"]
    lift, low, high = (bands[name][0] for name in ("lift", "lift_low", "lift_high"))
    if None in (lift, low, high) or not permuted:
        return "Noise leaves no signal, so there is no lift."
    beside = (
        f"its lift is {lift:.2f} [{low:.2f}, {high:.2f}], on permuted nodes {permuted['low']:.2f} to "
        f"{permuted['high']:.2f}"
    )
    if low > max(1.0, permuted["high"]):
        return f"There is more signal to the noise there than elsewhere: {beside}."
    if high < min(1.0, permuted["low"]):
        return f"There is less signal to the noise there than elsewhere: {beside}."
    return f"That there is more signal to the noise there than elsewhere is not shown: {beside}."


def training_sentences(results: dict[str, Any]) -> list[str]:
    """Say of each method what it changed against plain AdamW, and against its own null."""
    rows = {row["method"]: row for row in results["training"]}
    baseline, probe = rows["adamw"], results["linear_probe"]
    # Bonferroni: AdamW is compared with the probe and with every other row.
    level = SIGNIFICANCE / len(rows)
    start = "the linear probe it starts from"
    sentences = [
        _compared("AdamW", baseline["accuracy"], start, probe["accuracy"], probe["p_value"] < level, probe)
    ]
    sentences.append(_beside_majority(results["majority"], results))
    for row in results["training"]:
        if row["method"] == "adamw" or row["null_of"]:
            continue
        shown = row["p_value"] < level
        sentence = _compared(
            _sentence(row["title"]), row["accuracy"], "AdamW", baseline["accuracy"], shown, row
        )
        sentence += f" Neighbours kept {row['neighbours_kept']:.3f}, AdamW {baseline['neighbours_kept']:.3f}."
        null = rows.get(f"{row['method']}_permuted")
        if null:
            sentence += (
                f" On the permuted graph it reaches {null['accuracy']:.3f} and keeps {null['neighbours_kept']:.3f}: "
                + _null_judgement(row, null, level)
            )
        sentences.append(sentence)
    sentences.append(
        f"A difference counts where p is below {SIGNIFICANCE:g} divided by the {len(rows)} comparisons with AdamW."
    )
    return sentences


def refinement_sentences(results: dict[str, Any]) -> list[str]:
    """Compare every filter with scaling the delta: accuracy at the same share of neighbours kept."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in results["refinement"]:
        curves.setdefault(row["family"], []).append(row)
    (tuned,) = curves.pop(LONGER)
    sentences = [
        f"The fine-tune keeps {tuned['neighbours_kept']:.2f} of the neighbours and is right on {tuned['accuracy']:.3f}."
    ]
    if tuned["neighbours_kept"] >= 0.9995:  # 1.000 in the table
        sentences.append("It kept every neighbour of this text: there is nothing to refine.")
    sentences.append(f"{_sentence(_refinement_in_short(results))}.")
    ends = [tuned, *curves.pop(SCALING.name), *curves.pop(EQUAL, [])]
    kept = np.array([row["neighbours_kept"] for row in ends])
    accuracy = np.array([row["accuracy"] for row in ends])
    order = np.argsort(kept)
    for name, rows in curves.items():
        points = []
        for row in rows:
            if kept.min() <= row["neighbours_kept"] <= kept.max():
                gain = row["accuracy"] - np.interp(row["neighbours_kept"], kept[order], accuracy[order])
                beside = f"{100 * gain:+.1f}"
            else:
                beside = "no scaling here keeps as much or as little"
            points.append(
                f"{row['strength']:g}: {row['accuracy']:.3f} at {row['neighbours_kept']:.2f} kept ({beside})"
            )
        sentences.append(
            f"{_sentence(name)}, by strength (points of accuracy against scaling at equal retention): "
            f"{', '.join(points)}."
        )
    width = 100 * (tuned["accuracy_high"] - tuned["accuracy_low"]) / 2
    sentences.append(
        f"One fine-tune, one seed; an accuracy here is uncertain by about {width:.1f} points, so differences smaller "
        f"than that show nothing but in a paired test."
    )
    return sentences


_SHOWN = ((LONGER, None), (PRODUCT.name, SHOWN_STRENGTH), (EQUAL, None))


def _graphs_in_short(results: dict[str, Any]) -> str:
    carrying = [graph for graph in results["graphs"] if graph["carries"] and not graph["null"]]
    if not carrying:
        return "no graph of the rows carries the gradient here"
    best = _best_graph(results)
    return (
        f"the graph by {best['name']} carries the gradient ({_percent(best['compaction'])} of its energy in the lowest "
        f"fifth of its modes, {_percent(best['compaction_permuted'])} on permuted nodes)"
    )


def _training_in_short(results: dict[str, Any]) -> str:
    rows = {row["method"]: row for row in results["training"]}
    both, plain = rows["spectral_both"], rows["adamw"]
    level = SIGNIFICANCE / len(rows)
    said = (
        f"trained with penalty and filter, {both['accuracy']:.3f} of the test texts are right, with AdamW alone "
        f"{plain['accuracy']:.3f}"
    )
    if both["p_value"] >= level:
        return f"{said}, which is no difference that can be shown"
    return f"{said}, which is {'better' if both['accuracy'] > plain['accuracy'] else 'worse'}"


def _refinement_in_short(results: dict[str, Any]) -> str:
    tuned, product, scaling = (_refined(results, *which) for which in _SHOWN)
    assert tuned is not None, "always measured"
    assert product is not None, "always measured"
    said = (
        f"a fine-tune that keeps {tuned['neighbours_kept']:.2f} of the neighbours of other text is refined to keep "
        f"{product['neighbours_kept']:.2f} with {product['accuracy']:.3f} right instead of {tuned['accuracy']:.3f}"
    )
    if scaling is None:
        return f"{said}, and no scaling of its change keeps so little"
    p_value = results["equal_retention"]["p_value"]
    said += f", where scaling its change gives {scaling['accuracy']:.3f} (p = {p_value:.2g}"
    if p_value >= SIGNIFICANCE:
        return f"{said}: no difference that can be shown)"
    return f"{said}: {'better' if product['accuracy'] > scaling['accuracy'] else 'worse'})"


def _refined(results: dict[str, Any], family: str, strength: float | None) -> dict[str, Any] | None:
    rows = [row for row in results["refinement"] if row["family"] == family]
    return next((row for row in rows if strength is None or row["strength"] == strength), None)


def _best_graph(results: dict[str, Any]) -> dict[str, Any]:
    """Take the graph that gathers most, of those that carry where there are any; nulls do not count."""
    judged = [graph for graph in results["graphs"] if not graph["null"]]
    best: dict[str, Any] = max(judged, key=lambda graph: (graph["carries"], graph["compaction"] or 0.0))
    return best


def _percent(value: float | None, digits: int = 0) -> str:
    return "none" if value is None else f"{100 * value:.{digits}f} %"


def _sentence(name: str) -> str:
    # str.capitalize would write AdamW as Adamw.
    return name[:1].upper() + name[1:]


def _compared(
    title: str, accuracy: float, other: str, against: float, shown: bool, row: dict[str, Any]
) -> str:
    points, p_value = 100 * (accuracy - against), row["p_value"]
    if not shown:
        judgement = "no difference that this test set can show, so it did not help visibly"
    else:
        judgement = "better" if points > 0 else "worse: it did harm"
    return (
        f"{title}: {accuracy:.3f} against {against:.3f} of {other} ({points:+.1f} points, p = {p_value:.2g}): "
        f"{judgement}."
    )


def _beside_majority(majority: dict[str, Any], results: dict[str, Any]) -> str:
    """Name what is not above the answer that looks at no text."""
    said = f"Always answering {majority['label']} is right on {majority['accuracy']:.3f}"
    scored = [("the linear probe", results["linear_probe"])]
    scored += [(row["title"], row) for row in results["training"]]
    below = [title for title, row in scored if row["accuracy_low"] <= majority["accuracy"]]
    if not below:
        return f"{said}; every row is above that."
    return f"{said}; by their intervals these are not above it: {', '.join(below)}."


def _null_judgement(row: dict[str, Any], null: dict[str, Any], level: float) -> str:
    p_values = {what: null[f"p_null_{what}"] for what in ("accuracy", "neighbours")}
    tested = ", ".join(f"{what} p = {p_value:.2g}" for what, p_value in p_values.items())
    shown = [what for what, p_value in p_values.items() if p_value < level]
    if not shown:
        return f"the graph itself contributed nothing that shows here ({tested})."
    names = {"accuracy": "accuracy", "neighbours": "neighbours_kept"}
    better = {what: "graph" if row[names[what]] > null[names[what]] else "permuted one" for what in shown}
    said = " and ".join(f"in {what} the {which} is better" for what, which in better.items())
    return f"{said} ({tested}); seeds would have to confirm it."
