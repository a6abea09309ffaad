"""Which graph of a model's parameters carries anything? Constructions side by side, each beside its nulls."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from paramgraph.batch_split import list_batches, split_batches
from paramgraph.cache import GraphCache, tensor_digest
from paramgraph.checkpoints import open_checkpoint
from paramgraph.comparison_options import check_comparison, choose_signal
from paramgraph.comparison_result import Comparison
from paramgraph.comparison_store import ComparisonStore
from paramgraph.comparison_summary import summarize
from paramgraph.construct import source_name
from paramgraph.construction_measurement import COMPLETE_UP_TO, MODES_BEYOND, MeasurementOptions
from paramgraph.constructions import Construction, plan_constructions
from paramgraph.environment import hardware, peak_megabytes, versions
from paramgraph.layer_comparison import compare_layer, source_key
from paramgraph.layer_reading import LayerReader
from paramgraph.measures import FIFTHS
from paramgraph.model_skeleton import open_skeleton
from paramgraph.nodes import NodeTable
from paramgraph.plain_values import plain
from paramgraph.registry import check_inner_nodes
from paramgraph.schemes import node_tables
from paramgraph.targets import Targets, unwrap

# Gradients and features of layers that share passes over the batches; a layer that needs more goes alone.
READ_TOGETHER = 1_500_000_000


def compare(
    model: Any,
    builders: Sequence[Any] | Mapping[str, Any] | None = None,
    sources: Any = "weights",
    scheme: str = "rows",
    targets: Targets = "all-linear",
    batches: Any = None,
    nulls: Iterable[str] = ("permuted", "rotated", "random"),
    seeds: Iterable[int] = (0,),
    *,
    exclude: Targets | None = None,
    tuned: Any = None,
    loss: Callable[..., Any] | None = None,
    signal: str = "auto",
    bands: Sequence[float] = FIFTHS,
    share: float = 0.2,
    permutations: int = 199,
    modes: int | None = None,
    shift: str = "auto",
    cache: str | Path | GraphCache | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
    name: str | None = None,
) -> Comparison:
    r"""Compare constructions of graphs by what they gather of a signal, beside null models.

    For each layer (table of nodes), builder and source: the graph, its spectrum, and where the energy of the signal X
    lies in it. The measure that is tested is the compaction

    .. math:: T = \frac{\|U_{low}^T X\|^2}{\|X\|^2},

    with the lowest `share` of the modes. Under "permuted" (nodes change places) mean and deviation are exact, and the
    p-value is that of random permutations; under "rotated" (the same eigenvalues, a random basis) both are exact;
    "random" is one rewired graph of the same degrees. Where the signal is a gradient, batches that built no graph tell
    its signal from its noise by band (`signal_to_noise`), and what a filter could gain (`effective_batch_gain`).

    Parameters
    ----------
    model : nn.Module, str or path
        A module; or the folder or hub name of a checkpoint, read matrix by matrix without the model in memory, which
        will do for sources and signals that need no run: "weights" and "updates".
    builders : sequence or mapping of builders, optional
        Names, callables `Data -> Data`, or a mapping of names of your own to these; by default `cosine_knn`,
        `gaussian_knn`, `correlation`, `gram` and `ring`.
    sources : str, callable, or sequence of these, default "weights"
        As in `collect`; each builder with each source. Pairs that have no meaning are listed in `refused`.
    scheme, targets, exclude : object
        Which nodes, as in `node_tables`.
    batches : sequence, or mapping with the keys "build" and "measure", optional
        At least six. Each seed draws which half builds the graphs and which measures them, unless they are given
        apart. Each half of the building batches builds a graph of its own as well: `edge_stability`.
    nulls : iterable of str, default ("permuted", "rotated", "random")
        Which null models are measured beside each graph.
    seeds : iterable of int, default (0,)
        Each with its own draw of batches, permutations and rewirings.
    tuned : nn.Module, mapping, str or path, optional
        The checkpoint after fine-tuning, for "updates".
    loss : callable (model, batch) -> Tensor, optional
        By default `model(**batch).loss`.
    signal : {"auto", "gradients", "updates", "activations", "weights"}, default "auto"
        What is measured on the graphs. "auto": gradients if there are batches, else updates if there is `tuned`,
        else weights. A graph that is built from the very signal is marked as circular and never wins.
    bands : sequence of float, default (0, .2, .4, .6, .8, 1)
        Shares of the modes where bands begin and end.
    share : float, default 0.2
        Share of the modes that compaction counts as low.
    permutations : int, default 199
        Draws for the p-value, whose smallest is 1 / (1 + permutations); 0 for none.
    modes : int, optional
        Eigenpairs of each graph. By default all of graphs of up to 2,048 nodes, and 64 of larger ones, which then
        have two bands: these modes, and the rest.
    shift : {"auto", "laplacian", "adjacency"}, default "auto"
        Whose spectrum: the normalized Laplacian, or the adjacency where weights are signed.
    cache : str, Path or GraphCache, optional
        A folder for graphs and spectra, keyed by content.
    folder : str or Path, optional
        Where finished layers are kept: an interrupted comparison goes on there, and layers in which something failed
        are tried again.
    progress : bool, default False
        Whether to show a bar with the time left, on stderr.
    name : str, optional
        What to call the model; by default its class, or the name of its folder.

    Returns
    -------
    Comparison
        Tables, figures, JSON and a page. What a builder, a source or a layer raises is listed in `failures`; the rest
        is measured.

    Raises
    ------
    ValueError
        If an argument is none of those allowed, there are too few batches, `folder` holds another comparison, or
        nothing at all could be measured.
    UnknownNameError
        If there is no builder, source or scheme of a name.
    TypeError
        If an argument is of another type.

    Notes
    -----
    Time for each layer and construction: O(nodes^3) for all modes, O(nodes^2 x width) for each batch and
    O(nodes x low modes x width) for each permutation. Memory: for checkpoints one matrix and its graph; with batches
    up to 1.5 GB of gradients and features of the layers that are read together, or those of one layer.

    References
    ----------
    .. [1] D. I. Shuman et al., "The emerging field of signal processing on graphs", IEEE Signal Processing
       Magazine 30(3), 2013.

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 24), torch.nn.Tanh(), torch.nn.Linear(24, 2))
    >>> inputs = torch.randn(12, 16, 8, generator=generator)
    >>> batches = [(x, (x[:, 0] > 0).long()) for x in inputs]
    >>> def loss(model, batch):
    ...     return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
    >>> found = compare(model, ["cosine_knn", "ring"], ["batch_gradients"], targets=["0"], batches=batches, loss=loss)
    >>> found.frame[["construction", "nodes"]].values.tolist()
    [['cosine_knn of batch_gradients', 24], ['ring', 24]]
    """
    started = time.perf_counter()
    options = MeasurementOptions(
        tuple(float(edge) for edge in bands), share, tuple(nulls), permutations, modes, shift
    )
    drawn = list(seeds)
    check_comparison(options, drawn)
    listed, given = list_batches(batches)
    constructions, refused = plan_constructions(builders, sources, scheme)
    needed = {source_key(one): one.source if one.reads_features else "weights" for one in constructions}
    measured = choose_signal(signal, needed, bool(listed), tuned is not None)
    reader = LayerReader(
        model=_skeleton(model) if isinstance(model, str | os.PathLike) else unwrap(model),
        weights=open_checkpoint(model),
        sources=needed,
        signal=measured,
        batches=listed,
        splits={seed: split_batches(len(listed), given, seed) for seed in drawn},
        loss=loss,
        tuned=tuned,
    )
    if reader.runs and isinstance(model, str | os.PathLike):
        raise ValueError(
            f"the signal {measured!r} from {sorted(needed)} needs the model to run: give the loaded module in place of "
            f"its name {str(model)!r}, or compare 'weights' and 'updates' alone"
        )
    tables = node_tables(reader.model, scheme, targets, exclude)
    buildable, too_small = _buildable(constructions, tables)
    setting: dict[str, Any] = {
        "model": name or _name_of(model),
        "scheme": scheme,
        "targets": targets if isinstance(targets, str) else list(targets),
        "signal": measured,
        **{key: value for key, value in asdict(options).items() if key not in ("modes", "shift")},
        "modes": modes,
        "shift": shift,
        "seeds": drawn,
        "batches": {part: len(getattr(reader.splits[drawn[0]], part)) for part in ("build", "measure")}
        if listed
        else {},
    }
    identity = setting | {
        "constructions": [one.to_dict() for one in constructions],
        "layers": list(tables),
        "batches_digest": _digest_of_batches(listed),
        "loss": source_name(loss) if loss is not None else "",
        "tuned": source_name(tuned) if isinstance(tuned, str) else type(tuned).__name__,
    }
    store = ComparisonStore(Path(folder), plain(identity, None)) if folder is not None else None
    kept = cache if cache is None or isinstance(cache, GraphCache) else GraphCache(cache)
    drawing_layer = min(tables, key=lambda group: tables[group].shape[0])
    layers = _compare_layers(
        reader, tables, buildable, options, drawn, kept, store, drawing_layer, progress=progress
    )
    cells = [cell for layer in layers for cell in layer["cells"]]
    failures = [failure for layer in layers for failure in layer["failures"]]
    if not cells:
        first = failures[0]["error"] if failures else too_small[0]["reason"]
        raise ValueError(f"nothing could be measured: {first}")
    described = [one.to_dict() for one in constructions]
    summary = summarize(described, cells)
    setting |= {
        "chosen": _chosen(options, cells, reader, len(tables)),
        "command": _python_line(setting, builders, sources),
        "versions": versions(),
        "hardware": hardware(),
        "seconds": time.perf_counter() - started,
        "peak_megabytes": peak_megabytes(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return Comparison(
        plain(setting),
        tuple(described),
        tuple(cells),
        tuple(pair for layer in layers for pair in layer["agreements"]),
        tuple(summary),
        tuple(failures),
        tuple(refused + too_small),
        _best_drawing([drawing for layer in layers for drawing in layer["drawings"]], summary),
    )


def _compare_layers(
    reader: LayerReader,
    tables: Mapping[str, NodeTable],
    buildable: Mapping[str, Sequence[Construction]],
    options: MeasurementOptions,
    seeds: Sequence[int],
    cache: GraphCache | None,
    store: ComparisonStore | None,
    drawing_layer: str,
    *,
    progress: bool,
) -> list[dict[str, Any]]:
    """Measure the layers that are not finished, and return all of them in the model's order."""
    finished = _finished(reader, tables, store)
    todo = {group: table for group, table in tables.items() if group not in finished and buildable[group]}
    shape = "{percentage:3.0f}% {bar:24} {elapsed} gone, {remaining} left  {desc}"
    total = sum(len(buildable[group]) for group in todo) * len(seeds)
    with tqdm(total=total, bar_format=shape, mininterval=0.5, disable=not progress) as bar:

        def advance(what: str) -> None:
            bar.set_description_str(what, refresh=False)
            bar.update()

        for part in _chunks(todo, reader):
            bar.set_description_str(f"reading {len(part)} layers" if reader.runs else "reading")
            for reading in reader.read(part):
                group = reading.table.group
                layer = compare_layer(
                    reading,
                    buildable[group],
                    reader.signal,
                    options,
                    seeds,
                    cache,
                    draw=group == drawing_layer,
                    on_cell=advance,
                )
                layer["weights"] = _digest_of_weights(reader, reading.table)
                finished[group] = layer
                if store is not None:
                    store.append(layer)
    return [finished[group] for group in tables if group in finished]


