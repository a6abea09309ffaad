"""The handle that `attach` returns: the hooks of one optimizer, their metrics and their state."""

import logging
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spectral_opt.bound_table import BoundTable, Energies
from spectral_opt.config import SpectralConfig
from spectral_opt.explanation import Explanation, learning_rates
from spectral_opt.preparation import PreparedTable
from spectral_opt.spectral_state import (
    check_state,
    checksum,
    describe_config,
    encode_text,
    restore_table,
    table_tensors,
)

_logger = logging.getLogger(__name__)

# One live handle per optimizer: two would interleave their penalties and filters in an order nobody chose.
live_optimizers: "weakref.WeakSet[Optimizer]" = weakref.WeakSet()


class SpectralHandle:
    """Hold what `attach` put on an optimizer; `remove` takes it off.

    Made by :func:`attach`, not by hand.

    Parameters
    ----------
    model : nn.Module
        The bare model.
    optimizer : torch.optim.Optimizer
        The bare optimizer.
    configs : sequence of SpectralConfig
        In the order in which they act.
    prepared : sequence of tuple of PreparedTable
        One tuple per config.
    explanation : Explanation
        What is touched, why, and what it costs.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> from spectral_opt.hooks import attach
    >>> with attach(model, optimizer, SpectralConfig(builder="ring")) as handle:
    ...     float(handle.penalty())
    0.0
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        configs: Sequence[SpectralConfig],
        prepared: Sequence[tuple[PreparedTable, ...]],
        explanation: Explanation,
    ) -> None:
        named = dict(model.named_parameters(remove_duplicate=False))
        self.explanation = explanation
        self.configs = tuple(configs)
        self._tables = [
            BoundTable(config, ready, {name: named[name] for name in ready.table.parameters})
            for config, tables in zip(configs, prepared, strict=True)
            for ready in tables
        ]
        self._start = {
            name: parameter.detach().clone()
            for table in self._penalties()
            if table.config.penalty_on == "delta"
            for name, parameter in table.parameters.items()
        }
        self._checksum = checksum({name: p for table in self._tables for name, p in table.parameters.items()})
        self._before: dict[str, Tensor] = {}
        self._energies: list[Energies] = []
        self._step, self._seconds, self._asked = 0, 0.0, False
        self._optimizer = optimizer
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        live_optimizers.add(optimizer)

    def __enter__(self) -> "SpectralHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def penalty(self) -> Tensor:
        r"""Sum the penalties over configs and tables.

        .. math:: \sum \text{penalty} \cdot \operatorname{tr}(X^T (L + \text{ridge}\, I) X)

        Returns
        -------
        Tensor of shape ()
            Differentiable for configs of mode "loss" (add it to each micro-batch's loss before dividing by their
            number), detached for the others; exactly 0 on the delta before the first step.
        """
        self._asked = True
        values = [table.penalty(self._start) for table in self._penalties()]
        if not values:
            return torch.zeros(())
        return torch.stack([value.to(values[0]) for value in values]).sum()

    def metrics(self) -> dict[str, float]:
        """Return numbers for a log.

        Returns
        -------
        dict of str to float
            "spectral/penalty": the penalty now. "spectral/ms": milliseconds in the hooks of the last step (host
            time). "spectral/kept_energy": share of the squared norm that the filters let through in the last
            step, before norm matching; absent without a filter or a step.
        """
        asked = self._asked
        with torch.no_grad():
            metrics = {"spectral/penalty": float(self.penalty()), "spectral/ms": 1e3 * self._seconds}
        self._asked = asked
        if self._energies:
            before = sum(float(energy) for energy, _ in self._energies)
            after = sum(float(energy) for _, energy in self._energies)
            metrics["spectral/kept_energy"] = after / before if before else 1.0
        return metrics

    def remove(self) -> None:
        """Take the hooks off; the optimizer is then exactly what it was. Calling it again does nothing."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._before = {}
        live_optimizers.discard(self._optimizer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as tensors only, fit for safetensors and for `torch.load(weights_only=True)`.

        Returns
        -------
        dict of str to Tensor
            "step", "checksum" (of Theta_0 of all parameters acted on), "config" and "names" (text as bytes), and
            "<table>/<part>", operator and filter of each table in its order. Copies on the CPU.
        """
        names = [f"{table.config.scheme} {table.prepared.table.group}" for table in self._tables]
        state = {
            "step": torch.tensor(self._step, dtype=torch.int64),
            "checksum": self._checksum.clone(),
            "config": encode_text("\n".join(map(describe_config, self.configs))),
            "names": encode_text("\n".join(names)),
        }
        for index, table in enumerate(self._tables):
            state |= {f"{index}/{key}": value for key, value in table_tensors(table.prepared).items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the graphs, the spectra and the step count of a run that is to be resumed.

        Attach to the model in the state from which that run started, load this, then the trained weights.

        Parameters
        ----------
        state : mapping of str to Tensor
            From `state_dict` of a handle with the same configs on the same parameters.

        Raises
        ------
        ValueError
            If a part is missing or broken, or configs, parameters or Theta_0 are others. Nothing is changed then.
        """
        check_state(self.state_dict(), state)
        restored = []
        for index, table in enumerate(self._tables):
            prefix = f"{index}/"
            parts = {
                key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
            }
            try:
                ready = restore_table(table.prepared, parts)
            except (ValueError, TypeError, KeyError, RuntimeError) as error:
                group = table.prepared.table.group
                raise ValueError(f"this spectral state is broken at table {group!r}: {error}") from error
            restored.append(replace(table, prepared=ready))
        self._tables = restored
        self._step = int(state["step"])

    def _filters(self, placement: str) -> list[BoundTable]:
        return [
            table
            for table in self._tables
            # The identity is skipped: adding a zero would turn -0.0 into 0.0.
            if table.prepared.filter is not None
            and table.config.placement == placement
            and not table.prepared.filter.is_identity
        ]

    def _penalties(self, *modes: str) -> list[BoundTable]:
        return [
            table
            for table in self._tables
            if table.config.penalty > 0 and (not modes or table.config.penalty_mode in modes)
        ]

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        started = time.perf_counter()
        _refuse_fused_scaler(optimizer)
        self._energies = []
        # All at once, as the optimizer moves all parameters before the hook after the step runs.
        self._before = {
            name: parameter.detach().clone()
            for table in self._filters("update")
            for name, parameter in table.parameters.items()
        }
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._change_gradients()
            self._seconds = time.perf_counter() - started
            return None

        def closure_and_change() -> Any:
            result = closure()
            self._change_gradients()
            return result

        self._seconds = time.perf_counter() - started
        # The gradient does not exist before the closure has run.
        if len(args) > 1:
            return (args[0], closure_and_change, *args[2:]), kwargs
        return args, kwargs | {"closure": closure_and_change}

    @torch.no_grad()
    def _change_gradients(self) -> None:
        for table in self._penalties("gradient"):
            if table.has_gradient:
                table.add_penalty_gradient_(self._start)
        for table in self._filters("gradient"):
            if table.has_gradient:
                self._energies.append(table.filter_gradient_())

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        started = time.perf_counter()
        for table in self._filters("update"):
            if table.has_gradient:
                self._energies.append(table.filter_update_(self._before))
        self._before = {}
        decoupled = self._penalties("decoupled")
        if decoupled:
            rates = learning_rates(optimizer)
            for table in decoupled:
                if table.has_gradient:
                    table.decay_(self._start, rates)
        self._step += 1
        self._seconds += time.perf_counter() - started
        if self._step == 1 and not self._asked and self._penalties("loss"):
            _logger.warning(
                "penalty_mode is 'loss', but handle.penalty() was not asked for before the first step"
            )


def _refuse_fused_scaler(optimizer: Optimizer) -> None:
    if getattr(optimizer, "grad_scale", None) is not None:
        raise ValueError(
            "a fused optimizer under GradScaler unscales gradients inside its step, after the spectral hooks; this is "
            "not available yet: use fused=False, or bfloat16 without a scaler"
        )
