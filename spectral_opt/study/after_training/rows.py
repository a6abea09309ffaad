"""Refinement by the graph of a layer's output gradients on the preserved text."""

from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._refiners import USUAL, read_usual, refined


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    return refined(tune, "rows", options)


AFTER = AfterTraining(
    name="rows",
    title="refined by rows",
    description="Each row mode of the change over 1 + strength times the preserved text's gradients in it.",
    apply=_apply,
    check=read_usual,
    options={**USUAL, "objective": None},
)
