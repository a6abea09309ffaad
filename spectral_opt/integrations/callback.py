"""Penalty and filter in an unmodified Trainer of transformers, or one derived from it, as a callback."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from paramgraph._checks import whole_number
from paramgraph.sources import Batches, RandomStates
from spectral_opt.config import SpectralConfig, refresh_schedule
from spectral_opt.hooks import attach
from spectral_opt.integrations._calibration_draw import draw_batches
from spectral_opt.integrations._start_weights import StartWeights
from spectral_opt.integrations._trainer_checkpoint import (
    calling_trainer,
    checkpoint_folder,
    read_state,
    write_state,
)
from spectral_opt.integrations._trainer_loss import told_loss, with_trainer_loss
from spectral_opt.preparation import (
    CalibrationBatches,
    CalibrationLoss,
    as_configs,
    calibration_sets,
    loss_on,
    needs_batches,
)
from spectral_opt.training import SpectralHandle, prepared_from_state

_logger = logging.getLogger(__name__)

# `given`, and the numbers of `logs`, are Any: whatever the Trainer, or one derived from it, passes on.


class SpectralCallback(TrainerCallback):  # type: ignore[misc]
    """Attach penalty and filter to the optimizer of a Trainer or SFTTrainer, and take them off at the end.

    Theta_0 are the weights that the model has when the Trainer has been made; they stay Theta_0 in every later
    `train()` and on resume. Hooks act inside `optimizer.step()`, so after the Trainer has clipped the gradients. With
    each checkpoint goes `spectral_state.safetensors`: graphs, spectra, counters and the checksum of Theta_0, not
    Theta_0 itself, which the resumed run has again before it loads trained weights. The Trainer's logs get
    "spectral/penalty", "spectral/kept_energy" and "spectral/ms", see `SpectralHandle.metrics`.

    Parameters
    ----------
    config : SpectralConfig or sequence of SpectralConfig
        As in `attach`; penalty_mode "loss" is refused.
    batches : iterable, mapping of str to iterable, or None
        As in `attach`. Where the set "task" is needed and not given, it is drawn from the training set with the
        Trainer's collate function and batch size; the Trainer's loader is never iterated.
    loss : callable, mapping of str to callable, or None
        `loss(model, batch) -> scalar Tensor` for what is measured on calibration batches, or one for each set. None:
        that which is trained, the Trainer's `compute_loss`, on the set "task", and the model's own on "preserve". So
        label smoothing, a `compute_loss_func` and the losses of derived Trainers are measured; the Trainer's counters
        and logs stay as they were, and `handle.explanation` names the loss.
    calibration_batches : int, default 16
        How many batches are drawn.
    calibration_seed : int, default 0
        Of the draw, which has a generator of its own.

    Attributes
    ----------
    handle : SpectralHandle or None
        While training.

    Raises
    ------
    ValueError
        If a config has penalty_mode "loss": a callback cannot change the loss.
    TypeError
        If `config`, `batches` or `loss` is of the wrong kind.

    Notes
    -----
    The training itself, its data and its random states are bitwise those of a Trainer without the callback, but for
    what penalty and filter do. The callback moves itself before the others, so that what reports logs sees its values.
    A checkpoint that is pushed to the hub while training goes without the spectral state, which is written after.

    Examples
    --------
    >>> callback = SpectralCallback(SpectralConfig(builder="ring"))
    >>> callback.handle is None  # Trainer(..., callbacks=[callback]).train() attaches it
    True
    """

    def __init__(
        self,
        config: SpectralConfig | Sequence[SpectralConfig],
        batches: CalibrationBatches = None,
        loss: CalibrationLoss = None,
        calibration_batches: int = 16,
        calibration_seed: int = 0,
    ) -> None:
        self.configs = as_configs(config)
        if any(item.penalty > 0 and item.penalty_mode == "loss" for item in self.configs):
            raise ValueError(
                "penalty_mode 'loss' cannot be used here: a callback cannot change the loss; use "
                "penalty_mode='gradient', which adds the same gradient, or 'decoupled'"
            )
        loss_on(loss, "task")
        self.handle: SpectralHandle | None = None
        self._sets = calibration_sets(batches)
        self._given_loss, self._loss = loss, loss
        self._count = whole_number("calibration_batches", calibration_batches, 1)
        self._seed = whole_number("calibration_seed", calibration_seed, 0)
        self._start: StartWeights | None = None
        self._left: dict[str, Tensor] | None = None

    # The Trainer calls with its arguments, state and control (any class with their fields will do), and with `given`:
    # model, optimizer, loader, tokenizer.

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Take Theta_0.

        Raises
        ------
        ValueError
            If a config matches nothing that can be trained.
        """
        optimizer = given.get("optimizer")
        groups = getattr(optimizer, "param_groups", None)
        parameters = groups and [parameter for group in groups for parameter in group["params"]]
        self._start, self._left = StartWeights(given["model"], self.configs, parameters), None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Attach to the optimizer; on resume, with the graphs of the checkpoint.

        Raises
        ------
        ValueError
            If `attach` refuses, or the checkpoint has no spectral state of this run. Nothing was trained then.
        """
        self._let_go()
        model, trainer, folder = given["model"], *calling_trainer()
        self._loss = self._given_loss
        if trainer is not None:
            callbacks = trainer.callback_handler.callbacks
            if self in callbacks:
                callbacks.insert(0, callbacks.pop(callbacks.index(self)))
            self._loss = with_trainer_loss(self._given_loss, trainer)
        if self._start is not None and not self._start.is_of(model) and not state.global_step:
            self._start, self._left = None, None  # model_init made another model
        if state.global_step:
            where = Path(folder) if folder else checkpoint_folder(args.output_dir, state.global_step)
            self._resume(args, given, read_state(where, state.global_step))
        elif self._left is not None:
            self._resume(args, given, self._left)
        else:
            self._begin(args, given)
        assert self.handle is not None
        self.handle.explanation = told_loss(self.handle.explanation, self._loss)
        if args.max_grad_norm:
            _logger.info("gradients are clipped before penalty and filter act on them (max_grad_norm)")
        _logger.info("spectral_opt acts as follows\n%s", self.handle.explanation)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Add the metrics to what the Trainer logs of its steps, in place and in its history."""
        if self.handle is None or not logs or "loss" not in logs:
            return
        metrics = self.handle.metrics()
        logs.update(metrics)
        if state.log_history:
            state.log_history[-1].update(metrics)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Write the spectral state into the checkpoint that the Trainer has just written."""
        if self.handle is None:
            return
        # The checkpoint's random states are written already: what comes after must not draw from them.
        states = RandomStates.capture()
        saved = self.handle.state_dict()
        folder = checkpoint_folder(args.output_dir, state.global_step)
        if args.should_save and folder.is_dir():
            write_state(folder, saved, state.global_step)
        elif args.should_save:
            _logger.warning("no spectral state was written: there is no folder %s", folder)
        states.restore()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Take the hooks off the optimizer."""
        self._let_go()

    def _let_go(self) -> None:
        """Remove a handle, also one that an interrupted `train()` has left; the next one goes on from there."""
        if self.handle is not None:
            self._left = self.handle.state_dict()
            self.handle.remove()
            self.handle = None

    def _begin(self, args: TrainingArguments, given: dict[str, Any]) -> None:
        model, sets = given["model"], self._calibration(args, given)
        handle = attach(model, given["optimizer"], self.configs, sets, self._loss)
        if self._start is None:
            self._start = StartWeights(model, self.configs)
        moved = self._start.moved(model)
        if moved:
            _logger.warning(
                "%d parameters (%s, ...) have changed since the Trainer was made; Theta_0 is of before that",
                *(len(moved), moved[0]),
            )
            self._settle(handle, self._start, {})
        else:
            self._start.take(handle)
            self.handle = handle

    def _resume(self, args: TrainingArguments, given: dict[str, Any], saved: dict[str, Tensor]) -> None:
        if self._start is None:
            raise ValueError(
                "Theta_0 is not known: the callback came to the Trainer after trained weights could have; give it to "
                "the Trainer's constructor, callbacks=[SpectralCallback(...)]"
            )
        model, optimizer = given["model"], given["optimizer"]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        prepared = prepared_from_state(model, self.configs, saved, parameters)
        refreshed = any(item.refresh != "never" for item in self.configs)
        sets = self._calibration(args, given) if refreshed else self._sets
        handle = attach(model, optimizer, self.configs, sets, self._loss, prepared)
        self._settle(handle, self._start, saved)

    def _settle(self, handle: SpectralHandle, start: StartWeights, saved: dict[str, Tensor]) -> None:
        """Give a handle its Theta_0 and its state, or take it off again."""
        try:
            start.give(handle)
            if saved:
                handle.load_state_dict(saved)
        except ValueError:
            handle.remove()
            raise
        self.handle = handle

    def _calibration(self, args: TrainingArguments, given: dict[str, Any]) -> dict[str, Batches]:
        """Complete the calibration sets by a draw, on the device of the model."""
        from accelerate.utils import send_to_device

        model, loader, sets = given["model"], given["train_dataloader"], dict(self._sets)
        if "task" not in sets and any(_reads_task(config) for config in self.configs):
            shared = given.get("processing_class"), model
            sets["task"] = draw_batches(
                *(loader.dataset, loader.collate_fn, args.train_batch_size, self._count, self._seed, shared)
            )
        device = _device(model)
        if device.type == "cpu":
            return sets
        return {name: [send_to_device(batch, device) for batch in found] for name, found in sets.items()}


def _reads_task(config: SpectralConfig) -> bool:
    drifts = config.builder is not None and bool(refresh_schedule(config.refresh).drift)
    return config.batches == "task" and (needs_batches(config) or drifts)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
