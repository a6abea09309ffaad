"""Calibration batches: in one form, and which of them the graphs of a config need."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.graphs import as_builder
from paramgraph.measures import MOMENTS
from paramgraph.sources import Batches, Loss, RandomStates, SourceLike, as_source, usual_objective
from spectral_opt.config import SpectralConfig, refresh_schedule

# As users give them: the set "task", or sets by name.
CalibrationBatches = Batches | Mapping[str, Batches] | None
# One for all sets, or by the name of the set; where there is none, the model's own.
CalibrationLoss = Loss | Mapping[str, Loss] | None


def calibration_sets(
    batches: CalibrationBatches, allowed: Sequence[str] = ("task", "preserve")
) -> dict[str, Batches]:
    """Bring calibration batches into one form: sets by name, of those allowed, each readable more than once.

    An iterable is the set "task"; a one-shot iterator becomes a list. Global random states are left as they were. A
    ValueError for other keys, a TypeError for what is no iterable of batches, such as one batch.

    Examples
    --------
    >>> calibration_sets(iter([1, 2]))
    {'task': [1, 2]}
    """
    sets = batches if isinstance(batches, Mapping) else {} if batches is None else {"task": batches}
    unknown = sorted(set(map(str, sets)).difference(allowed))
    if unknown:
        raise ValueError(
            f"batches is a mapping with the keys {unknown}; allowed: {' and '.join(map(repr, allowed))}, each a "
            "list of batches; one batch goes into a list, batches=[batch]"
        )
    for name, found in sets.items():
        readable = hasattr(found, "__iter__") or hasattr(found, "__getitem__")
        if found is not None and (not readable or isinstance(found, str | Mapping | Tensor)):
            raise TypeError(
                f"the calibration batches {name!r} are one {type(found).__name__}; give an iterable of batches, "
                "[batch] for a single one"
            )
    return {
        name: listed(found) if isinstance(found, Iterator) else found
        for name, found in sets.items()
        if found is not None
    }


def listed(batches: Batches) -> list[Any]:
    """Draw all batches once; global random states are left as they were."""
    states = RandomStates.capture()
    try:
        return list(batches)
    finally:
        states.restore()


def effective_texts(batches: Sequence[Any]) -> tuple[float, int] | None:
    r"""Count texts as :math:`(\sum_k n_k)^2 / \sum_k n_k^2` of their tokens, and plainly; None if not told."""
    counts: list[Tensor] = []
    for batch in batches:
        given = batch if isinstance(batch, Mapping) else {"": batch}
        mask, first = given.get("attention_mask"), next(iter(given.values()), None)
        if isinstance(mask, Tensor) and mask.ndim == 2:
            counts.append((mask != 0).sum(1).double().cpu())
        elif isinstance(first, Tensor) and first.ndim:
            counts.append(torch.ones(len(first), dtype=torch.float64))
        else:
            return None
    tokens = torch.cat(counts) if counts else torch.zeros(0)
    squares = float(tokens.square().sum())
    return (float(tokens.sum()) ** 2 / squares, len(tokens)) if squares else None


def loss_on(loss: CalibrationLoss, name: str) -> Loss | None:
    """Give the loss of a calibration set; None for the model's own.

    A ValueError for other names of sets, a TypeError for what cannot be called.
    """
    of_sets = loss if isinstance(loss, Mapping) else {"task": loss, "preserve": loss}
    unknown = sorted(set(map(str, of_sets)) - {"task", "preserve"})
    if unknown:
        raise ValueError(f"loss is a mapping with the keys {unknown}; allowed: 'task' and 'preserve'")
    for found in of_sets.values():
        if found is not None and not callable(found):
            raise TypeError(f"loss is {found!r}; it must be a callable, loss(model, batch) -> scalar Tensor")
    return of_sets.get(name)


def check_calibration(
    config: SpectralConfig, sets: Mapping[str, Batches], loss: CalibrationLoss = None, refreshes: bool = False
) -> None:
    """Check, before any work, that the calibration set that a config reads is there and not empty.

    With `refreshes`, graphs will be built anew, so that a refresh by drift needs the set whatever the source. A
    TypeError where `loss` cannot be called.
    """
    loss_on(loss, config.batches)
    drifts = refreshes and config.builder is not None and bool(refresh_schedule(config.refresh).drift)
    if not needs_batches(config) and not drifts:
        return
    chosen = sets.get(config.batches)
    if chosen is None:
        given = ", ".join(map(repr, sets)) or "none"
        if config.batches != "task" and list(sets) == ["task"]:
            given += ", which a list alone stands for"
        if drifts:
            raise ValueError(
                f"refresh={config.refresh!r} measures gradients on the calibration batches {config.batches!r}, which "
                f"are missing (given: {given}); pass batches={{{config.batches!r}: [...]}}, or refresh by steps"
            )
        sources = [config.source, *([] if config.column_source is None else [config.column_source])]
        reader = next(
            (f"source {source!r}" for source in sources if as_source(source).needs_batches),
            f"energy={config.energy!r}",
        )
        other = "preserve" if config.batches == "task" else "task"
        ways = [f"pass batches={{{config.batches!r}: [...]}}"]
        ways += [f"let the config read the others, batches={other!r}"] if other in sets else []
        ways += [] if config.batches == "preserve" else ["use source='weights'"]
        raise ValueError(
            f"{reader} reads the calibration batches {config.batches!r}, which are missing (given: {given}); "
            + ", or ".join(ways)
        )
    check_filled(config.batches, chosen)


def check_filled(name: str, batches: Batches) -> None:
    """Refuse a calibration set without batches, where that can be told without drawing them."""
    if isinstance(batches, Sized) and len(batches) == 0:
        raise ValueError(f"the calibration batches {name!r} are empty; give at least one batch")


def needs_batches(config: SpectralConfig) -> bool:
    """Say whether the graph of a config cannot be built without calibration batches.

    False for no graph, for weights, for a source of the user's own, and for a builder that reads no features.

    Examples
    --------
    >>> needs_batches(SpectralConfig(builder="ring")), needs_batches(SpectralConfig(source="activations"))
    (False, True)
    """
    sources = {config.source_on(scheme)[0] for scheme in ("rows", "columns")}
    reads = reads_features(config) and any(as_source(source).needs_batches for source in sources)
    return reads or config.energy is not None


def source_of(model: nn.Module, config: SpectralConfig, scheme: str) -> tuple[SourceLike, dict[str, Any]]:
    """Give the source of the nodes of a scheme, and its options with what the config leaves open.

    The seed is that of the config; the objective None is "labels" for a language model, else "representation".
    """
    source, options = config.source_on(scheme)
    known = as_source(source).options
    if "seed" in known:
        options = {"seed": config.seed} | options
    if "objective" in known and options.get("objective", "") is None:
        options["objective"] = usual_objective(model)
    return source, options


def is_moment_gram(config: SpectralConfig, scheme: str) -> bool:
    """Say whether the operator of a config on nodes of a scheme is the adjacency of second moments at layers."""
    return (
        config.builder == "gram"
        and not config.builder_options
        and config.shift == "adjacency"
        and (scheme, config.source_on(scheme)[0]) in MOMENTS
    )


def reads_features(config: SpectralConfig) -> bool:
    """Say whether the builder of a config reads features of the nodes: if not, no source needs to run."""
    return config.builder is not None and as_builder(config.make_builder()).reads_features
