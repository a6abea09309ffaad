"""Refinement: the filters on a finished fine-tune, without training.

The way of a matrix: a base that can run is loaded, or mapped from its files, and the graphs of its tables are built
from it once. A tuned checkpoint is opened, its names are matched with those of the base, and its weights are read one
table at a time. Each delta, tuned minus base, goes through the filters of all configs and is added to the base again;
of a LoRA adapter the factors are filtered themselves. What comes out is a state dict of plain tensors, or a folder for
`from_pretrained`.

- All of it: `refine`; many checkpoints or strengths with the same graphs: `Refiner`, whose result is a `RefinedState`;
  its options `Rest` and `Memory`, and the `Placement` that `choose_placement` makes of it; `told_skipped` says what was
  left alone.
- Going in: `load_base` makes a `BaseModel`, `open_tuned` a `TunedCheckpoint`; `match_checkpoints` finds the
  counterparts, and `untie` gives a weight that only the base ties its own place.
- Inside: `moments_made_of`, the texts of a file of graphs; `check_inputs`, `write_folder` and `read_folder`;
  `RefinedCard`, the model card beside it.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.refinement._card import RefinedCard as RefinedCard
    from spectral_opt.refinement._checkpoints import (
        BaseModel as BaseModel,
        TunedCheckpoint as TunedCheckpoint,
        load_base as load_base,
        open_tuned as open_tuned,
    )
    from spectral_opt.refinement._left_alone import Rest as Rest, told_skipped as told_skipped
    from spectral_opt.refinement._matching import match_checkpoints as match_checkpoints, untie as untie
    from spectral_opt.refinement._memory import (
        Memory as Memory,
        Placement as Placement,
        choose_placement as choose_placement,
    )
    from spectral_opt.refinement._moments import moments_made_of as moments_made_of
    from spectral_opt.refinement._output_folder import (
        check_inputs as check_inputs,
        read_folder as read_folder,
        write_folder as write_folder,
    )
    from spectral_opt.refinement._result import RefinedState as RefinedState
    from spectral_opt.refinement.refiner import Refiner as Refiner, refine as refine

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
