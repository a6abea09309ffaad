r"""Build graphs anew while training: every so many steps, or when the gradients have drifted.

Drift of a table is the relative change of the Gram matrix of its gradients, each scaled to trace 1, so that gradients
that merely shrink do not count:

.. math:: d = \lVert C_t - C_0 \rVert_F / \lVert C_0 \rVert_F, \qquad C = \sum_b G_b G_b^T / \sum_b \lVert G_b \rVert^2

over the first `DRIFT_BATCHES` calibration batches of the config, always the same, so that d = 0 as long as the
parameters stay. It is measured every `DRIFT_EVERY` steps: at most 4 forward and backward passes in 50 steps. C_0 is of
the parameters from which the table's present graph was built, one float32 matrix of (nodes, nodes) per table.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paramgraph.nodes import NodeTable
from paramgraph.sources import Batches
from spectral_opt.config import DRIFT_BATCHES, DRIFT_EVERY, SpectralConfig, refresh_schedule
from spectral_opt.preparation import (
    CalibrationLoss,
    PreparedTable,
    collect_on_ranks,
    loss_on,
    measured_table,
    prepare_on_ranks,
)
from spectral_opt.ranks import ALONE, Ranks
from spectral_opt.training._moments import move_moments
from spectral_opt.training.bound_table import BoundTable
from spectral_opt.training.state import check_graphs

_logger = logging.getLogger(__name__)


class Refresher:
    """Decide after each step which graphs to build anew, and build them.

    The bare model is left as it was, as are `.grad` and all random states. The calibration sets are kept and read
    again at each refresh. `ranks` that train together measure and decide alike, and rank 0 builds for all.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Mapping[str, Batches],
        loss: CalibrationLoss,
        tables: Sequence[BoundTable],
        ranks: Ranks = ALONE,
    ) -> None:
        self._model, self._batches, self._loss, self._ranks = model, batches, loss, ranks
        self.counts = torch.zeros(len(tables), dtype=torch.int64)
        self.references: dict[int, Tensor] = {}
        self.drift: float | None = None
        for config in _configs(tables):
            if refresh_schedule(config.refresh).drift:
                self.references |= self._grams(config, tables)

    def after_step(self, step: int, tables: list[BoundTable], optimizer: Optimizer) -> None:
        """Build the graphs that are due after this step, and put their tables into the list, each in its place.

        The optimizer's moments follow the basis of a table with placement "basis". A ValueError where a source or a
        builder fails, on all ranks, or their graphs differ; tables, moments and counts are then those of before.
        """
        result = list(tables)
        grams: dict[int, Tensor] = {}
        for config in _configs(tables):
            due, measured = self._due(config, step, tables)
            if not due:
                continue
            ready = self._rebuild(config, {tables[i].name: tables[i].prepared.table for i in due}, step)
            for i in due:
                made = ready[tables[i].name]
                if made.left_alone:
                    _logger.warning(
                        "step %d: %s keeps the graph that it had, as there is no new one: %s",
                        step,
                        tables[i].name,
                        made.reason,
                    )
                else:
                    result[i] = tables[i].with_prepared(made)
            grams |= measured
        built = [i for i, (old, new) in enumerate(zip(tables, result, strict=True)) if new is not old]
        if built:
            check_graphs(self._ranks, result)
        for i in built:
            self._log(step, tables[i], result[i], optimizer)
            tables[i] = result[i]
            self.counts[i] += 1
        self.references |= grams

    def _due(
        self, config: SpectralConfig, step: int, tables: Sequence[BoundTable]
    ) -> tuple[list[int], dict[int, Tensor]]:
        """List the tables of a config that are due, and measure what their next drift is from."""
        schedule = refresh_schedule(config.refresh)
        mine = _of_config(config, tables)
        if schedule.every:
            return (mine if step % schedule.every == 0 else []), {}
        if not schedule.drift or step % DRIFT_EVERY:
            return [], {}
        grams = self._grams(config, tables)
        # One that had no gradients when its graph was built has drifted from nothing: it starts here.
        self.references |= {i: gram for i, gram in grams.items() if i not in self.references}
        drifts = {i: relative_change(self.references[i], gram) for i, gram in grams.items()}
        self.drift = max(drifts.values(), default=0.0)
        due = [i for i in drifts if drifts[i] > schedule.drift]
        if due and config.energy == "model":
            due = mine  # their energies are over the mean of all matrices, which one alone does not know
        return due, {i: grams[i] for i in due if i in grams}

    def _grams(self, config: SpectralConfig, tables: Sequence[BoundTable]) -> dict[int, Tensor]:
        mine = {i: tables[i] for i in _of_config(config, tables)}
        chosen = list(itertools.islice(self._batches[config.batches], DRIFT_BATCHES))
        with torch.enable_grad():
            measured = {table.name: measured_table(table.prepared.table) for table in mine.values()}
            loss = loss_on(self._loss, config.batches)
            features = collect_on_ranks(
                self._ranks,
                self._model,
                measured,
                "batch_gradients",
                chosen,
                loss,
                on_failure=lambda group, reason: _logger.warning("no drift of %s: %s", group, reason),
            )
        return {i: gradient_gram(features[table.name]) for i, table in mine.items() if table.name in features}

    def _rebuild(
        self, config: SpectralConfig, tables: Mapping[str, NodeTable], step: int
    ) -> dict[str, PreparedTable]:
        try:
            with torch.enable_grad():
                ready = prepare_on_ranks(self._ranks, self._model, config, self._batches, self._loss, tables)
        except ValueError as error:
            raise ValueError(
                f"the refresh of graphs after step {step} failed, the step itself is complete: {error}"
            ) from error
        return dict(zip(tables, ready, strict=True))

    def _log(self, step: int, old: BoundTable, new: BoundTable, optimizer: Optimizer) -> None:
        moved = "the optimizer's state does not depend on the graph"
        if new.config.runs_in_basis:
            (U, V), (U_old, V_old) = new.bases, old.bases
            across = None if V is None or V_old is None else V.T @ V_old
            moved = move_moments(optimizer, new.prepared.table, new.parameters, U.T @ U_old, across)
        _logger.info("step %d: built the graph of %s anew; optimizer: %s", step, new.name, moved)


def _configs(tables: Sequence[BoundTable]) -> list[SpectralConfig]:
    """List the configs that have a graph, each object once."""
    return list({id(table.config): table.config for table in tables if table.config.builder}.values())


def _of_config(config: SpectralConfig, tables: Sequence[BoundTable]) -> list[int]:
    """List the places of a config's tables that have a graph."""
    return [i for i, table in enumerate(tables) if table.config is config and not table.prepared.left_alone]


def gradient_gram(features: Tensor) -> Tensor:
    """Form the Gram matrix of gradients (nodes, features), scaled to trace 1 unless zero, on the CPU."""
    gram = features.float() @ features.float().T
    trace = gram.diagonal().sum()
    return torch.where(trace > 0, gram / trace, gram).cpu()


def relative_change(reference: Tensor, gram: Tensor) -> float:
    """Measure the drift between two Gram matrices; infinite where only the reference is zero."""
    change, size = float((gram - reference).norm()), float(reference.norm())
    return change / size if size else (0.0 if not change else float("inf"))
