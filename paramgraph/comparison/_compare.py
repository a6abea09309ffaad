"""Which graph of a model's parameters carries anything? Constructions side by side, each beside its nulls."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paramgraph.cache import GraphCache
from paramgraph.checkpoints import locate, open_checkpoint, open_skeleton
from paramgraph.comparison._batch_split import list_batches, split_batches
from paramgraph.comparison._constructions import buildable_constructions, plan_constructions
from paramgraph.comparison._contents import Contents
from paramgraph.comparison._layer_loop import choose_tables, compare_layers, worth_drawing
from paramgraph.comparison._layer_reading import LayerReader
from paramgraph.comparison._layer_workers import LayerSettings, choose_measurement
from paramgraph.comparison._left_out import coverage_of, left_out, told_coverage
from paramgraph.comparison._options import (
    NULLS,
    Builders,
    MeasurementOptions,
    ModelLike,
    Null,
    Shift,
    Sources,
    SplitBatches,
    TunedLike,
    check_comparison,
    choose_signal,
    read_sources,
)
from paramgraph.comparison._setting import (
    automatic_choices,
    choices_of_cells,
    name_of_model,
    python_line,
)
from paramgraph.comparison._store import ComparisonStore, plain
from paramgraph.comparison._summary import best_drawing, summarize
from paramgraph.comparison.result import Comparison
from paramgraph.display import by_reason, some_names
from paramgraph.environment import hardware, peak_megabytes, versions
from paramgraph.measures import FIFTHS, Bands
from paramgraph.nodes import Targets, coverage, node_tables, unwrap
from paramgraph.sources import Loss


def compare(
    model: ModelLike,
    builders: Builders | None = None,
    sources: Sources = "weights",
    scheme: str = "rows",
    targets: Targets = "all-linear",
    batches: SplitBatches | None = None,
    nulls: Iterable[Null] = NULLS,
    seeds: Iterable[int] = (0,),
    *,
    exclude: Targets | None = None,
    tuned: TunedLike | None = None,
    loss: Loss | None = None,
    signal: str = "auto",
    bands: Bands = FIFTHS,
    share: float = 0.2,
    permutations: int = 399,
    modes: int | None = None,
    shift: Shift = "auto",
    cache: str | Path | GraphCache | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
    name: str | None = None,
    layers: Collection[str] | None = None,
    workers: int | None = None,
    client: Any | None = None,  # Any: distributed's Client, of an optional and untyped library
    memory_budget: int | None = None,
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
    builders : str, callable `Data -> Data`, sequence of these or mapping of names of your own to these, optional
        By default `cosine_knn`, `gaussian_knn`, `correlation`, `gram` and `ring`.
    sources : str, callable, or sequence of these, default "weights"
        As in `collect`; each builder with each source. Pairs that have no meaning are listed in `refused`.
    scheme, targets : str, or str or collection of str
        Which nodes, as in `node_tables`.
    batches : iterable, or mapping of "build" and "measure" to iterables, optional
        At least six. Each seed draws which half builds the graphs and which measures them, unless they are given
        apart. Each half of the building batches builds a graph of its own as well: `edge_stability`. What sources and
        signal do not read, `setting["chosen"]` says.
    nulls : iterable of str, default ("permuted", "rotated", "random")
        Which null models are measured beside each graph.
    seeds : iterable of int, default (0,)
        Each with its own draw of batches, permutations and rewirings.
    exclude : str or collection of str, optional
        As in `node_tables`.
    tuned : nn.Module, mapping, str or path, optional
        The checkpoint after fine-tuning, for "updates"; not opened where nothing reads it.
    loss : callable (model, batch) -> Tensor, optional
        By default `model(**batch).loss`.
    signal : {"auto", "gradients", "updates", "activations", "weights"}, default "auto"
        What is measured on the graphs. "auto": gradients if there are batches, else updates if there is `tuned`,
        else weights. A graph that is built from the very signal is marked as circular and never wins.
    bands : sequence of float, default (0, .2, .4, .6, .8, 1)
        Shares of the modes where bands begin and end.
    share : float, default 0.2
        Share of the modes that compaction counts as low.
    permutations : int, default 399
        Draws for the p-value, whose smallest is 1 / (1 + permutations); 0 for none.
    modes : int, optional
        Eigenpairs of each graph. By default all of graphs of up to 2,048 nodes, and 64 of larger ones, which then
        have two bands: these modes, and the rest.
    shift : {"auto", "laplacian", "adjacency"}, default "auto"
        Whose spectrum: the normalized Laplacian, or the adjacency where weights are signed.
    cache : str, Path or GraphCache, optional
        A folder for graphs and spectra, keyed by content.
    folder : str or Path, optional
        Where finished layers are kept: an interrupted comparison goes on there. Layers in which something failed are
        tried again, and so are those of which anything has changed that decides their numbers: weights, batches, the
        code of your builders, sources and loss with what it reads, or a version. What is no content to be told by, as
        an open file, has all measured again, and `setting["chosen"]` says so.
    progress : bool, default False
        Whether to show a bar with the time left, on stderr.
    name : str, optional
        What to call the model; by default its class, or the name of its folder.
    layers : collection of str, optional
        Names of the tables to measure, of those that scheme and targets give; all by default. The numbers of a layer
        do not depend on which others are measured.
    workers : int, optional
        So many processes of one thread each measure layers, while this one reads them; the result is one such's. By
        default this process measures them, by its own threads. No more are started than have memory. A layer whose
        process dies is tried again, twice at most. Builders must stand in a module that can be imported, and a script
        needs ``if __name__ == "__main__":``.
    client : distributed.Client, optional
        The workers of this Dask cluster measure layers instead. Needs ``pip install 'paramgraph[dask]'``.
    memory_budget : int, optional
        Bytes that all processes of `workers` together may take, by an estimate of the largest layer, and at least room
        for one; by default 80 % of what is free. `setting["chosen"]` says how many processes that made, and which died.

    Returns
    -------
    Comparison
        Its `failures` list what a builder, a source or a layer raised, its `left_out` by name and reason what is in
        no cell at all; the rest is measured. `setting["coverage"]` says how much of the weights are in nodes.

    Raises
    ------
    ValueError
        If an argument is none of those allowed, there are too few batches, `folder` holds another comparison, or
        nothing at all could be measured; then with all reasons.
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
    # NumPy's integers are allowed, but neither generators nor JSON take them.
    drawn, permutations = [int(seed) for seed in drawn], int(permutations)
    modes = None if modes is None else int(modes)
    options = replace(options, permutations=permutations, modes=modes)
    listed, given = list_batches(batches)
    constructions, refused = plan_constructions(builders, sources, scheme)
    needed = {one.features: one.source if one.reads_features else "weights" for one in constructions}
    measured = choose_signal(signal, needed, bool(listed), tuned is not None)
    compares = any(source.needs_tuned for source in read_sources(measured, needed).values())
    where = locate(model)
    skeleton = None if where.in_memory else open_skeleton(where)
    weights = where.weights(skeleton=skeleton)
    reader = LayerReader(
        model=unwrap(model) if skeleton is None else skeleton,
        weights=weights,
        sources=needed,
        signal=measured,
        batches=listed,
        splits={seed: split_batches(len(listed), given, seed) for seed in drawn},
        loss=loss,
        tuned=open_checkpoint(tuned, weights) if tuned is not None and compares else None,
    )
    if reader.runs and not where.in_memory:
        raise ValueError(
            f"the signal {measured!r} from {sorted(needed)} needs the model to run: give the loaded module in place of "
            f"its name {str(model)!r}, or compare 'weights' and 'updates' alone"
        )
    tables = choose_tables(node_tables(reader.model, scheme, targets, exclude), layers)
    covered = coverage_of(coverage(reader.model, targets, exclude), tables)
    measuring = choose_measurement(workers, client, memory_budget, reader, tables, constructions)
    buildable, too_small = buildable_constructions(constructions, tables)
    setting: dict[str, Any] = {
        "model": name or name_of_model(model),
        "scheme": scheme,
        "targets": targets if isinstance(targets, str) else list(targets),
        "signal": measured,
        **{key: value for key, value in asdict(options).items() if key not in ("modes", "shift")},
        "modes": modes,
        "shift": shift,
        "seeds": drawn,
        "batches": {part: len(getattr(reader.splits[drawn[0]], part)) for part in reader.parts}
        if listed
        else {},
    }
    kept = None
    if folder is not None:
        asked = setting | {"constructions": [one.name for one in constructions], "layers": list(tables)}
        kept = ComparisonStore(Path(folder).expanduser(), plain(asked, None)), Contents(reader, constructions)
    cached = cache if cache is None or isinstance(cache, GraphCache) else GraphCache(cache)
    settings = LayerSettings(measured, options, drawn, cached)
    measurements = compare_layers(reader, tables, buildable, settings, measuring, kept, progress=progress)
    zero = [layer["layer"] for layer in measurements if layer["zero"]]
    if any(layer["cells"] and not layer["zero"] for layer in measurements):
        measurements = [layer for layer in measurements if not layer["zero"]]
    cells = [cell for layer in measurements for cell in layer["cells"]]
    failures = [failure for layer in measurements for failure in layer["failures"]]
    unmeasured = left_out(
        covered, tables, constructions, {cell["layer"] for cell in cells}, failures, zero, measured
    )
    if not cells and zero:
        changed = ", nothing was changed" if measured == "updates" else ""
        raise ValueError(f"nothing could be measured: the {measured} of {zero[0]!r} are zero{changed}")
    if not cells:
        raise ValueError(f"nothing could be measured: {_why(unmeasured, tables)}")
    drawn_layers = [layer for layer in measurements if layer["drawings"]]
    drawn_layers.sort(key=lambda layer: worth_drawing(tables[layer["layer"]]))
    described = [one.to_dict() for one in constructions]
    summary = summarize(described, cells)
    setting |= {
        "layers": len(tables),
        "coverage": told_coverage(covered),
        "zero_layers": len(zero),
    }
    setting |= {
        "chosen": [
            *automatic_choices(reader, tuned is not None),
            *choices_of_cells(setting, cells, zero),
            *(kept[1].remarks if kept else ()),
            *measuring.remarks,
        ],
        "command": python_line(setting, builders, sources),
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
        tuple(pair for layer in measurements for pair in layer["agreements"]),
        tuple(summary),
        tuple(failures),
        tuple(refused + too_small),
        best_drawing(drawn_layers[0]["drawings"] if drawn_layers else [], summary),
        tuple(unmeasured),
    )


def _why(unmeasured: Sequence[Mapping[str, str]], tables: Collection[str]) -> str:
    """Say each reason once, with the layers that it is of."""
    reasons = by_reason((one["name"], one["reason"]) for one in unmeasured if one["name"] in tables)
    return "; ".join(f"{reason} ({some_names(names)})" for reason, names in reasons)
