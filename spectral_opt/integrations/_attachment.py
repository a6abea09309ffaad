"""What callbacks of any trainer share: Theta_0, calibration sets, the handle, and what an earlier run has left."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paramgraph._checks import whole_number
from paramgraph.sources import Batches
from spectral_opt.config import SpectralConfig, refresh_schedule
from spectral_opt.hooks import OptimizerWrapper, attach
from spectral_opt.integrations._start_weights import StartWeights
from spectral_opt.integrations._trained_loss import told_loss
from spectral_opt.preparation import (
    CalibrationBatches,
    CalibrationLoss,
    as_configs,
    calibration_sets,
    check_graph_workers,
    listed,
    loss_on,
    needs_batches,
)
from spectral_opt.training import SpectralHandle, prepared_from_state

_logger = logging.getLogger(__name__)

Draw = Callable[[int, int], list[Any]]  # (batches, seed); batches are the caller's own


class Attachment:
    """Attach configs to a trainer's optimizer once it is there, and hold what the next run needs of this one."""

    def __init__(
        self,
        config: SpectralConfig | Sequence[SpectralConfig],
        batches: CalibrationBatches,
        loss: CalibrationLoss,
        calibration_batches: int,
        calibration_seed: int,
        workers: int | None = None,
    ) -> None:
        self.configs = as_configs(config)
        if any(item.penalty > 0 and item.penalty_mode == "loss" for item in self.configs):
            raise ValueError(
                "penalty_mode 'loss' cannot be used here: a callback cannot change the loss; use "
                "penalty_mode='gradient', which adds the same gradient, or 'decoupled'"
            )
        loss_on(loss, "task")
        check_graph_workers("a spectral callback", workers, None, None, self.configs)
        self.loss, self._workers = loss, workers
        self.handle: SpectralHandle | None = None
        self.start: StartWeights | None = None
        self.left: dict[str, Tensor] | None = None
        self._sets = calibration_sets(batches)
        self._count = whole_number("calibration_batches", calibration_batches, 1)
        self._seed = whole_number("calibration_seed", calibration_seed, 0)

    def take_start(self, model: nn.Module, parameters: Sequence[Tensor] | None = None) -> None:
        """Take Theta_0 of a new run; a ValueError where a config matches nothing that can be trained."""
        self.start, self.left = StartWeights(model, self.configs, parameters), None

    def forget_others(self, model: nn.Module) -> None:
        """Forget the Theta_0 of another model than this one."""
        if self.start is not None and not self.start.is_of(model):
            self.start, self.left = None, None

    def let_go(self) -> None:
        """Remove a handle, also one that an interrupted run has left; the next one goes on from there."""
        if self.handle is not None:
            self.left = self.handle.state_dict()
            self.handle.remove()
            self.handle = None

    def begin(
        self,
        model: nn.Module,
        optimizer: Optimizer | OptimizerWrapper,
        saved: Mapping[str, Tensor] | None,
        draw: Draw,
        loss: CalibrationLoss,
    ) -> SpectralHandle:
        """Attach, with the graphs of a saved state or, where this very run has been here before, of what it left.

        `draw` gives calibration batches where the set "task" is needed and was not given.
        """
        saved = self.left if saved is None else saved
        if saved is None:
            self.handle = self._begun(model, optimizer, draw, loss)
        else:
            self.handle = self._resumed(model, optimizer, saved, draw, loss)
        self.handle.explanation = told_loss(self.handle.explanation, loss)
        return self.handle

    def _begun(
        self, model: nn.Module, optimizer: Optimizer | OptimizerWrapper, draw: Draw, loss: CalibrationLoss
    ) -> SpectralHandle:
        # What the start has in memory already is shared, not copied a second time.
        known = None if self.start is None else self.start.tensors
        sets = self._calibration(model, draw)
        handle = attach(model, optimizer, self.configs, sets, loss, start=known, workers=self._workers)
        if self.start is None:
            self.start = StartWeights(model, self.configs)
        moved = self.start.moved(model)
        if moved:
            _logger.warning(
                "%d parameters (%s, ...) have changed since the Trainer was made; Theta_0 is of before that",
                *(len(moved), moved[0]),
            )
            _settle(handle, self.start, {})
        else:
            self.start.take(handle)
        return handle

    def _resumed(
        self,
        model: nn.Module,
        optimizer: Any,  # has groups, as those that `attach` takes
        saved: Mapping[str, Tensor],
        draw: Draw,
        loss: CalibrationLoss,
    ) -> SpectralHandle:
        if self.start is None:
            raise ValueError(
                "Theta_0 is not known: the callback came to the Trainer after trained weights could have; give it to "
                "the Trainer's constructor, callbacks=[...], and make the model before the Trainer"
            )
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        prepared = prepared_from_state(model, self.configs, saved, parameters)
        refreshed = any(item.refresh != "never" for item in self.configs)
        sets = self._calibration(model, draw) if refreshed else self._sets
        handle = attach(model, optimizer, self.configs, sets, loss, prepared)
        _settle(handle, self.start, saved)
        return handle

    def _calibration(self, model: nn.Module, draw: Draw) -> dict[str, Batches]:
        """Complete the calibration sets by a draw, on the device of the model."""
        sets = dict(self._sets)
        if "task" not in sets and any(_reads_task(config) for config in self.configs):
            sets["task"] = draw(self._count, self._seed)
        device = next(model.parameters()).device
        if device.type == "cpu":
            return sets
        return {name: [_moved(batch, device) for batch in listed(found)] for name, found in sets.items()}


def _settle(handle: SpectralHandle, start: StartWeights, saved: Mapping[str, Tensor]) -> None:
    """Give a handle its Theta_0 and its state, or take it off again."""
    try:
        start.give(handle)
        if saved:
            handle.load_state_dict(dict(saved))
    except ValueError:
        handle.remove()
        raise


def _reads_task(config: SpectralConfig) -> bool:
    drifts = config.builder is not None and bool(refresh_schedule(config.refresh).drift)
    return config.batches == "task" and (needs_batches(config) or drifts)


def _moved(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, whatever holds them."""
    from accelerate.utils import send_to_device

    return send_to_device(batch, device)
