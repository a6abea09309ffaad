"""Graphs built anew while several ranks train: measured on all, decided alike, built once."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from paramgraph.nodes import NodeTable
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable, collect_on_ranks, prepare_on_ranks, table_tensors
from spectral_opt.ranks import Ranks
from spectral_opt.training import BoundTable, Refresher, checksum


class RankRefresher(Refresher):
    """Build graphs anew on all ranks together.

    Parameters
    ----------
    model, batches, loss, tables
        As in `Refresher`; batches of this rank.
    ranks : Ranks
        Who trains together.

    Examples
    --------
    >>> RankRefresher(nn.Linear(2, 2), {}, None, [], Ranks()).counts.tolist()
    []
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Mapping[str, Any],
        loss: Any,
        tables: Sequence[BoundTable],
        ranks: Ranks,
    ) -> None:
        self._ranks = ranks
        super().__init__(model, batches, loss, tables)

    def after_step(self, step: int, tables: list[BoundTable], optimizer: Optimizer) -> list[BoundTable]:
        """Build the graphs that are due after this step, and compare them over the ranks.

        Parameters
        ----------
        step, tables, optimizer
            As in `Refresher`.

        Returns
        -------
        list of BoundTable
            The same list where nothing is due.

        Raises
        ------
        ValueError
            On all ranks, if one fails or their graphs differ.
        """
        result = super().after_step(step, tables, optimizer)
        if result is not tables:
            check_graphs(self._ranks, result)
        return result

    def rebuild(self, config: SpectralConfig, tables: Mapping[str, NodeTable]) -> Sequence[PreparedTable]:
        """Build graphs and filters of tables on rank 0, for all.

        Parameters
        ----------
        config : SpectralConfig
            What to build.
        tables : mapping of str to NodeTable
            Those that are due.

        Returns
        -------
        sequence of PreparedTable
            In their order.
        """
        return prepare_on_ranks(self._ranks, self._model, config, self._batches, self._loss, tables)

    def measure(self, tables: Mapping[str, NodeTable], batches: Sequence[Any]) -> dict[str, Tensor]:
        """Measure the gradients of tables on the batches of all ranks.

        Parameters
        ----------
        tables : mapping of str to NodeTable
            Which parameters.
        batches : sequence
            Calibration batches of this rank.

        Returns
        -------
        dict of str to Tensor
            The same, bit by bit, on each rank.
        """
        return collect_on_ranks(self._ranks, self._model, tables, "batch_gradients", batches, self._loss)


def check_graphs(ranks: Ranks, tables: Sequence[BoundTable]) -> None:
    """Compare the graphs and the filters of all ranks.

    Parameters
    ----------
    ranks : Ranks
        Who trains together; all of them call this.
    tables : sequence of BoundTable
        In the order in which they act.

    Raises
    ------
    ValueError
        On all ranks, if one has another graph, or other tables.

    Examples
    --------
    >>> check_graphs(Ranks(), [])
    """
    if ranks.size == 1:
        return
    tensors = {
        f"{index}/{table.name}/{key}": value
        for index, table in enumerate(tables)
        for key, value in table_tensors(table.prepared).items()
    }
    ranks.check_equal(
        {"set of graphs": checksum(tensors)},
        "build them once and let attach hand them out (leave `prepared` out), or prepare all ranks alike",
    )
