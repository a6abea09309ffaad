"""The handle that `attach` returns: the hooks of one optimizer, their metrics and their state."""

import logging
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import table_tensors
from spectral_opt.ranks import ALONE, Ranks
from spectral_opt.training._adapter_watch import AdapterWatch
from spectral_opt.training._optimizer_hooks import OptimizerHooks
from spectral_opt.training._step import ParameterWatch, SpectralStep
from spectral_opt.training.bound_table import BoundTable, copied
from spectral_opt.training.refresh import Refresher
from spectral_opt.training.state import check_graphs, check_state, checksum, describe_tables, restored
from spectral_opt.training.stored_start import StoredStart

if TYPE_CHECKING:
    from spectral_opt.explanation import Explanation

_logger = logging.getLogger(__name__)

# One live handle per optimizer: two would interleave their penalties and filters in an order nobody chose.
live_optimizers: "weakref.WeakSet[Optimizer]" = weakref.WeakSet()


class SpectralHandle:
    """Hold what `attach` put on an optimizer; `remove` takes it off, as leaving a `with` block does.

    Made by :func:`attach`, not by hand.

    Parameters
    ----------
    model : nn.Module
        The bare model.
    optimizer : torch.optim.Optimizer
        The bare optimizer.
    configs : sequence of SpectralConfig
        In the order in which they act.
    tables : sequence of BoundTable
        Config by config.
    explanation : Explanation
        What is touched, why, and what it costs.
    refresher : Refresher
        Builds graphs anew.
    ranks : Ranks
        Who trains together. All of them call `penalty`, `metrics`, `load_state_dict` and `load_start` together;
        `state_dict` gives whole tensors, the same on each, so that one may write them and any number load them.
    stored : StoredStart, optional
        Where Theta_0 lies already, so that it need not be copied.

    Raises
    ------
    ValueError
        On all ranks, if Theta_0 or the graphs of one differ from rank 0; the optimizer is untouched then.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> from spectral_opt import attach
    >>> with attach(model, optimizer, SpectralConfig(builder="ring")) as handle:
    ...     float(handle.penalty())
    0.0
    >>> handle
    SpectralHandle(configs=1, tables=1, steps=0, removed)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        configs: Sequence[SpectralConfig],
        tables: Sequence[BoundTable],
        explanation: "Explanation",
        refresher: Refresher,
        ranks: Ranks = ALONE,
        stored: StoredStart | None = None,
    ) -> None:
        self.explanation = explanation
        self.configs = tuple(configs)
        start: dict[str, Tensor] = {}
        for table in tables:
            start |= table.copy_start(start.keys(), copied if stored is None else stored.keep)
        self._steps = SpectralStep(tables, start, ParameterWatch(model, tables))
        self._adapters = AdapterWatch(model, tables)
        self._refresher = refresher
        self._checksum = checksum({name: p for table in tables for name, p in table.parameters.items()})
        self._asked = False
        self._optimizer = optimizer
        self._hooks: OptimizerHooks | None = OptimizerHooks(
            optimizer, self._before_step, self._after_step, self._steps.abandon
        )
        live_optimizers.add(optimizer)
        self._ranks = ranks
        try:
            check_graphs(ranks, self._steps.tables)
            ranks.check_equal(
                {"Theta_0": self._checksum},
                "load or make the same weights on every rank before attach, or wrap the model in "
                "DistributedDataParallel first, which copies those of rank 0",
            )
        except BaseException:
            self.remove()
            raise

    def __repr__(self) -> str:
        removed = "" if self._hooks else ", removed"
        counts = f"configs={len(self.configs)}, tables={len(self._steps.tables)}, steps={self._steps.count}"
        return f"SpectralHandle({counts}{removed})"

    def __enter__(self) -> "SpectralHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a handle belongs to its optimizer and is neither copied nor pickled: keep its state_dict(), attach to the "
            "other optimizer and load_state_dict() there"
        )

    def penalty(self) -> Tensor:
        r"""Sum the penalties over configs and tables.

        .. math:: \sum \text{penalty} \cdot \operatorname{tr}(X^T (L + \text{ridge}\, I) X)

        Differentiable for configs of mode "loss" (add it to each micro-batch's loss before dividing by their number),
        detached for the others; exactly 0 on the delta before the first step.
        """
        self._asked = True
        values = [
            table.penalty(self._steps.start, live)
            for table, live in self._steps.live(self._steps.penalties())
        ]
        if not values:
            return torch.zeros(())
        return torch.stack([value.to(values[0]) for value in values]).sum()

    @property
    def start(self) -> dict[str, Tensor]:
        """Theta_0 of the parameters whose penalty is on the delta, by name; not to be changed."""
        return self._steps.start

    @property
    def checksum(self) -> Tensor:
        """SHA-256 of Theta_0 of all parameters acted on, as 32 bytes."""
        return self._checksum

    def load_start(self, start: Mapping[str, Tensor], checked: Tensor | None = None) -> None:
        """Take Theta_0 from elsewhere, where `attach` found weights that are already trained.

        Parameters
        ----------
        start : mapping of str to Tensor
            Theta_0 by the names of the bare model's parameters: of all parameters acted on, or, with `checked`, of
            those whose penalty is on the delta. Kept, not copied, where dtype and device are the parameter's.
        checked : Tensor of shape (32,), optional
            Checksum of all of Theta_0, of the handle that knew it.

        Raises
        ------
        ValueError
            If a parameter is missing or has another shape. Nothing is changed then.
        """
        own = {name for table in self._steps.tables for name in table.parameters}
        named = {name: p for table in self._steps.tables for name, p in table.touched.items()}
        names = self._steps.start.keys() | (own if checked is None else set())
        needed = {name: named[name] for name in sorted(names)}
        broken = [name for name, p in needed.items() if name not in start or start[name].shape != p.shape]
        if broken:
            raise ValueError(
                f"this Theta_0 lacks {broken[:3]}, or they have another shape; take it from the model before training"
            )
        taken = {name: start[name].detach().to(p) for name, p in needed.items()}
        read = {name: taken[name] for name in self._steps.start}
        # First what may refuse.
        self._steps.tables = [table.with_start(read) for table in self._steps.tables]
        self._checksum = (
            checksum({name: value for name, value in taken.items() if name in own})
            if checked is None
            else checked.cpu().clone()
        )
        self._steps.start = read

    def metrics(self) -> dict[str, float]:
        """Return numbers for a log.

        "spectral/penalty": the penalty now. "spectral/ms": milliseconds in the hooks of the last step (host time).
        "spectral/kept_energy": share of the squared norm that the filters let through in the last step, before norm
        matching; absent without a filter or a step. "spectral/refreshes": graphs built anew so far, and
        "spectral/drift": the largest drift of a table when it was last measured; absent where graphs are never built
        anew.
        """
        self._adapters.check()
        asked = self._asked
        with torch.no_grad():
            metrics = {"spectral/penalty": float(self.penalty()), "spectral/ms": 1e3 * self._steps.seconds}
        self._asked = asked
        energies = self._steps.energies
        if energies:
            before = sum(float(energy) for energy, _ in energies)
            after = sum(float(energy) for _, energy in energies)
            metrics["spectral/kept_energy"] = after / before if before else 1.0
        if any(config.refresh != "never" for config in self.configs):
            metrics["spectral/refreshes"] = float(self._refresher.counts.sum())
        if self._refresher.drift is not None:
            metrics["spectral/drift"] = self._refresher.drift
        return metrics

    def remove(self) -> None:
        """Take the hooks off; the optimizer is then exactly what it was. Calling it again does nothing."""
        if self._hooks is not None:
            self._hooks.remove()
        self._hooks = None
        self._steps.abandon()
        live_optimizers.discard(self._optimizer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as tensors on the CPU, fit for safetensors and for `torch.load(weights_only=True)`.

        "step", "refreshes" (of each table), "checksum" (of Theta_0 of all parameters acted on), "config" and "names"
        (text as bytes), and "<table>/<part>", operator, filter and spectrum of each table in its order.
        """
        tables = self._steps.tables
        state = {
            "step": torch.tensor(self._steps.count, dtype=torch.int64),
            "refreshes": self._refresher.counts.clone(),
            "checksum": self._checksum.clone(),
        } | describe_tables(self.configs, [(table.config, table.name) for table in tables])
        for index, table in enumerate(tables):
            state |= {f"{index}/{key}": value for key, value in table_tensors(table.prepared).items()}
        for index, gram in self._refresher.references.items():
            state[f"{index}/gradient_gram"] = gram.clone()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the graphs, the spectra and the step count of a run that is to be resumed.

        Attach to the model in the state from which that run started, load this, then the trained weights.

        Raises
        ------
        ValueError
            If a part is missing or broken, or configs, parameters or Theta_0 are others. Nothing is changed then. On
            all ranks, if one cannot load it, or has loaded another.
        TypeError
            If `state` is no mapping.
        """
        with self._ranks.together():
            self._load(state)
        check_graphs(self._ranks, self._steps.tables)

    def _load(self, state: Any) -> None:
        check_state(self.state_dict(), state)
        self._steps.tables = [
            table.with_prepared(restored(state, index, table.prepared.table, table.config))
            for index, table in enumerate(self._steps.tables)
        ]
        self._steps.count = int(state["step"])
        self._refresher.counts = state["refreshes"].cpu().clone()
        self._refresher.references = {
            index: state[f"{index}/gradient_gram"].cpu().clone()
            for index in range(len(self._steps.tables))
            if f"{index}/gradient_gram" in state
        }

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._adapters.check()
        return self._steps.before(optimizer, args, kwargs)

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._steps.after(optimizer):
            return
        count = self._steps.count
        self._refresher.after_step(count, self._steps.tables, optimizer)
        if count == 1 and not self._asked and self._steps.penalties("loss"):
            _logger.warning(
                "penalty_mode is 'loss', but handle.penalty() was not asked for before the first step"
            )
