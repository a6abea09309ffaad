"""The scores of a run as tables, for the terminal, the card and the page."""

from collections.abc import Mapping
from typing import Any

from paramgraph.display import TableView

NAMES = {
    "loss": "loss, nats",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "mean_token_accuracy": "token accuracy",
}
# In the order of a reader's questions; the key, and its name.
STATES = (
    ("before", "before training"),
    ("last", "after the last step"),
    ("best", "best state, which is kept"),
    ("test", "test texts"),
)


def score_tables(record: Mapping[str, Any]) -> list[TableView]:
    """Make the table of scores: what looks at no text first, then the states of the run."""
    metrics = record["metrics"]
    rows: list[tuple[str, Mapping[str, Any]]] = [
        (f"always {found['label']!r}" + (" (test texts)" if part == "test" else ""), found)
        for part, found in metrics["baseline"].items()
    ]
    muted = frozenset(range(len(rows)))
    rows += [(name, metrics[key]) for key, name in STATES if metrics.get(key)]
    columns = [name for name in NAMES if any(name in scores for _, scores in rows)]
    header = ("state", *(NAMES[name] for name in columns))
    cells = tuple(
        (name, *(f"{scores[column]:.4g}" if column in scores else "" for column in columns))
        for name, scores in rows
    )
    return [TableView(header, cells, muted=muted)]
