"""The demonstration's page: tables, figures and verdicts in one HTML file."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paramgraph.display import Curve, FigureView, Section, draw_curves, render_page
from spectral_opt.demo.glossary import GLOSSARY
from spectral_opt.demo.tables import demo_tables
from spectral_opt.demo.verdict import (
    cautions,
    conclusion,
    graph_sentences,
    key_figures,
    refinement_sentences,
    training_sentences,
)

# Permuted nodes of the other graphs lie near the same line; one is enough to see it.
NULL_SHOWN = "cosine of gradients"


def demo_page(results: dict[str, Any], drawings: Sequence[FigureView] = ()) -> str:
    """Render results and further drawings as a whole HTML document: the conclusion, three figures, then the rest."""
    graphs, training, refinement = demo_tables(results)
    options = results["options"]
    setting = (
        f"{results['model']} on {results['data']}, {options['per_class']} examples a class, seed {results['seed']}. "
        "A demonstration, not a claim: one seed, small samples."
    )
    if results["shuffled_labels"]:
        setting += " Labels are shuffled: every accuracy should be at chance."
    energy, lift = _band_figures(results)
    front = _front_figure(results, "neighbours_kept", "share of 10 neighbours kept")
    truncated = ", ".join(f"{part} {count}" for part, count in results["truncated_texts"].items())
    sections = [
        Section(
            "What was found",
            paragraphs=(setting,),
            points=cautions(results),
            figures=(energy, _methods_figure(results), front),
        ),
        Section(
            "Which graph of the rows carries the gradient?",
            paragraphs=(
                "Rows of weight matrices are nodes. A graph is useful to a low-pass if the gradient, and its signal "
                "more than its noise, lies in the graph's low frequencies. The gradients measured here built no graph. "
                "For the Gram graph, strong modes are the low frequencies.",
            ),
            points=graph_sentences(results),
            tables=(graphs,),
            figures=(*drawings, lift),
        ),
        Section(
            "Fine-tuning, method by method",
            paragraphs=(
                "Two by two: AdamW, with the penalty, with the filter, and with both, which is the method that the "
                "paper proposes; beside them L2-SP, the penalty without a graph, and each graph with its nodes "
                "permuted. Mean-pooled embeddings, a head started from a linear probe, frozen token embeddings. Every "
                "method had the same learning rates to choose from, a null runs at its method's; strengths were fixed "
                "beforehand. Graphs come from other text, with labels drawn from the probe's own prediction, so no "
                "method saw more annotation than another.",
            ),
            points=training_sentences(results),
            tables=(training,),
            figures=(_loss_figure(results),),
        ),
        Section(
            "Refining a fine-tune that forgot, without training",
            paragraphs=(
                f"AdamW again, longer and faster: {results['long_training_texts']} texts, {options['long_steps']} "
                f"steps at {options['long_rate']:g}. What it forgot is measured on text of another task, "
                f"{options['retention']}; the graphs are built from {_preserved(options)}. The filter takes out of the "
                "change what that text's representations depend on, and gives norms and biases back to the start; "
                "scaling multiplies the whole change of the encoder, norms and biases too. In all rows the head is the "
                "tuned one.",
            ),
            points=refinement_sentences(results),
            tables=(refinement,),
            figures=(_front_figure(results, "cosine", "mean cosine with the pretrained embedding"),),
        ),
        Section("What the words mean", terms=GLOSSARY),
    ]
    footer = (
        ("command", results["command"]),
        ("model", results["origins"]["model"]),
        ("data", results["origins"]["data"]),
        (f"texts cut at {options['max_length']} tokens", truncated),
        ("seconds", ", ".join(f"{part} {seconds:.0f}" for part, seconds in results["seconds"].items())),
        ("hardware", ", ".join(f"{name} {value}" for name, value in results["hardware"].items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in results["versions"].items())),
    )
    lead = conclusion(results).replace(" %", "\N{NO-BREAK SPACE}%")
    facts = [(name, value.replace(" ", "\N{NO-BREAK SPACE}")) for name, value in key_figures(results)]
    return render_page(results["title"], lead, sections, footer, facts=facts, interactive=True)


def _preserved(options: dict[str, Any]) -> str:
    same = options["preserve"] == options["retention"]
    return "other texts of the same source" if same else str(options["preserve"])


def _band_figures(results: dict[str, Any]) -> tuple[FigureView, FigureView]:
    ticks = [(0.0, "low"), (1.0, "2"), (2.0, "3"), (3.0, "4"), (4.0, "high")]
    places = np.arange(len(ticks), dtype=float)
    energy, lift = [], []
    for colour, graph in enumerate(results["graphs"]):
        bands, permuted = graph["bands"], graph["permuted_lift"]
        low, high = (np.array(bands[end], dtype=float) for end in ("lift_low", "lift_high"))
        energy.append(
            Curve(graph["name"], places, np.array(bands["energy_share"], dtype=float), colour=colour)
        )
        # Side by side, so that intervals do not cover each other.
        beside = places + 0.05 * (colour - 2)
        lift.append(Curve(graph["name"], beside, np.array(bands["lift"], dtype=float), low, high, colour))
        if graph["name"] == NULL_SHOWN:
            name = f"{graph['name']}, nodes permuted"
            energy.append(
                Curve(name, places, np.array(graph["permuted_energy"], dtype=float), colour=colour, style=":")
            )
            if permuted:
                mean, low, high = (np.array([permuted[part]]) for part in ("mean", "low", "high"))
                lift.append(Curve(name, np.array([-0.2]), mean, low, high, colour, style="none"))
    return (
        FigureView(
            "Which graph carries the gradient: energy per frequency",
            draw_curves(
                energy,
                "energy",
                x_label="fifth of the spectrum",
                ticks=ticks,
                y_label="share of gradient energy",
                reference=0.2,
            ),
            "The grey line is an even spread. Data: results.json, graphs.bands.energy_share.",
        ),
        FigureView(
            "Signal-to-noise ratio per frequency",
            draw_curves(
                lift,
                "lift",
                x_label="fifth of the spectrum",
                ticks=ticks,
                y_label="lift",
                reference=1.0,
            ),
            "Lift: the ratio of a fifth over that of the whole spectrum. Bars are 95 % jackknife intervals over "
            "batches, of permuted nodes the middle 95 % of all permutations. Data: results.json, graphs.bands.lift.",
        ),
    )


def _methods_figure(results: dict[str, Any]) -> FigureView:
    shown = [row for row in results["training"] if not row["null_of"]]
    rows = [("linear probe (start)", results["linear_probe"]), *((row["title"], row) for row in shown)]
    curves = [
        Curve(
            title,
            np.array([row["neighbours_kept"]]),
            np.array([row["accuracy"]]),
            np.array([row["accuracy_low"]]),
            np.array([row["accuracy_high"]]),
            colour,
            "none",
        )
        for colour, (title, row) in enumerate(rows)
    ]
    return FigureView(
        "Does training gain: accuracy and what is kept",
        draw_curves(curves, "methods", x_label="share of 10 neighbours kept", y_label="test accuracy"),
        "Up and to the right is better; bars are 95 % intervals of each accuracy alone, wider than those of paired "
        "differences. Data: results.json, training.",
    )


def _loss_figure(results: dict[str, Any]) -> FigureView:
    curves = [
        Curve(
            row["title"],
            np.arange(1, len(row["losses"]) + 1, dtype=float),
            _smoothed(row["losses"]),
            colour=colour,
            style=":" if row["null_of"] else "-",
        )
        for colour, row in enumerate(results["training"])
    ]
    return FigureView(
        "Training loss",
        draw_curves(curves, "loss", x_label="step", y_label="cross-entropy, nats"),
        "Mean of 5 steps, at the rate that each method chose on dev. Data: results.json, training.losses.",
    )


def _front_figure(results: dict[str, Any], metric: str, label: str) -> FigureView:
    families: dict[str, list[dict[str, Any]]] = {}
    for row in results["refinement"]:
        families.setdefault(row["family"], []).append(row)
    curves = [
        Curve(
            name,
            np.array([row[metric] for row in rows]),
            np.array([row["accuracy"] for row in rows]),
            colour=colour,
            style="none" if len(rows) == 1 else ":" if rows[0]["is_null"] else "-",
        )
        for colour, (name, rows) in enumerate(families.items())
    ]
    return FigureView(
        f"Refining what forgot: accuracy against {metric.replace('_', ' ')}",
        draw_curves(curves, f"front-{metric.replace('_', '-')}", x_label=label, y_label="test accuracy"),
        "Up and to the right is better; one point a strength. Data: results.json, refinement.",
    )


def _smoothed(losses: Sequence[float], window: int = 5) -> np.ndarray:
    padded = np.concatenate([np.full(window - 1, np.nan), losses])
    smooth: np.ndarray = np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    return smooth