def _finished(
    reader: LayerReader, tables: Mapping[str, NodeTable], store: ComparisonStore | None
) -> dict[str, dict[str, Any]]:
    """Take the layers that are on disk, whose weights are still the same, and in which nothing failed."""
    known = store.finished if store is not None else {}
    return {
        group: layer
        for group, layer in known.items()
        if group in tables
        and not layer["failures"]
        and layer["weights"] == _digest_of_weights(reader, tables[group])
    }


def _digest_of_weights(reader: LayerReader, table: NodeTable) -> str:
    try:
        weights = [reader.weights[name] for name in table.parameters]
    except (KeyError, ValueError, OSError):  # a layer that is not there; its failure says so
        return ""
    return tensor_digest(*weights)


def _chunks(tables: Mapping[str, NodeTable], reader: LayerReader) -> Iterator[dict[str, NodeTable]]:
    """Put layers together that share passes over the batches, as many as fit the memory that is allowed."""
    part: dict[str, NodeTable] = {}
    held = 0
    for group, table in tables.items():
        size = reader.bytes_of(table)
        if part and (held + size > READ_TOGETHER or not reader.runs):
            yield part
            part, held = {}, 0
        part[group] = table
        held += size
    if part:
        yield part


def _buildable(
    constructions: Sequence[Construction], tables: Mapping[str, NodeTable]
) -> tuple[dict[str, list[Construction]], list[dict[str, str]]]:
    """Ask builders, where they can tell, which layers have too few or too many nodes for them."""
    kept: dict[str, list[Construction]] = {group: [] for group in tables}
    refusals: dict[tuple[str, str], list[str]] = {}
    for group, table in tables.items():
        for construction in constructions:
            try:
                check_inner_nodes(construction.builder, table.shape[0])
            except ValueError as error:
                refusals.setdefault((construction.name, str(error)), []).append(group)
            else:
                kept[group].append(construction)
    listed = []
    for (name, reason), groups in refusals.items():
        construction = next(one for one in constructions if one.name == name)
        scheme = next(iter(tables.values())).scheme
        where = groups[0] if len(groups) == 1 else f"{len(groups)} layers, the first {groups[0]}"
        listed.append(
            {
                "builder": construction.builder_name,
                "source": construction.source_name,
                "scheme": scheme,
                "reason": f"{reason} ({where})",
            }
        )
    return kept, listed


