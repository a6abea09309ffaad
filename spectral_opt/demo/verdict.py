"""What a demonstration's numbers say, in sentences; what did not help is said as plainly as what did."""

from typing import Any

import numpy as np

SIGNIFICANCE = 0.05


def graph_sentences(results: dict[str, Any]) -> list[str]:
    """Say of each construction whether its low frequencies gather signal, compared with its own null."""
    sentences = []
    for graph in results["graphs"]:
        bands, null = graph["bands"], graph["null_bands"]
        energy = (
            f"{_sentence(graph['name'])}: the lowest fifth of the spectrum holds {_energy(bands)} of the gradient's "
            f"energy (permuted null {_energy(null)})"
        )
        if None in (one[end][0] for one in (bands, null) for end in ("lift", "lift_low", "lift_high")):
            sentences.append(
                f"{energy}; noise leaves no signal, so nothing shows whether it carries the gradient."
            )
            continue
        sentences.append(
            f"{energy}, and its signal-to-noise ratio is {_lift(bands)} times that of the whole (null {_lift(null)}). "
            + _carrying(bands, null)
        )
    return [
        *sentences,
        f"Each of the {len(sentences)} graphs is judged by its own 95 % intervals, without correction.",
    ]


def _energy(bands: dict[str, Any]) -> str:
    share = bands["energy_share"][0]
    return "no known share" if share is None else f"{share:.0%}"


def _lift(bands: dict[str, Any]) -> str:
    return f"{bands['lift'][0]:.2f} [{bands['lift_low'][0]:.2f}, {bands['lift_high'][0]:.2f}]"


def _carrying(bands: dict[str, Any], null: dict[str, Any]) -> str:
    if bands["lift_low"][0] > max(1.0, null["lift_high"][0]):
        return "It carries the gradient."
    if bands["lift_high"][0] < min(1.0, null["lift_low"][0]):
        return "Its low frequencies hold less signal than its null: it does not carry the gradient."
    if bands["lift_low"][0] > null["lift_high"][0] or bands["lift_high"][0] < null["lift_low"][0]:
        return "It differs from its null, but nothing shows that it carries the gradient."
    return "On these batches it cannot be told from its null: nothing shows that it carries the gradient."


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
    if majority := results.get("majority"):  # results of earlier versions have none
        sentences.append(_beside_majority(majority, results))
    for row in results["training"]:
        if row["method"] == "adamw" or row["null_of"]:
            continue
        shown = row["p_value"] < level
        sentence = _compared(
            _sentence(row["title"]), row["accuracy"], "AdamW", baseline["accuracy"], shown, row
        )
        sentence += f" Neighbours kept {row['neighbours_kept']:.2f}, AdamW {baseline['neighbours_kept']:.2f}."
        null = rows.get(f"{row['method']}_permuted")
        if null:
            sentence += (
                f" On the permuted graph it reaches {null['accuracy']:.3f} and keeps {null['neighbours_kept']:.2f}: "
                + _null_judgement(row, null)
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
    baseline = next(row for row in results["training"] if row["method"] == "adamw")
    scaling_name = next(name for name in curves if name.startswith("scaling"))
    # The whole scaling curve runs from the fine-tune (strength 1) to the linear probe (strength 0).
    ends = [baseline, *curves.pop(scaling_name), results["linear_probe"]]
    kept = np.array([row["neighbours_kept"] for row in ends])
    accuracy = np.array([row["accuracy"] for row in ends])
    order = np.argsort(kept)
    sentences = []
    if baseline["neighbours_kept"] >= 0.9995:  # 1.000 in the table
        sentences.append("AdamW kept every neighbour of this text: there is nothing to refine.")
    for name, rows in curves.items():
        points = []
        for row in rows:
            if kept.min() <= row["neighbours_kept"] <= kept.max():
                gain = row["accuracy"] - np.interp(row["neighbours_kept"], kept[order], accuracy[order])
                beside = f"{100 * gain:+.1f}"
            else:
                beside = "no scaling keeps as few"
            points.append(
                f"{row['strength']:g}: {row['accuracy']:.3f} at {row['neighbours_kept']:.2f} kept ({beside})"
            )
        sentences.append(
            f"{_sentence(name)}, by strength (points of accuracy against scaling at equal retention): "
            f"{', '.join(points)}."
        )
    width = 100 * (baseline["accuracy_high"] - baseline["accuracy_low"]) / 2
    sentences.append(
        f"One fine-tune, one seed; an accuracy here is uncertain by about {width:.1f} points, so differences smaller "
        f"than that show nothing."
    )
    return sentences


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


def _null_judgement(row: dict[str, Any], null: dict[str, Any]) -> str:
    if (
        abs(row["neighbours_kept"] - null["neighbours_kept"]) < 0.02
        and abs(row["accuracy"] - null["accuracy"]) < 0.02
    ):
        return "the graph itself contributed nothing that shows here."
    return (
        "graph and null differ by 2 points or more in accuracy or retention; seeds would have to confirm it."
    )
