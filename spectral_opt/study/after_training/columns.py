"""Refinement by the graph of a layer's inputs on the preserved text."""

from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._refiners import USUAL, read_usual, refined


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    return refined(tune, "columns", options)


AFTER = AfterTraining(
    name="columns",
    title="refined by columns",
    description="Each column mode of the change over 1 + strength times what the preserved text has in it.",
    apply=_apply,
    check=read_usual,
    options=USUAL,
)
