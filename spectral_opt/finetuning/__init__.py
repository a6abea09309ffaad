"""Fine-tuning: one run on one data set, by transformers' Trainer or TRL's, with penalty and filter where asked for.

`finetune` reads model and texts by their names, refuses before training what cannot go well, trains, and leaves the
model with its card, its record and its page in one folder. A run that is killed goes on from its last whole checkpoint
when the same is asked for again, bitwise as if it had not been.

- What is asked for: `FineTuneOptions`; from a file and a command line: `read_options`, `read_assignments`.
- The run: `finetune`, which gives a `FinishedTuning`; before it, without training: `preview`, a `TunePreview`;
  of a model that does not fit here: `plan_shapes`.
- What is made of its record: `tune_page`, `score_tables`. Inside: `split_parts`, and what it gives, `Parts`; `Launch`,
  what torchrun or accelerate have said; `with_ties`, and `graph_bytes` of a checkpoint.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.finetuning._launch import Launch as Launch
    from spectral_opt.finetuning._model_folder import with_ties as with_ties
    from spectral_opt.finetuning._parts import Parts as Parts, split_parts as split_parts
    from spectral_opt.finetuning._scores import score_tables as score_tables
    from spectral_opt.finetuning._spectral_part import graph_bytes as graph_bytes
    from spectral_opt.finetuning.options import (
        FineTuneOptions as FineTuneOptions,
        read_assignments as read_assignments,
        read_options as read_options,
    )
    from spectral_opt.finetuning.page import tune_page as tune_page
    from spectral_opt.finetuning.previewing import (
        TunePreview as TunePreview,
        plan_shapes as plan_shapes,
        preview as preview,
    )
    from spectral_opt.finetuning.running import (
        FinishedTuning as FinishedTuning,
        finetune as finetune,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
