"""Refinement by the product of a row graph and a column graph of the preserved text."""

from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._diagonal import divided_by_fisher
from spectral_opt.study.after_training._refiners import USUAL, refined


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    # Without coordination nothing is left of it but the diagonal of the Fisher matrix itself.
    if options["null"] == "diagonal":
        return divided_by_fisher(tune, options)
    return refined(tune, "product", options)


AFTER = AfterTraining(
    name="product",
    title="refined by the product graph",
    description="Each entry of the change over 1 + strength times the energy of the preserved text in its mode.",
    apply=_apply,
    options={**USUAL, "objective": None},
    paper="EK-FAC's basis, arXiv 1806.03884",
)