def _skeleton(model: str | os.PathLike[str]) -> nn.Module:
    return open_skeleton(Path(model) if isinstance(model, os.PathLike) else model)


def _name_of(model: Any) -> str:
    # Never a path of this machine: results are shared.
    return Path(model).name if isinstance(model, str | os.PathLike) else type(unwrap(model)).__name__


def _digest_of_batches(value: Any) -> str:
    """Hash the tensors in batches of any nesting."""
    tensors: list[Tensor] = []

    def take(part: Any) -> None:
        if isinstance(part, Tensor):
            tensors.append(part)
        elif isinstance(part, Mapping):
            for key in sorted(part):
                take(part[key])
        elif isinstance(part, list | tuple):
            for one in part:
                take(one)

    take(value)
    return tensor_digest(*tensors)


def _chosen(
    options: MeasurementOptions, cells: Sequence[Mapping[str, Any]], reader: LayerReader, layers: int
) -> list[str]:
    """Say what was chosen automatically."""
    said = []
    shifts = {
        shift: sorted({c["construction"] for c in cells if c["shift"] == shift})
        for shift in ("laplacian", "adjacency")
    }
    if options.shift == "auto" and shifts["adjacency"]:
        said.append(
            f"Signed graphs are measured by their adjacency, strong modes first: {', '.join(shifts['adjacency'])}."
        )
    partial = [cell for cell in cells if cell["modes"] < cell["nodes"]]
    if partial and options.modes is None:
        said.append(
            f"Of graphs of more than {COMPLETE_UP_TO:,} nodes the {MODES_BEYOND} lowest modes were computed "
            f"({len(partial)} of {len(cells)} cells): they are the low band, the rest is the high one."
        )
    if reader.splits and reader.batches:
        split = next(iter(reader.splits.values()))
        said.append(
            f"{len(split.build)} batches build graphs and {len(split.measure)} others measure them, drawn for each "
            "seed; edge stability compares graphs of the two halves of the building batches."
        )
    solvers = sorted({cell["solver"] for cell in cells})
    said.append(f"Eigensolvers: {', '.join(solvers)}, chosen by size and connectivity; {layers} layers.")
    return said


def _python_line(setting: Mapping[str, Any], builders: Any, sources: Any) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, str) or value is None:
            return repr(value)
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{name!r}: {shown(one)}" for name, one in value.items()) + "}"
        if isinstance(value, Iterable):
            return "[" + ", ".join(shown(one) for one in value) + "]"
        return getattr(value, "__qualname__", None) or repr(value)

    batches = ", batches=batches" if setting["batches"] else ""
    return (
        f"paramgraph.compare({setting['model']!r}, {shown(builders)}, {shown(sources)}, {setting['scheme']!r}, "
        f"{shown(setting['targets'])}{batches}, seeds={setting['seeds']}, signal={setting['signal']!r})"
    )


def _best_drawing(
    drawings: Sequence[dict[str, Any]], summary: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Draw the most compact construction that is no null and has a drawing."""
    judged = [row for row in summary if not row["null"]] or list(summary)
    order = [row["construction"] for row in sorted(judged, key=lambda row: -(row["compaction"] or 0.0))]
    known = {drawing["construction"]: drawing for drawing in drawings}
    return next((known[one] for one in order if one in known), None)
