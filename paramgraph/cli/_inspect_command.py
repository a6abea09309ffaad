"""`paramgraph inspect`: what a model is made of, and what graphs of it would cost, without loading it."""

import json
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from paramgraph.cli._words import EXCLUDE, TARGETS, read_excluded, read_targets
from paramgraph.cli.commands import PLACE, Json, Quiet, Traceback, argument, option

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Say what a model is made of, and what graphs of it would cost, without loading it.

    Reads the description and the headers of the files, and no weight.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "paramgraph inspect sentence-transformers/all-MiniLM-L6-v2",
        "paramgraph inspect ./my-model --targets query value",
    )

    model: Annotated[str, argument("MODEL", PLACE)]
    targets: Annotated[list[str] | None, option(TARGETS, metavar="NAME...")] = None
    exclude: Annotated[list[str] | None, option(EXCLUDE, metavar="NAME...")] = None
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Print facts and a table of schemes."""
        from transformers.utils import logging as transformers_logging

        from paramgraph.cli._inspection import inspect_model

        # Token numbers beyond the vocabulary and the like are of no matter where nothing runs.
        transformers_logging.set_verbosity_error()
        found = inspect_model(self.model, read_targets(self.targets), read_excluded(self.exclude))
        if self.json:
            print(json.dumps(found, allow_nan=False))
            return 0
        from paramgraph.display import TableView, print_lines, print_views

        for fact, value in _facts(found):
            print_lines(f"{fact:<14}{value}")
        header = (
            "scheme",
            "graphs",
            "nodes in all",
            "nodes of a graph",
            "entries of a node",
            "memory of the largest",
        )
        rows = tuple(
            _scheme_row(name, scheme) for name, scheme in found["schemes"].items() if not scheme["refused"]
        )
        title = "How its matrices can be cut into nodes; memory: all modes of the largest graph"
        print_views([TableView(header, rows, title)])
        for name, scheme in found["schemes"].items():
            if said := scheme["refused"] or scheme["left_out"]:
                print_lines("", f"{name}: {said}")
        print_lines("", f"Next: paramgraph compare {shlex.quote(self.model)} --out results")
        return 0


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    from paramgraph.checkpoints import told  # slow to import, and the command's help needs none of it

    share = found["covered"] / found["parameters"]
    facts = [
        ("model", found["model"]),
        ("architecture", f"{found['architecture']} ({found['model_type']})"),
        ("parameters", f"{found['parameters']:,}"),
        (
            "targeted",
            f"{found['layers']} matrices, {found['covered']:,} entries ({share:.0%} of the parameters)",
        ),
    ]
    facts.append(("in nodes", found["coverage"]["told"]))
    facts += [("experts", text) for text in _experts(found["experts"])]
    facts += [("left out", reason) for reason in found["coverage"]["reasons"]]
    if found["coverage"]["warning"]:
        facts.append(
            ("warning", "less than nine tenths of the weights are in nodes: graphs say nothing of the rest")
        )
    stored = found["stored"]
    if stored is None:
        facts.append(("weights", f"not looked at: {found['not_stored']}"))
    else:
        shares = {name: count / max(1, stored["entries"]) for name, count in stored["dtypes"].items()}
        types = ", ".join(
            name if share > 0.995 else f"{f'{share:.1%}' if share >= 0.001 else '<0.1%'} {name}"
            for name, share in shares.items()
        )
        files = "1 file" if stored["files"] == 1 else f"{stored['files']} files"
        facts.append(
            ("weights", f"{size_text(stored['size'])} in {files}, {stored['tensors']} tensors of {types}")
        )
        if stored["quantized"]:
            facts.append(("quantized", f"{stored['quantized']}: graphs of its weights need them dequantized"))
        if stored["lacking"]:
            facts.append(("not in files", f"{told(stored['lacking'])}; drawn at random when it is loaded"))
        if stored["unread"]:
            facts.append(("not read", f"{told(stored['unread'])}; in the files, and not in the model"))
    tied = [" = ".join(names) for names in found["tied"]]
    more = f", and {len(tied) - 3} more" if len(tied) > 3 else ""
    facts.append(("tied", "; ".join(tied[:3]) + more if tied else "none"))
    return facts


def _experts(stacks: list[dict[str, Any]]) -> list[str]:
    """Say what stacks there are, those of one role and shape together."""
    together = Counter((stack["role"], stack["experts"], *stack["shape"]) for stack in stacks)
    return [
        f"{role}: {experts} experts of {rows:,} x {columns:,}" + (f", in {count} layers" if count > 1 else "")
        for (role, experts, rows, columns), count in together.items()
    ]


def _scheme_row(name: str, scheme: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{scheme['tables']:,}",
        f"{scheme['nodes']:,}",
        _range(scheme["smallest"], scheme["largest"]),
        _range(scheme["narrowest"], scheme["widest"]),
        size_text(scheme["bytes"]),
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def size_text(size: int) -> str:
    """Write a number of bytes in the largest unit (powers of 1,000) of which there is at least one.

    >>> size_text(87_000_000), size_text(1_250), size_text(3)
    ('87 MB', '1.2 kB', '3 B')
    """
    shown = float(size)
    for unit in UNITS[:-1]:
        if shown < 1000:
            return f"{shown:.1f} {unit}" if shown < 10 and unit != "B" else f"{shown:.0f} {unit}"
        shown /= 1000
    return f"{shown:,.1f} {UNITS[-1]}"
