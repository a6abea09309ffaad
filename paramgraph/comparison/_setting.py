"""What the record of a comparison says of itself: names, contents, what was chosen automatically, and where it ran."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paramgraph.checkpoints import AdaptedWeights, correspond, locate, told
from paramgraph.comparison._layer_reading import LayerReader
from paramgraph.comparison._options import (
    COMPLETE_UP_TO,
    MODES_BEYOND,
    Builders,
    ModelLike,
    Sources,
)
from paramgraph.digests import readable
from paramgraph.display import some_names
from paramgraph.sources import SOURCES


def name_of_model(model: ModelLike) -> str:
    """Name a model for tables: its class, or the name of its folder."""
    # Never a path of this machine: results are shared.
    return locate(model).name


def automatic_choices(reader: LayerReader, has_tuned: bool) -> list[str]:
    """Say in sentences what was chosen for all layers: which batches do what, and how two checkpoints correspond."""
    said = []
    if reader.splits and reader.batches:
        said.append(_told_batches(reader))
    if has_tuned and reader.tuned is None:
        said.append("The tuned model is not read by these sources and this signal.")
    elif isinstance(reader.tuned, AdaptedWeights):
        said += [f"Base and tuned: {remark}." for remark in reader.tuned.remarks]
    elif reader.tuned is not None:
        found = correspond(reader.weights, reader.tuned)
        said += [f"Base and tuned: {remark}." for remark in found.remarks]
        alone = {"the base": found.base_only, "tuned": found.tuned_only}
        said += [f"In {side} alone: {told(names)}." for side, names in alone.items() if names]
    return said


def _told_batches(reader: LayerReader) -> str:
    """Say how many batches build and measure graphs, and which have no use."""
    split = next(iter(reader.splits.values()))
    build, measure = len(split.build), len(split.measure)
    if not reader.parts:
        return "The batches are not read by these sources and this signal."
    if reader.parts == ("measure",):
        return f"{measure} batches measure graphs. The other {build} have no use, as no graph is built from batches."
    others = f" and {measure} others measure them" if "measure" in reader.parts else ""
    unused = "" if others else f" The other {measure} have no use, as the {reader.signal} depend on no batch."
    return (
        f"{build} batches build graphs{others}; halves and order are drawn for each seed. Edge stability compares "
        f"graphs of the two halves of the building batches.{unused}"
    )


def choices_of_cells(
    setting: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], zero: Sequence[str]
) -> list[str]:
    """Say in sentences what was chosen layer by layer; `zero` names those of which the signal is zero."""
    said = []
    shifts = {
        shift: sorted({c["construction"] for c in cells if c["shift"] == shift})
        for shift in ("laplacian", "adjacency")
    }
    if setting["shift"] == "auto" and shifts["adjacency"]:
        said.append(
            f"Signed graphs are measured by their adjacency, strong modes first: {', '.join(shifts['adjacency'])}."
        )
    partial = [cell for cell in cells if cell["modes"] < cell["nodes"]]
    if partial and setting["modes"] is None:
        said.append(
            f"Of graphs of more than {COMPLETE_UP_TO:,} nodes the {MODES_BEYOND} lowest modes were computed "
            f"({len(partial)} of {len(cells)} cells): they are the low band, the rest is the high one."
        )
    if len({cell["modes"] == cell["nodes"] for cell in cells}) > 1:
        said.append(
            "Layers differ in their bands: the summary's energy by band is that of the more common kind, and lift and "
            "gain are not pooled; each layer has its own."
        )
    unstable = {cell["layer"] for cell in cells if "weight_stability" not in cell and _halved(setting, cell)}
    if unstable:
        said.append(
            f"Edge stability is not measured where half of the batches gives no features: "
            f"{some_names(sorted(unstable))}."
        )
    layers = setting["layers"]
    if zero:
        kept = any(cell["layer"] in zero for cell in cells)
        out = "" if kept else ", which are left out"
        said.append(
            f"The {setting['signal']} are zero in {len(zero)} of {layers} layers{out}: {some_names(zero)}."
        )
    solvers = sorted({cell["solver"] for cell in cells})
    said.append(f"Eigensolvers: {', '.join(solvers)}, chosen by size and connectivity; {layers} layers.")
    return said


def _halved(setting: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Say whether the graph of a cell was built from batches, so that halves of them build graphs as well."""
    source = SOURCES.get(cell["source"])
    return bool(setting["batches"]) and source is not None and source.needs_batches


def python_line(setting: Mapping[str, Any], builders: Builders | None, sources: Sources) -> str:
    """Write the call that makes a comparison, as far as values have names."""

    def shown(value: object) -> str:
        if isinstance(value, str) or value is None:
            return repr(value)
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{name!r}: {shown(one)}" for name, one in value.items()) + "}"
        if isinstance(value, Iterable):
            return "[" + ", ".join(shown(one) for one in value) + "]"
        return readable(value)

    batches = ", batches=batches" if setting["batches"] else ""
    return (
        f"paramgraph.compare({setting['model']!r}, {shown(builders)}, {shown(sources)}, {setting['scheme']!r}, "
        f"{shown(setting['targets'])}{batches}, seeds={setting['seeds']}, signal={setting['signal']!r})"
    )
