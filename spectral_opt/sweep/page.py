"""A refinement's page: the answer, the front, the tables."""

from typing import Any

from paramgraph.display import Section, render_page
from spectral_opt.sweep._front import front_figures
from spectral_opt.sweep._sentences import refinement_findings, refinement_remarks
from spectral_opt.sweep._tables import refinement_tables

GRAPHS = {
    "columns": "The columns of each matrix are nodes, joined by the co-activation of their inputs on preserved text.",
    "rows": "The rows of each matrix are nodes, joined by the gradients that preserved text has at their outputs.",
    "product": "The entries of each matrix are nodes of the product of two graphs: of its columns, joined by their "
    "inputs on preserved text, and of its rows, joined by the gradients at their outputs.",
}


def refinement_page(results: dict[str, Any]) -> str:
    """Render the results of a refinement as a whole HTML document."""
    said = refinement_findings(results)
    if not results["finished"]:
        said.insert(0, "Interrupted: the points measured until then.")
    lead, *points = said
    remarks = refinement_remarks(results)
    graph = results.get("options", {}).get("graph", "columns")
    sections = [
        Section("The front", figures=tuple(front_figures(results))),
        Section("What was found", points=points),
        Section(
            "The numbers",
            paragraphs=(
                f"{results['tuned']}, fine-tuned from {results['base']}. One fine-tune, one seed, small samples: "
                f"{results['split']}.",
                f"{GRAPHS[graph]} The filter takes out of the fine-tuning delta what acts on the strong modes of that "
                "graph. Scaling the delta needs no graph, and is what the filter has to beat; its nulls are the same "
                "graph on permuted nodes and on random directions, and have strengths of their own.",
            ),
            tables=tuple(refinement_tables(results)),
        ),
        *([Section("Remarks", points=remarks)] if remarks else []),
    ]
    footer = (
        ("command", results["command"]),
        ("preserved text", results["origins"]["preserve"]),
        *((("task", results["origins"]["task"]),) if results["origins"]["task"] else ()),
        ("seconds", ", ".join(f"{part} {seconds:.0f}" for part, seconds in results["seconds"].items())),
        ("hardware", ", ".join(f"{name} {value}" for name, value in results["hardware"].items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in results["versions"].items())),
    )
    return render_page(results["title"], lead, sections, footer, interactive=True)
