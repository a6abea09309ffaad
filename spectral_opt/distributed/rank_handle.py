"""A table and a handle where several ranks train: bound to what lies here, and compared with the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spectral_opt.config import SpectralConfig
from spectral_opt.distributed._sharded_table import ShardedTable
from spectral_opt.distributed.rank_refresh import check_graphs
from spectral_opt.distributed.shard_layout import splits_nodes
from spectral_opt.preparation import FactorTable, PreparedTable, config_on
from spectral_opt.ranks import Ranks, is_split
from spectral_opt.training import BoundTable, SpectralHandle, bind_table


class RankHandle(SpectralHandle):
    """Hold what `attach` put on the optimizers of several ranks.

    `penalty`, `metrics`, `load_state_dict` and `load_start` are called on all ranks together. `state_dict` gives whole
    tensors, the same on each rank, so that one rank may write them and any number of ranks may load them.

    Parameters
    ----------
    *args
        As in `SpectralHandle`.
    ranks : Ranks
        Who trains together.

    Raises
    ------
    ValueError
        On all ranks, if Theta_0 or the graphs of one differ from rank 0; the optimizer is untouched then.
    """

    def __init__(self, *args: Any, ranks: Ranks) -> None:
        super().__init__(*args)
        self._ranks = ranks
        try:
            check_graphs(ranks, self._steps.tables)
            ranks.check_equal(
                {"Theta_0": self.checksum},
                "load or make the same weights on every rank before attach, or wrap the model in "
                "DistributedDataParallel first, which copies those of rank 0",
            )
        except BaseException:
            self.remove()
            raise

    def load_state_dict(self, state: Any) -> None:
        """Take over graphs, spectra and step count of a run that is to be resumed, on all ranks.

        Parameters
        ----------
        state : mapping of str to Tensor
            As in `SpectralHandle`, the same on each rank.

        Raises
        ------
        ValueError
            On all ranks, if one cannot load it, or has loaded another.
        """
        with self._ranks.together():
            super().load_state_dict(state)
        check_graphs(self._ranks, self._steps.tables)


def bind_on_ranks(
    ranks: Ranks,
    config: SpectralConfig,
    ready: PreparedTable,
    model: nn.Module,
    named: Mapping[str, nn.Parameter],
) -> BoundTable:
    """Bind a prepared table to the live parameters of a model, or to their parts on this rank.

    Parameters
    ----------
    ranks : Ranks
        Who trains together.
    config : SpectralConfig
        What to do.
    ready : PreparedTable
        The whole table.
    model : nn.Module
        The bare model.
    named : mapping of str to Parameter
        Its parameters.

    Returns
    -------
    BoundTable
        A `ShardedTable` where the parameters are sharded.

    Raises
    ------
    ValueError
        If a penalty is on a low-rank update whose factors are sharded.

    Examples
    --------
    >>> from spectral_opt import prepare
    >>> model = nn.Sequential(nn.Linear(2, 8))
    >>> ready, = prepare(model, SpectralConfig(builder="ring"))
    >>> bind_on_ranks(Ranks(), SpectralConfig(), ready, model, dict(model.named_parameters())).name
    '0.weight'
    """
    if not any(is_split(named[name]) for name in ready.table.parameters):
        return bind_table(config, ready, model, named)
    if (
        isinstance(ready.table, FactorTable)
        and ready.table.factors
        and config_on(config, ready.table).penalty
    ):
        raise ValueError(
            f"the factors of {ready.table.layer_name!r} are sharded, and the penalty of their product needs both "
            "whole: train adapters under DistributedDataParallel, keep them out of fully_shard, or use penalty=0.0 "
            "(the filter acts on sharded factors)"
        )
    return ShardedTable(config, ready, {name: named[name] for name in ready.table.parameters}, ranks)


def check_split_filters(
    configs: Sequence[SpectralConfig],
    prepared: Sequence[Sequence[PreparedTable]],
    named: Mapping[str, Tensor],
) -> None:
    """Refuse filters that would need whole columns of a table whose nodes lie on several ranks.

    Parameters
    ----------
    configs : sequence of SpectralConfig
        In their order.
    prepared : sequence of sequence of PreparedTable
        Their tables.
    named : mapping of str to Tensor
        Parameters by name.

    Raises
    ------
    ValueError
        For "chebyshev" and "solve" on such a table: each of their products moves the whole table between ranks.

    Examples
    --------
    >>> check_split_filters([], [], {})
    """
    for config, of_config in zip(configs, prepared, strict=True):
        for ready in of_config:
            method = None if ready.filter is None else ready.filter.method
            split = any(is_split(named[name]) for name in ready.table.parameters)
            if split and splits_nodes(ready.table) and method in ("chebyshev", "solve"):
                raise ValueError(
                    f"table {ready.table.group!r} has its {ready.nodes} nodes on several ranks, and filter_method="
                    f"{config.filter_method!r} chose {method!r}, each product of which would move the whole table "
                    "between them; use filter_method='lowrank', which adds up rank x width numbers, or scheme='columns'"
                )
