"""The page of a comparison: verdict, tables, figures with their data, and what every word means."""

from collections.abc import Iterable, Mapping
from typing import Any

from paramgraph.comparison.report._glossary import GLOSSARY
from paramgraph.comparison.report._reasons import coverage_lines, partial_failures
from paramgraph.comparison.report._tables import layer_table, summary_table
from paramgraph.comparison.report._values import Plain, measured
from paramgraph.comparison.report._views import (
    agreement_view,
    band_views,
    heatmap_views,
    subgraph_view,
)
from paramgraph.display import Section, TableView, by_reason, render_page, some_names

# What a reader may miss, and a column that tells whether it was measured.
OPTIONAL = (
    ("signal-to-noise, lift and gain (they need batches)", "snr_low"),
    ("stability over batches (it needs batches and a graph built from them)", "edge_stability"),
    ("stability over seeds", "seed_stability"),
    ("the rotated null", "compaction_rotated"),
    ("the random null", "compaction_random"),
    ("the permuted null", "compaction_permuted"),
)


def comparison_page(result: Plain) -> str:
    """Render `Comparison.to_dict()` as one self-contained HTML page; needs jinja2 and matplotlib.

    It asks for nothing from outside, and is complete without scripts; with them, tables sort and filter and the colours
    can be chosen.
    """
    sections = [
        _constructions(result),
        Section(
            "Layer by layer",
            paragraphs=(
                "Small multiples: one panel for each kind of matrix, its columns the depth in the model.",
            ),
            figures=heatmap_views(result),
        ),
        Section(
            "Over the graph frequency",
            paragraphs=(
                "Modes of a graph are patterns over its nodes, ordered from smooth to rough. Where a graph knows the "
                "signal, much of it is smooth: the curve starts high.",
            ),
            figures=band_views(result),
        ),
        Section(
            "Which graphs are alike",
            figures=[view for view in (agreement_view(result), subgraph_view(result)) if view],
        ),
        Section(
            "Every layer",
            paragraphs=(
                "Find by any part of a name; choose a column's name to sort by it, and again to turn the order.",
            ),
            tables=(layer_table(result),),
        )
        if result["cells"]
        else None,
        _choices(result),
        Section("What the words mean", terms=GLOSSARY),
    ]
    shown = [
        section
        for section in sections
        if section and (section.figures or section.tables or section.points or section.terms)
    ]
    title = result.get("title") or "Graphs compared"
    return render_page(
        title,
        (result.get("verdict") or "").replace(" %", "\N{NO-BREAK SPACE}%"),
        shown,
        _footer(result),
        facts=_facts(result),
        interactive=True,
    )


def _constructions(result: Plain) -> Section:
    missing = [what for what, column in OPTIONAL if not measured(result, column)]
    points = [
        "A measure says nothing without its null: read the paler numbers beside it first.",
    ]
    if any(row.get("circular") for row in result["summary"]):
        points.append(
            "Circular: the graph was built from the very signal that is measured, so it looks good whatever that is."
        )
    if missing:
        points.append(f"Not measured here: {'; '.join(missing)}.")
    return Section(
        "Constructions", points=points, tables=(summary_table(result),) if result["summary"] else ()
    )


def _choices(result: Plain) -> Section:
    setting = result["setting"]
    points = list(setting.get("chosen") or ())
    failures, refused = partial_failures(result), result.get("refused") or ()
    left_out = [(one["name"], one["reason"]) for one in result.get("left_out") or ()]
    points += coverage_lines(result)
    if not failures and not left_out:
        points.append("Nothing failed.")
    if not refused:
        points.append("No combination was refused.")
    failed = [
        {"construction": kind, "layers": len(names), "named": some_names(names), "error": reason}
        for kind in dict.fromkeys(one["construction"] for one in failures)
        for reason, names in by_reason(
            (one["layer"], one["error"]) for one in failures if one["construction"] == kind
        )
    ]
    missing = [
        {"count": len(names), "left out": some_names(names), "reason": reason}
        for reason, names in by_reason(left_out)
    ]
    tables = (
        _plain_table("Left out of all that is above, and why.", ("left out", "count", "reason"), missing),
        _plain_table(
            "Failed: these were left out, the others went on.",
            ("construction", "layers", "named", "error"),
            failed,
        ),
        _plain_table("Refused, and why.", ("builder", "source", "scheme", "reason"), refused),
    )
    return Section("Chosen, failed, refused", points=points, tables=[table for table in tables if table.rows])


def _plain_table(caption: str, fields: tuple[str, ...], rows: Iterable[Plain]) -> TableView:
    cells = tuple(tuple(_text(row.get(field)) for field in fields) for row in rows)
    return TableView(fields, cells, caption, words=frozenset(range(len(fields))), sortable=True)


def _text(value: Any) -> str:
    return "all" if value is None else str(value)


def _facts(result: Plain) -> list[tuple[str, str]]:
    setting = result["setting"]
    batches, seeds = setting.get("batches") or {}, setting.get("seeds") or ()
    parts = [part for part in ("build", "measure") if part in batches]
    facts = [
        ("model", str(setting.get("model", ""))),
        ("signal measured", str(setting.get("signal", ""))),
        ("nodes are", str(setting.get("scheme", ""))),
        ("layers", f"{len({cell['layer'] for cell in result['cells']}):,}"),
        ("left out", f"{len(result.get('left_out') or ()):,}" if result.get("left_out") else ""),
        ("weights in nodes", _share(setting.get("coverage"))),
        ("constructions", f"{len(result['summary']):,}"),
        ("seeds", f"{len(seeds)}" if len(seeds) > 1 else ""),
        (f"batches that {' + '.join(parts)}", " + ".join(str(batches[part]) for part in parts)),
        ("permutations", f"{setting.get('permutations') or ''}"),
    ]
    return [(name, value) for name, value in facts if value]


def _footer(result: Plain) -> list[tuple[str, str]]:
    setting = result["setting"]
    seconds, memory = setting.get("seconds"), setting.get("peak_megabytes")
    footer = [
        ("command", setting.get("command") or ""),
        ("date", setting.get("date") or ""),
        ("seconds", "" if seconds is None else f"{seconds:,.1f}"),
        ("peak memory", "" if memory is None else f"{memory:,.0f} MB"),
        ("hardware", _pairs(setting.get("hardware"))),
        ("versions", _pairs(setting.get("versions"))),
        ("bands", ", ".join(f"{edge:g}" for edge in setting.get("bands") or ())),
        ("nulls", ", ".join(setting.get("nulls") or ())),
        ("seeds", ", ".join(str(seed) for seed in setting.get("seeds") or ())),
    ]
    return [(name, value) for name, value in footer if value]


def _share(covered: Any) -> str:
    # Rounded down: what is left out is never told as all.
    return f"{int(covered['share'] * 1000) / 10:g}%" if covered else ""


def _pairs(mapping: Any) -> str:
    if isinstance(mapping, Mapping):
        return ", ".join(f"{name} {value}" for name, value in mapping.items() if value is not None)
    return "" if mapping is None else str(mapping)
