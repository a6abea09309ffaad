"""Which tables a config acts on, and which calibration batches its graphs need."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from paramgraph.builders import Ring
from paramgraph.graphs import get_builder
from paramgraph.nodes import NodeTable, node_tables, unwrap
from paramgraph.sources import RandomStates
from spectral_opt.config import SpectralConfig, refresh_schedule
from spectral_opt.preparation.adapter_layers import check_adapters
from spectral_opt.preparation.adapters import adapter_tables


def as_configs(config: Any) -> tuple[SpectralConfig, ...]:
    """Bring one config or several into one form.

    Parameters
    ----------
    config : SpectralConfig or iterable of SpectralConfig
        At least one.

    Returns
    -------
    tuple of SpectralConfig
        In their order.

    Raises
    ------
    TypeError
        If it is or holds something else.
    ValueError
        If there is none.

    Examples
    --------
    >>> len(as_configs(SpectralConfig()))
    1
    """
    several = isinstance(config, Iterable) and not isinstance(config, str | Mapping)
    configs = tuple(config) if several else (config,)
    wrong = [type(item).__name__ for item in configs if not isinstance(item, SpectralConfig)]
    if wrong:
        raise TypeError(
            f"config is one SpectralConfig or a sequence of them; got {', '.join(wrong)} "
            "(SpectralConfig.from_dict and from_json make one from plain values)"
        )
    if not configs:
        raise ValueError("at least one SpectralConfig is needed; got an empty sequence")
    return configs


def bare_model(model: Any) -> nn.Module:
    """Take a model out of its wrappers, and say so where it is none.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped.

    Returns
    -------
    nn.Module
        The bare model.

    Raises
    ------
    TypeError
        If it is no module.

    Examples
    --------
    >>> bare_model(nn.Linear(2, 3))
    Linear(in_features=2, out_features=3, bias=True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}; a torch.nn.Module is needed "
            "(spectral_opt.tasks.load_model loads one by name)"
        )
    return unwrap(model)


def match_tables(
    model: nn.Module, config: SpectralConfig, parameters: Iterable[Tensor] | None = None
) -> tuple[dict[str, NodeTable], dict[str, str]]:
    """Find the tables that a config acts on, and say why others are left out.

    Parameters
    ----------
    model : nn.Module
        Bare or wrapped model.
    config : SpectralConfig
        Its scheme, targets and exclude are read.
    parameters : iterable of Tensor, optional
        Parameters of the optimizer, compared by identity: tables with a frozen parameter or with one that is not
        among these are left out. None keeps every targeted table, of frozen matrices too.

    Returns
    -------
    tables : dict of str to NodeTable
        What is acted on. Beside a frozen matrix those are the factors of its adapter, its vectors and its bias, see
        :func:`spectral_opt.preparation.adapters.adapter_tables`.
    skipped : dict of str to str
        Targeted tables that are left out, each with its reason.

    Raises
    ------
    ValueError
        If nothing is left; the message says why. If an adapter is of a kind that cannot be acted on.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> match_tables(model, SpectralConfig(), model.parameters())[0]
    {'0.weight': NodeTable('0.weight', scheme='rows', nodes=2, width=3)}
    """
    model = bare_model(model)
    # Entries lie in the table of the rows; the column graph is beside it.
    scheme = "rows" if config.scheme == "entries" else config.scheme
    tables = node_tables(model, scheme, config.targets, config.exclude)
    if parameters is None:
        return tables, {}
    check_adapters(model)
    named = dict(model.named_parameters(remove_duplicate=False))
    given = {id(parameter) for parameter in parameters}
    kept: dict[str, NodeTable] = {}
    skipped: dict[str, str] = {}
    for key, table in tables.items():
        members = [named[name] for name in table.parameters]
        if not all(member.requires_grad for member in members):
            skipped[key] = "frozen (requires_grad is False)"
        elif not all(id(member) in given for member in members):
            skipped[key] = "not in the optimizer"
        else:
            kept[key] = table
    trained = given & {id(parameter) for parameter in named.values() if parameter.requires_grad}
    beside, unused = adapter_tables(model, config, trained)
    kept, skipped = kept | beside, skipped | unused
    if not kept:
        reasons = ", ".join(sorted(set(skipped.values())))
        raise ValueError(
            f"none of the {len(skipped)} parameters that targets={config.targets!r} matches can be trained: {reasons}. "
            "Make the optimizer from this model's own trainable parameters, or choose other targets"
        )
    return kept, skipped


