"""Refinement by the product of a row graph and a column graph of the preserved text.

Its modes have the energies that a text's gradients have in them, over the mean of all matrices, or, with the option
`energy` "matrix", of their own; with none the products of both graphs' eigenvalues, as in K-FAC.
"""

from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._diagonal import divided_by_fisher
from spectral_opt.study.after_training._refiners import USUAL, read_usual, refined


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    # Without coordination nothing is left of the measured energies but the diagonal of the Fisher matrix itself.
    if options["null"] == "diagonal" and options["energy"] == "model":
        return divided_by_fisher(tune, options)
    return refined(tune, "product", options)


AFTER = AfterTraining(
    name="product",
    title="refined by the product graph",
    description="Each entry of the change over 1 + strength times the energy of the preserved text in its mode.",
    apply=_apply,
    check=read_usual,
    options={**USUAL, "objective": None, "energy": "model"},
    paper="EK-FAC's basis, arXiv 1806.03884",
)
