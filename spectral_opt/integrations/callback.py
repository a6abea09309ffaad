"""Penalty and filter in an unmodified Trainer of transformers, or one derived from it, as a callback."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from paramgraph.sources import RandomStates
from spectral_opt.config import SpectralConfig
from spectral_opt.integrations._attachment import Attachment
from spectral_opt.integrations._calibration_draw import draw_batches
from spectral_opt.integrations._trained_loss import TrainerLoss, complete_loss
from spectral_opt.integrations._trainer_checkpoint import (
    STATE_FILE,
    calling_trainer,
    checkpoint_folder,
    read_state,
    write_state,
)
from spectral_opt.preparation import CalibrationBatches, CalibrationLoss
from spectral_opt.training import SpectralHandle

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
    workers : int, optional
        Processes that build the graphs, as in `attach`.

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
    A checkpoint that is pushed to the hub while training goes without the spectral state, which is written after. With
    `save_total_limit=1` the Trainer deletes the earlier checkpoint before that: a run that is killed in between has
    none to go on from. A warning says so; 2 keeps one.

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
        workers: int | None = None,
    ) -> None:
        self._attached = Attachment(config, batches, loss, calibration_batches, calibration_seed, workers)

    @property
    def configs(self) -> tuple[SpectralConfig, ...]:
        """In the order in which they act."""
        return self._attached.configs

    @property
    def handle(self) -> SpectralHandle | None:
        """What `attach` gave, while training."""
        return self._attached.handle

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
        self._attached.take_start(given["model"], parameters)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Attach to the optimizer; on resume, with the graphs of the checkpoint.

        Raises
        ------
        ValueError
            If `attach` refuses, or the checkpoint has no spectral state of this run. Nothing was trained then.
        """
        attached = self._attached
        attached.let_go()
        model, trainer, folder = given["model"], *calling_trainer()
        loss = attached.loss
        if trainer is not None:
            callbacks = trainer.callback_handler.callbacks
            if self in callbacks:
                callbacks.insert(0, callbacks.pop(callbacks.index(self)))
            loss = complete_loss(loss, TrainerLoss(trainer))
        saved = None
        if state.global_step:
            where = Path(folder) if folder else checkpoint_folder(args.output_dir, state.global_step)
            saved = read_state(where, state.global_step)
        else:
            attached.forget_others(model)  # model_init made another model

        def draw(count: int, seed: int) -> list[Any]:
            loader, shared = given["train_dataloader"], (given.get("processing_class"), model)
            return draw_batches(loader.dataset, loader.collate_fn, args.train_batch_size, count, seed, shared)

        handle = attached.begin(model, given["optimizer"], saved, draw, loss)
        if args.max_grad_norm:
            _logger.info("gradients are clipped before penalty and filter act on them (max_grad_norm)")
        if args.save_total_limit == 1 and args.save_strategy != "no":
            _logger.warning(
                "save_total_limit=1: the Trainer deletes a checkpoint before the next one has its %s, and a run that "
                "is killed in between has none to go on from; 2 keeps one",
                STATE_FILE,
            )
        _logger.info("spectral_opt acts as follows\n%s", handle.explanation)

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
        self._attached.let_go()