def calibration_sets(batches: Any) -> dict[str, Any]:
    """Bring calibration batches into one form: sets by name, each readable more than once.

    Parameters
    ----------
    batches : iterable, mapping of str to iterable, or None
        An iterable is the set "task"; a mapping has the keys "task" and "preserve".

    Returns
    -------
    dict of str to iterable
        The sets. A one-shot iterator becomes a list; global random states are left as they were.

    Raises
    ------
    ValueError
        If the mapping has other keys.
    TypeError
        If a set is no iterable of batches, such as one batch.

    Examples
    --------
    >>> calibration_sets(iter([1, 2]))
    {'task': [1, 2]}
    """
    sets = batches if isinstance(batches, Mapping) else {} if batches is None else {"task": batches}
    unknown = sorted(set(map(str, sets)) - {"task", "preserve"})
    if unknown:
        raise ValueError(
            f"batches is a mapping with the keys {unknown}; allowed: 'task' and 'preserve', each a list of batches; "
            "one batch goes into a list, batches=[batch]"
        )
    for name, found in sets.items():
        readable = hasattr(found, "__iter__") or hasattr(found, "__getitem__")
        if found is not None and (not readable or isinstance(found, str | Mapping | Tensor)):
            raise TypeError(
                f"the calibration batches {name!r} are one {type(found).__name__}; give an iterable of batches, "
                "[batch] for a single one"
            )
    states = RandomStates.capture()
    try:
        return {
            name: list(found) if isinstance(found, Iterator) else found
            for name, found in sets.items()
            if found is not None
        }
    finally:
        states.restore()


def check_calibration(
    config: SpectralConfig, sets: Mapping[str, Any], loss: Any = None, refreshes: bool = False
) -> None:
    """Check, before any work, that the calibration set that a config reads is there.

    Parameters
    ----------
    config : SpectralConfig
        Its builder, source and batches are read.
    sets : mapping of str to iterable
        From :func:`calibration_sets`.
    loss : callable, optional
        As in `attach`.
    refreshes : bool, default False
        Whether graphs will be built anew, so that a refresh by drift needs the set whatever the source.

    Raises
    ------
    ValueError
        If the set is needed and missing or empty.
    TypeError
        If `loss` cannot be called.

    Examples
    --------
    >>> check_calibration(SpectralConfig(batches="preserve"), {"preserve": [{"x": 1}]})
    """
    if loss is not None and not callable(loss):
        raise TypeError(f"loss is {loss!r}; it must be a callable, loss(model, batch) -> scalar Tensor")
    drifts = refreshes and config.builder is not None and bool(refresh_schedule(config.refresh).drift)
    if not needs_batches(config) and not drifts:
        return
    chosen = sets.get(config.batches)
    if chosen is None:
        given = ", ".join(map(repr, sets)) or "none"
        if drifts:
            raise ValueError(
                f"refresh={config.refresh!r} measures gradients on the calibration batches {config.batches!r}, which "
                f"are missing (given: {given}); pass batches={{{config.batches!r}: [...]}}, or refresh by steps"
            )
        raise ValueError(
            f"source {config.source!r} reads the calibration batches {config.batches!r}, which are missing (given: "
            f"{given}); pass batches={{{config.batches!r}: [...]}}, or use source='weights'"
        )
    if hasattr(chosen, "__len__") and len(chosen) == 0:
        raise ValueError(f"the calibration batches {config.batches!r} are empty; give at least one batch")


def needs_batches(config: SpectralConfig) -> bool:
    """Say whether the graph of a config cannot be built without calibration batches.

    Parameters
    ----------
    config : SpectralConfig
        Its builder and source are read.

    Returns
    -------
    bool
        False for no graph, for weights, for a source of the user's own, and for a builder that reads no features.

    Examples
    --------
    >>> needs_batches(SpectralConfig(builder="ring")), needs_batches(SpectralConfig(source="activations"))
    (False, True)
    """
    return reads_features(config) and isinstance(config.source, str) and config.source != "weights"


def reads_features(config: SpectralConfig) -> bool:
    """Say whether the builder of a config reads features of the nodes.

    Parameters
    ----------
    config : SpectralConfig
        Its builder is read.

    Returns
    -------
    bool
        False without a builder and for the ring, also a permuted one: then no source needs to run.

    Examples
    --------
    >>> reads_features(SpectralConfig(builder="ring")), reads_features(SpectralConfig(builder="gram"))
    (False, True)
    """
    if config.builder is None:
        return False
    builder = get_builder(config.builder, **config.builder_options)
    return not isinstance(getattr(builder, "builder", builder), Ring)
