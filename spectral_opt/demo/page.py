"""The demonstration's page: tables, figures and verdicts in one HTML file."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paramgraph.display import Curve, FigureView, Section, draw_curves, render_page
from spectral_opt.demo.tables import demo_tables
from spectral_opt.demo.verdict import graph_sentences, refinement_sentences, training_sentences

# All nulls lie on the grey line; one is enough to see it.
NULL_SHOWN = "cosine of gradients"


def demo_page(results: dict[str, Any], drawings: Sequence[FigureView] = ()) -> str:
    """Render results and further drawings as a whole HTML document."""
    graphs, training, refinement = demo_tables(results)
    options = results["options"]
    lead = (
        f"{results['model']} on {results['data']}, {options['per_class']} examples a class, seed {results['seed']}. "
        "A demonstration, not a claim: one seed, small samples."
    )
    if results["shuffled_labels"]:
        lead += " Labels are shuffled: every accuracy should be at chance."
    truncated = ", ".join(f"{part} {count}" for part, count in results["truncated_texts"].items())
    sections = [
        Section(
            "Which graph of the rows carries the gradient?",
            paragraphs=(
                "Rows of weight matrices are nodes. A graph is useful to a low-pass if the gradient's signal, not its "
                "noise, lies in the graph's low frequencies. The gradients measured here built no graph. For the Gram "
                "graph, strong modes are the low frequencies.",
            ),
            points=graph_sentences(results),
            tables=(graphs,),
            figures=(*drawings, *_band_figures(results)),
        ),
        Section(
            "Fine-tuning, method by method",
            paragraphs=(
                "Mean-pooled embeddings, a head started from a linear probe, frozen token embeddings. Every method "
                "had the same learning rates to choose from, a null runs at its method's; strengths were fixed "
                "beforehand. Graphs come from other text, with labels drawn from the probe's own prediction, so no "
                "method saw more annotation than another.",
            ),
            points=training_sentences(results),
            tables=(training,),
            figures=(_loss_figure(results),),
        ),
        Section(
            "Refining the finished fine-tune, without training",
            paragraphs=(
                "The columns of each matrix are nodes, joined by the co-activation of their inputs on "
                f"{options['preserve']} text. The filter takes out of the fine-tuning delta what acts on the strong "
                f"modes of that graph. Retention is measured on a third text, {options['retention']}.",
            ),
            points=refinement_sentences(results),
            tables=(refinement,),
            figures=(
                _front_figure(results, "neighbours_kept", "share of 10 neighbours kept"),
                _front_figure(results, "cosine", "mean cosine with the pretrained embedding"),
            ),
        ),
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
    return render_page(results["title"], lead, sections, footer)


def _band_figures(results: dict[str, Any]) -> list[FigureView]:
    ticks = [(0.0, "low"), (1.0, "2"), (2.0, "3"), (3.0, "4"), (4.0, "high")]
    places = np.arange(len(ticks), dtype=float)
    energy, lift = [], []
    for colour, graph in enumerate(results["graphs"]):
        bands = graph["bands"]
        low, high = (np.array(bands[end], dtype=float) for end in ("lift_low", "lift_high"))
        energy.append(
            Curve(graph["name"], places, np.array(bands["energy_share"], dtype=float), colour=colour)
        )
        # Side by side, so that intervals do not cover each other.
        beside = places + 0.05 * (colour - 2)
        lift.append(Curve(graph["name"], beside, np.array(bands["lift"], dtype=float), low, high, colour))
        if graph["name"] == NULL_SHOWN:
            null, name = graph["null_bands"], f"null of {graph['name']}"
            energy.append(Curve(name, places, np.array(null["energy_share"]), colour=colour, style=":"))
            lift.append(Curve(name, places, np.array(null["lift"], dtype=float), colour=colour, style=":"))
    return [
        FigureView(
            "Energy per frequency",
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
            "batches; the grey line is a graph that knows nothing. Data: results.json, graphs.bands.lift.",
        ),
    ]


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
    baseline = next(row for row in results["training"] if row["method"] == "adamw")
    curves = [
        Curve(
            name,
            np.array([row[metric] for row in rows]),
            np.array([row["accuracy"] for row in rows]),
            colour=colour,
            style=":" if rows[0]["is_null"] else "-",
        )
        for colour, (name, rows) in enumerate(families.items())
    ]
    ends = (("AdamW", baseline, 4), ("linear probe", results["linear_probe"], 6))
    curves += [
        Curve(name, np.array([row[metric]]), np.array([row["accuracy"]]), colour=colour, style="none")
        for name, row, colour in ends
    ]
    return FigureView(
        f"Accuracy against retention: {metric.replace('_', ' ')}",
        draw_curves(curves, f"front-{metric.replace('_', '-')}", x_label=label, y_label="test accuracy"),
        "Up and to the right is better; one point a strength. Data: results.json, refinement.",
    )


def _smoothed(losses: Sequence[float], window: int = 5) -> np.ndarray:
    padded = np.concatenate([np.full(window - 1, np.nan), losses])
    smooth: np.ndarray = np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    return smooth
