"""Which tables of a model the configs act on."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from paramgraph.nodes import NodeTable, node_tables, unwrap
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation.adapter_layers import check_adapters
from spectral_opt.preparation.adapters import adapter_tables
from spectral_opt.ranks import is_split

SPLIT_EXPERTS = (
    "FSDP2 splits its stack over ranks by experts, each of which is whole on one: keep the experts out of fully_shard, "
    "or train under DistributedDataParallel"
)


def as_configs(config: SpectralConfig | Iterable[SpectralConfig]) -> tuple[SpectralConfig, ...]:
    """Bring one config or several into one form; a TypeError for anything else, a ValueError for none.

    A config in which a callable is only written down is a ValueError too: from here on configs act.
    """
    given: object = config
    configs = (
        tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | Mapping) else (given,)
    )
    wrong = [type(item).__name__ for item in configs if not isinstance(item, SpectralConfig)]
    if wrong:
        raise TypeError(
            f"config is one SpectralConfig or a sequence of them; got {', '.join(wrong)} "
            "(SpectralConfig.from_dict and from_json make one from plain values)"
        )
    if not configs:
        raise ValueError("at least one SpectralConfig is needed; got an empty sequence")
    for item in configs:
        item.check_callables()
    return configs


def bare_model(model: nn.Module) -> nn.Module:
    """Take a model out of the wrappers that only run it; a TypeError where it is no module."""
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

    `parameters` are those of the optimizer, compared by identity: tables with a frozen parameter, or with one that is
    not among these, are left out, and beside a frozen matrix are the factors of its adapter, its vectors and its bias,
    see :func:`adapter_tables`. None keeps every targeted table, of frozen matrices too. Returns the tables by key, and
    reasons by key. Where nothing is left, or the adapter of the whole model is a prompt, a ValueError says why.

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
        frozen = not all(member.requires_grad for member in members)
        if table.expert >= 0 and not frozen and any(map(is_split, members)):
            skipped[key] = SPLIT_EXPERTS
            continue
        if not frozen and all(id(member) in given for member in members):
            kept[key] = table
            continue
        # An expert has a key of its own, a table of many parameters those of each.
        names = (key,) if len(table.slices) == 1 else table.parameters
        reason = "frozen (requires_grad is False)" if frozen else "not in the optimizer"
        skipped |= dict.fromkeys(names, reason)
    trained = given & {id(parameter) for parameter in named.values() if parameter.requires_grad}
    beside, unused = adapter_tables(model, config, trained)
    kept, skipped = kept | beside, skipped | unused
    if not kept:
        check_adapters(model, is_anything_left=False)
        reasons = ", ".join(sorted(set(skipped.values())))
        raise ValueError(
            f"none of the {len(skipped)} parameters that targets={config.targets!r} matches can be trained: {reasons}. "
            "Make the optimizer from this model's own trainable parameters, or choose other targets"
        )
    return kept, skipped
