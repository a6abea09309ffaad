"""Integrations: callbacks of transformers' Trainer and of Lightning's, and what they need of a trainer.

A callback takes Theta_0 when the trainer has been made, draws calibration batches from its training set, attaches to
its optimizer when training begins, and writes the spectral state into each checkpoint.

- The callbacks: `SpectralCallback`, `LightningSpectralCallback`.
- Inside: `draw_batches` and `draw_from_loader`, calibration batches without the loader; `StartWeights`, Theta_0 of a
  run; `STATE_FILE`, `read_state` and `calling_trainer`, checkpoints; `TrainerLoss` and `ModuleLoss`, what is trained.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.integrations._calibration_draw import (
        draw_batches as draw_batches,
        draw_from_loader as draw_from_loader,
    )
    from spectral_opt.integrations._start_weights import StartWeights as StartWeights
    from spectral_opt.integrations._trained_loss import ModuleLoss as ModuleLoss, TrainerLoss as TrainerLoss
    from spectral_opt.integrations._trainer_checkpoint import (
        STATE_FILE as STATE_FILE,
        calling_trainer as calling_trainer,
        read_state as read_state,
    )
    from spectral_opt.integrations.callback import SpectralCallback as SpectralCallback
    from spectral_opt.integrations.lightning_callback import (
        LightningSpectralCallback as LightningSpectralCallback,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
