"""Integrations: the callback of transformers' Trainer, and what it needs of a Trainer.

The callback takes Theta_0 when the Trainer has been made, draws calibration batches from its training set, attaches to
its optimizer when training begins, and writes the spectral state into each checkpoint.

- The callback: `SpectralCallback`.
- Inside: `draw_batches`, calibration batches without the loader; `StartWeights`, Theta_0 of a run;
  `STATE_FILE`, `read_state` and `calling_trainer`, checkpoints; `TrainerLoss`, what a Trainer trains.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.integrations._calibration_draw import draw_batches as draw_batches
    from spectral_opt.integrations._start_weights import StartWeights as StartWeights
    from spectral_opt.integrations._trainer_checkpoint import (
        STATE_FILE as STATE_FILE,
        calling_trainer as calling_trainer,
        read_state as read_state,
    )
    from spectral_opt.integrations._trainer_loss import TrainerLoss as TrainerLoss
    from spectral_opt.integrations.callback import SpectralCallback as SpectralCallback

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
