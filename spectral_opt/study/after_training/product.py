"""Refinement by the product of a row graph and a column graph of the preserved text."""

from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._refiners import refine_encoder, refiner_of


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    return refine_encoder(tune, refiner_of(tune, "product"), float(str(options["strength"])))


AFTER = AfterTraining(
    name="product",
    title="refined by the product graph",
    description="Each entry of the change over 1 + strength times the energy of the preserved text in its mode.",
    apply=_apply,
    options={"strength": 1.0},
    paper="EK-FAC's basis, arXiv 1806.03884",
)
