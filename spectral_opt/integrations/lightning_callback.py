"""Penalty and filter in a Trainer of Lightning, as a callback."""

import importlib
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import Tensor

from spectral_opt.config import SpectralConfig
from spectral_opt.integrations._attachment import Attachment
from spectral_opt.integrations._calibration_draw import draw_from_loader
from spectral_opt.integrations._trained_loss import ModuleLoss, complete_loss
from spectral_opt.preparation import CalibrationBatches, CalibrationLoss
from spectral_opt.training import SpectralHandle

_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
else:

    def _callback_class() -> type:
        """Find the base class: of the packages that are in use, of one that is installed, or none."""
        # One program in two packages, whose hooks are the same: both where both are in use.
        packages = ("lightning.pytorch", "pytorch_lightning")
        found = [name for name in packages if name in sys.modules]
        found = found or [name for name in packages if find_spec(name.partition(".")[0])][:1]
        classes = tuple(importlib.import_module(f"{name}.callbacks").Callback for name in found)
        return classes[0] if len(classes) == 1 else type("Callback", classes or (object,), {})

    Callback = _callback_class()

# A trainer or module of either package, of whatever class: Any.


class LightningSpectralCallback(Callback):  # type: ignore[misc]
    """Attach penalty and filter to the optimizer of a LightningModule while it is fitted, and take them off at the end.

    Theta_0 are the weights that the module has when `fit` sets it up, before a checkpoint is loaded into it; they stay
    Theta_0 in every later `fit` of the same module. Hooks act inside `optimizer.step()`, so after gradients were
    accumulated, unscaled and clipped. Checkpoints carry graphs, spectra, counters and the checksum of Theta_0 among the
    states of callbacks, as tensors and numbers. "spectral/penalty", "spectral/kept_energy" and "spectral/ms" are logged
    every `log_every_n_steps`, see `SpectralHandle.metrics`.

    Parameters
    ----------
    config : SpectralConfig or sequence of SpectralConfig
        As in `attach`; penalty_mode "loss" is refused.
    batches : iterable, mapping of str to iterable, or None
        As in `attach`. Where the set "task" is needed and not given, it is drawn from the data set of the training
        loader with its collate function and batch size; the loader is never iterated.
    loss : callable, mapping of str to callable, or None
        `loss(module, batch) -> scalar Tensor` for what is measured on calibration batches, or one for each set. None:
        that which is trained, `training_step`, on the set "task", with nothing logged, and the module's own on
        "preserve". With manual optimization `training_step` gives none, so that a loss has to be given.
    optimizer : int, optional
        Which one, where `configure_optimizers` gives several.
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
    ImportError
        If neither lightning nor pytorch_lightning is installed.
    ValueError
        If a config has penalty_mode "loss": a callback cannot change the loss.
    TypeError
        If `config`, `batches` or `loss` is of the wrong kind.

    Notes
    -----
    Both packages work, `lightning` and `pytorch_lightning`. Where a module makes its weights in `configure_model`, they
    are known too late for a resumed run, which is refused: make them in the constructor.

    Examples
    --------
    >>> callback = LightningSpectralCallback(SpectralConfig(builder="ring"))
    >>> callback.handle is None  # Trainer(callbacks=[callback]).fit(module, loader) attaches it
    True
    """

    def __init__(
        self,
        config: SpectralConfig | Sequence[SpectralConfig],
        batches: CalibrationBatches = None,
        loss: CalibrationLoss = None,
        optimizer: int | None = None,
        calibration_batches: int = 16,
        calibration_seed: int = 0,
    ) -> None:
        if not hasattr(Callback, "on_train_start"):
            raise ImportError(
                "LightningSpectralCallback needs Lightning: pip install 'paramgraph[lightning]', or pytorch_lightning"
            )
        self._attached = Attachment(config, batches, loss, calibration_batches, calibration_seed)
        self._which = optimizer
        self._fits = False
        self._saved: dict[str, Tensor] | None = None

    @property
    def configs(self) -> tuple[SpectralConfig, ...]:
        """In the order in which they act."""
        return self._attached.configs

    @property
    def handle(self) -> SpectralHandle | None:
        """What `attach` gave, while training."""
        return self._attached.handle

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Take Theta_0, where the module has weights by now.

        Raises
        ------
        ValueError
            If a config matches nothing that can be trained.
        """
        self._fits, self._saved = stage == "fit", None
        if not self._fits:
            return
        self._attached.let_go()
        self._attached.forget_others(pl_module)
        if self._attached.start is None and any(True for _ in pl_module.parameters()):
            self._attached.take_start(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach to the optimizer; on resume, with the graphs of the checkpoint.

        Raises
        ------
        ValueError
            If `attach` refuses, or the checkpoint has no spectral state of this run. Nothing was trained then.
        """
        if trainer.ckpt_path is not None and self._saved is None:
            raise ValueError(
                f"the checkpoint {str(trainer.ckpt_path)!r} has no spectral state, so this run cannot go on as it "
                "began: resume from a checkpoint that was written with LightningSpectralCallback and with "
                "save_weights_only=False, or train anew without ckpt_path"
            )
        loss = complete_loss(self._attached.loss, ModuleLoss(trainer, pl_module))

        def draw(count: int, seed: int) -> list[Any]:
            return draw_from_loader(trainer.train_dataloader, count, seed, [pl_module])

        optimizer = self._optimizer(trainer.optimizers)
        handle = self._attached.begin(pl_module, optimizer, self._saved, draw, loss)
        self._saved = None
        if trainer.gradient_clip_val:
            _logger.info("gradients are clipped before penalty and filter act on them (gradient_clip_val)")
        _logger.info("spectral_opt acts as follows\n%s", handle.explanation)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Log the metrics at the steps whose values reach the logger."""
        if self.handle is None or trainer.barebones:
            return
        # The penalty is a product with each graph: not for values that the next step replaces.
        if trainer._logger_connector.should_update_logs or trainer.fast_dev_run:
            pl_module.log_dict(self.handle.metrics(), on_step=True, on_epoch=False)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Take the hooks off the optimizer."""
        self._attached.let_go()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Take the hooks off the optimizer."""
        self._attached.let_go()

    def state_dict(self) -> dict[str, Tensor]:
        """Give the spectral state for a checkpoint: tensors and numbers; empty before the first step of a `fit`."""
        return self.handle.state_dict() if self.handle is not None else dict(self._attached.left or {})

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take the spectral state of a checkpoint, if a `fit` resumes from it."""
        if self._fits:
            self._saved = dict(state_dict)

    def _optimizer(self, optimizers: Sequence[Any]) -> Any:
        if self._which is None and len(optimizers) == 1:
            return optimizers[0]
        if self._which is None or not 0 <= self._which < len(optimizers):
            raise ValueError(
                f"configure_optimizers gives {len(optimizers)} optimizers, and optimizer is {self._which!r}: say which "
                "one penalty and filter act on, LightningSpectralCallback(..., optimizer=0)"
            )
        return optimizers[self._which]
